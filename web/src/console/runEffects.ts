import type { MemberEventAnswer, StepAnswer } from "../client/rest";

/** A call of a tool that may change something, and whether it is known what became of it. */
export interface Effect {
  readonly toolCallId: string;
  readonly tool: string;
  readonly effect: string;
  readonly state: "running" | "done" | "failed" | "unknown";
  readonly at: string;
}

/** The calls with an effect in their order. One that was begun by an attempt that is gone, and has no outcome, is unknown. */
export function effectsOf(
  steps: readonly StepAnswer[],
  events: readonly MemberEventAnswer[],
  isOver: boolean,
): readonly Effect[] {
  const lastEpoch = Math.max(0, ...steps.map((step) => step.epoch));
  const found = new Map<string, Effect>();
  for (const event of events) {
    const { tool_call_id: id, effect, tool } = event.shown;
    if (event.type !== "tool_executing" || typeof id !== "string" || typeof effect !== "string") continue;
    if (effect === "none") continue;
    const step = steps.find((one) => one.kind === "tool" && one.reference === id);
    found.set(id, {
      toolCallId: id,
      tool: typeof tool === "string" ? tool : "a tool that there is none of",
      effect,
      state: step === undefined ? "unknown" : stateOf(step, isOver || step.epoch < lastEpoch),
      at: event.at,
    });
  }
  return [...found.values()];
}

function stateOf(step: StepAnswer, isLeft: boolean): Effect["state"] {
  if (step.state === "started") return isLeft ? "unknown" : "running";
  return step.state === "failed" || step.code !== null ? "failed" : "done";
}

const FAILED_TYPES: ReadonlySet<string> = new Set(["agent_failed", "agent_timed_out", "agent_cancelled"]);

/** Whether the event tells of something that did not succeed. */
export function isFailure(event: Pick<MemberEventAnswer, "type" | "shown">): boolean {
  return FAILED_TYPES.has(event.type) || event.shown["ok"] === false;
}
