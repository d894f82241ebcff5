import type { Event, StepRestarted, ToolExecuting } from "../client/live";
import { type ApprovalView, emptyRun, LIVE, type RunItem, type RunView, type ToolItem } from "./model";

/** What the server calls the tool of a question that an agent asks by itself. */
const QUESTION = "ask";

export function textOf(parts: readonly { readonly text: string }[]): string {
  return parts.map((part) => part.text).join("\n\n");
}

/** The run after one more event of it, or of a run below it; the same run when the event changes nothing. */
export function runAfter(run: RunView, event: Event): RunView {
  if (event.run_id !== run.id) return childAfter(run, event);
  // A run ends once.
  if (run.endedAt !== null) return run;
  switch (event.type) {
    case "message_created":
    case "thread_updated":
      return run;
    case "run_queued": {
      const { position, reason } = event.data;
      const retryOf = (event.data as { retry_of?: string | null }).retry_of ?? null;
      return { ...run, queued: { position, reason }, retryOf, isPartial: false };
    }
    case "agent_started": {
      const { agent, version, model, attempt } = event.data;
      const startedAt = run.startedAt ?? event.at;
      return { ...run, state: ongoing(run, "running"), agent, version, model, attempt, startedAt };
    }
    case "agent_thinking":
      return withThinking(run, event.seq, event.data.step, event.data.text);
    case "message_delta":
      return withDelta(run, event.data.message_id, event.data.text);
    case "message_completed":
      return withWhole(run, event.data.message_id, textOf(event.data.parts));
    case "tool_executing":
    case "tool_progress":
    case "tool_completed":
      return toolAfter(run, event);
    case "approval_requested":
    case "approval_delegated":
    case "approval_resolved":
      return approvalAfter(run, event);
    case "subagent_started": {
      const { agent, child_run_id } = event.data;
      const child = { ...emptyRun(child_run_id, "running"), agent };
      return put(run, { kind: "subagent", key: child_run_id, agent, state: "running", run: child });
    }
    case "subagent_completed": {
      const { child_run_id, ok } = event.data;
      return change(run, child_run_id, (item) =>
        item.kind === "subagent" ? { ...item, state: ok ? "done" : "failed" } : item,
      );
    }
    case "step_restarted":
      return { ...run, items: run.items.flatMap((item) => withoutStep(item, event.data)) };
    case "agent_completed":
      return ended(run, event.at, { state: "completed", usage: event.data.usage, durationMs: event.data.duration_ms });
    case "agent_failed":
      return ended(run, event.at, { state: "failed", failure: event.data });
    case "agent_timed_out":
      return ended(run, event.at, { state: "timed_out", failure: event.data });
    case "agent_cancelled":
      return ended(run, event.at, { state: "cancelled", failure: event.data, receipt: event.data.receipt });
    default:
      // A later server may know more kinds of events than this page.
      return run;
  }
}

/** Whether the event is about this run, or about one below it. */
export function concerns(run: RunView, runId: string): boolean {
  return run.id === runId || run.items.some((item) => item.kind === "subagent" && concerns(item.run, runId));
}

function childAfter(run: RunView, event: Event): RunView {
  const { run_id } = event;
  if (run_id === null) return run;
  const at = run.items.findIndex((item) => item.kind === "subagent" && concerns(item.run, run_id));
  const item = run.items[at];
  if (item?.kind !== "subagent") return run;
  return replaced(run, at, { ...item, run: runAfter(item.run, event) });
}

/** What is left of an item when its step runs again: what a person said about a tool's call still counts. */
function withoutStep(item: RunItem, { step, message_id, tool_call_id }: StepRestarted): RunItem[] {
  if (item.key === message_id || (item.kind === "thinking" && item.step === step)) return [];
  if (item.key !== tool_call_id) return [item];
  if (item.kind !== "tool" || item.approval === null) return [];
  const { decision } = item.approval;
  const state = decision === null || decision === "approve" ? "asking" : "stopped";
  const nothing = { startedAt: null, durationMs: null, progress: null, result: null, error: null };
  return [{ ...item, ...nothing, state }];
}

/** A person's wish to stop is shown until the run has stopped. */
function ongoing(run: RunView, state: "running" | "waiting"): RunView["state"] {
  return run.state === "cancelling" || !LIVE.has(run.state) ? run.state : state;
}

function ended(run: RunView, at: string, outcome: Partial<RunView>): RunView {
  const items = run.items.map((item): RunItem => {
    if (item.kind === "tool" && (item.state === "running" || item.state === "asking"))
      return { ...item, state: "stopped" };
    if (item.kind === "text" && !item.isWhole) return { ...item, isWhole: true };
    if (item.kind === "subagent") {
      // Nothing of a run outlives it.
      const below = LIVE.has(item.run.state) ? ended(item.run, at, { state: "cancelled" }) : item.run;
      return { ...item, state: item.state === "running" ? "failed" : item.state, run: below };
    }
    return item;
  });
  const started = run.startedAt === null ? null : Date.parse(at) - Date.parse(run.startedAt);
  return { ...run, durationMs: started, ...outcome, items, endedAt: at, queued: null };
}

function withThinking(run: RunView, seq: number, step: number, text: string): RunView {
  const at = run.items.length - 1;
  const last = run.items[at];
  if (last?.kind === "thinking" && last.step === step) return replaced(run, at, { ...last, text: last.text + text });
  return put(run, { kind: "thinking", key: `thinking-${seq}`, step, text });
}

function withDelta(run: RunView, messageId: string, text: string): RunView {
  const at = indexOf(run, messageId);
  const item = run.items[at];
  if (item?.kind !== "text") return put(run, { kind: "text", key: messageId, text, isWhole: false });
  // A message that is whole has all of its text.
  return item.isWhole ? run : replaced(run, at, { ...item, text: item.text + text });
}

function withWhole(run: RunView, messageId: string, text: string): RunView {
  return put(run, { kind: "text", key: messageId, text, isWhole: true });
}

function toolAfter(
  run: RunView,
  event: Extract<Event, { type: "tool_executing" | "tool_progress" | "tool_completed" }>,
): RunView {
  const { tool_call_id } = event.data;
  switch (event.type) {
    case "tool_executing": {
      const { tool, effect } = event.data;
      const at = placeOf(run, event.data);
      const held = run.items[at];
      const known = held?.kind === "tool" ? { ...held, key: tool_call_id } : toolOf(run, tool_call_id, tool);
      const started = { ...known, tool, arguments: event.data.arguments, effect, startedAt: event.at };
      const item: ToolItem = { ...started, state: "running", error: null };
      const next = { ...run, state: ongoing(run, "running") };
      return at === -1 ? put(next, item) : replaced(next, at, item);
    }
    case "tool_progress": {
      const { text, fraction } = event.data;
      return change(run, tool_call_id, (item) =>
        item.kind === "tool" ? { ...item, progress: { text, fraction: fraction ?? null } } : item,
      );
    }
    case "tool_completed": {
      const { tool, ok, duration_ms, result, error } = event.data;
      const known = toolOf(run, tool_call_id, tool);
      const outcome = { result: result ?? null, error: error ?? null, durationMs: duration_ms };
      return put(run, { ...known, ...outcome, state: ok ? "done" : "failed" });
    }
  }
}

/**
 * Where the question is that was answered for this call: the two are one. A call of a framework's own tool does not name
 * its question; it belongs to an answered one about that tool which no other call took yet, with the same arguments first.
 */
function placeOf(run: RunView, { tool_call_id, tool, arguments: given, approval_id }: ToolExecuting): number {
  if (indexOf(run, tool_call_id) !== -1) return -1;
  if (approval_id != null)
    return run.items.findIndex((item) => item.kind === "tool" && item.approval?.id === approval_id);
  const isOpen = (item: RunItem): boolean =>
    item.kind === "tool" && item.tool === tool && item.startedAt === null && (item.approval?.decision ?? null) !== null;
  const text = JSON.stringify(given);
  const same = run.items.findIndex(
    (item) => isOpen(item) && item.kind === "tool" && JSON.stringify(item.arguments) === text,
  );
  return same === -1 ? run.items.findIndex(isOpen) : same;
}

function approvalAfter(
  run: RunView,
  event: Extract<Event, { type: "approval_requested" | "approval_delegated" | "approval_resolved" }>,
): RunView {
  if (event.type === "approval_requested") {
    const { approval_id, tool_call_id, tool, question, schema, expires_at } = event.data;
    const approval: ApprovalView = {
      id: approval_id,
      tool,
      question,
      arguments: event.data.arguments,
      schema,
      expiresAt: expires_at,
      decision: null,
      decidedBy: null,
      edited: null,
      delegate: null,
    };
    const known = toolOf(run, tool_call_id, tool);
    const asking = { ...known, tool, arguments: event.data.arguments, state: "asking" as const, approval };
    return put({ ...run, state: ongoing(run, "waiting") }, asking);
  }
  const at = run.items.findIndex((item) => item.kind === "tool" && item.approval?.id === event.data.approval_id);
  const item = run.items[at];
  if (item?.kind !== "tool" || item.approval === null) return run;
  if (event.type === "approval_delegated") {
    const { to, to_name } = event.data;
    const delegate = to === null || to === undefined ? null : { id: to, name: to_name ?? "" };
    return replaced(run, at, { ...item, approval: { ...item.approval, delegate } });
  }
  const { decision, by } = event.data;
  const edited = event.data.arguments ?? null;
  const approval = { ...item.approval, decision, decidedBy: by ?? null, edited };
  // A question that is no tool's is over with its answer.
  const state = decision !== "approve" ? "stopped" : item.tool === QUESTION ? "done" : item.state;
  const isOpen = run.items.some((one, index) => index !== at && one.kind === "tool" && one.approval?.decision === null);
  const next = replaced(run, at, { ...item, approval, arguments: edited ?? item.arguments, state });
  return isOpen ? next : { ...next, state: ongoing(run, "running") };
}

function toolOf(run: RunView, key: string, tool: string): ToolItem {
  const known = run.items[indexOf(run, key)];
  if (known?.kind === "tool") return known;
  return {
    kind: "tool",
    key,
    tool,
    arguments: {},
    effect: null,
    state: "running",
    startedAt: null,
    durationMs: null,
    progress: null,
    result: null,
    error: null,
    approval: null,
  };
}

function indexOf(run: RunView, key: string): number {
  // What changes is among the last.
  for (let at = run.items.length - 1; at >= 0; at -= 1) if (run.items[at]?.key === key) return at;
  return -1;
}

function put(run: RunView, item: RunItem): RunView {
  const at = indexOf(run, item.key);
  return at === -1 ? { ...run, items: [...run.items, item] } : replaced(run, at, item);
}

function change(run: RunView, key: string, to: (item: RunItem) => RunItem): RunView {
  const at = indexOf(run, key);
  const item = run.items[at];
  return item === undefined ? run : replaced(run, at, to(item));
}

function replaced(run: RunView, at: number, item: RunItem): RunView {
  const items = run.items.slice();
  items[at] = item;
  return { ...run, items };
}
