import type { ErrorShown, Receipt, RunQueued, Usage } from "../client/live";

/** Where a run stands on the page; the server's `starting` and `completing` are told of by no event of their own. */
export type RunState =
  | "queued"
  | "running"
  | "waiting"
  | "cancelling"
  | "completed"
  | "failed"
  | "timed_out"
  | "cancelled";

export const LIVE: ReadonlySet<RunState> = new Set(["queued", "running", "waiting", "cancelling"]);

export interface ApprovalView {
  readonly id: string;
  readonly tool: string;
  readonly question: string;
  readonly arguments: Readonly<Record<string, unknown>>;
  readonly schema: Readonly<Record<string, unknown>>;
  readonly expiresAt: string;
  readonly decision: "approve" | "deny" | "expired" | "cancelled" | null;
  readonly decidedBy: string | null;
  readonly edited: Readonly<Record<string, unknown>> | null;
  readonly delegate: { readonly id: string; readonly name: string } | null;
}

export interface ThinkingItem {
  readonly kind: "thinking";
  readonly key: string;
  readonly step: number;
  readonly text: string;
}

export interface TextItem {
  readonly kind: "text";
  readonly key: string;
  readonly text: string;
  readonly isWhole: boolean;
}

export type ToolState = "asking" | "running" | "done" | "failed" | "stopped";

export interface ToolItem {
  readonly kind: "tool";
  readonly key: string;
  readonly tool: string;
  readonly arguments: Readonly<Record<string, unknown>>;
  readonly effect: "none" | "internal" | "external" | null;
  readonly state: ToolState;
  readonly startedAt: string | null;
  readonly durationMs: number | null;
  readonly progress: { readonly text: string; readonly fraction: number | null } | null;
  readonly result: unknown;
  readonly error: ErrorShown | null;
  readonly approval: ApprovalView | null;
}

export interface SubagentItem {
  readonly kind: "subagent";
  readonly key: string;
  readonly agent: string;
  readonly state: "running" | "done" | "failed";
  readonly run: RunView;
}

export type RunItem = ThinkingItem | TextItem | ToolItem | SubagentItem;

export interface RunFailure {
  readonly code: string;
  readonly message: string;
  readonly retryable: boolean;
}

/** One run as the page shows it. `isPartial`: its beginning was not seen; its own events tell the rest. */
export interface RunView {
  readonly id: string;
  readonly state: RunState;
  readonly agent: string | null;
  readonly version: string | null;
  readonly model: string | null;
  readonly attempt: number;
  readonly queued: { readonly position: number; readonly reason: RunQueued["reason"] } | null;
  readonly retryOf: string | null;
  readonly items: readonly RunItem[];
  readonly usage: Usage | null;
  readonly durationMs: number | null;
  readonly startedAt: string | null;
  readonly endedAt: string | null;
  readonly failure: RunFailure | null;
  readonly receipt: Receipt | null;
  readonly isPartial: boolean;
}

export interface Question {
  readonly messageId: string;
  readonly clientMessageId: string | null;
  readonly text: string;
  readonly at: string;
}

/** One message of a person together with what came of it; or an answer whose question is not there. */
export interface Turn {
  readonly key: string;
  readonly seq: number;
  readonly question: Question | null;
  readonly run: RunView | null;
}

/** A thread as the page shows it: everything up to the event `position`. */
export interface ThreadView {
  readonly threadId: string;
  readonly title: string | null;
  readonly turns: readonly Turn[];
  readonly position: number;
  readonly hasEarlier: boolean;
}

export function emptyThread(threadId: string): ThreadView {
  return { threadId, title: null, turns: [], position: 0, hasEarlier: false };
}

export function emptyRun(id: string, state: RunState = "queued"): RunView {
  return {
    id,
    state,
    agent: null,
    version: null,
    model: null,
    attempt: 0,
    queued: null,
    retryOf: null,
    items: [],
    usage: null,
    durationMs: null,
    startedAt: null,
    endedAt: null,
    failure: null,
    receipt: null,
    isPartial: false,
  };
}

export function isLive(run: RunView | null): boolean {
  return run !== null && LIVE.has(run.state);
}

/** The thread's runs that have not ended, in their order. */
export function liveRuns(view: ThreadView): RunView[] {
  const found: RunView[] = [];
  for (const turn of view.turns) if (turn.run !== null && LIVE.has(turn.run.state)) found.push(turn.run);
  return found;
}

/** The text of the answer: what is copied, exported and read aloud. */
export function answerText(run: RunView): string {
  return run.items
    .filter((item) => item.kind === "text")
    .map((item) => item.text)
    .join("\n\n");
}
