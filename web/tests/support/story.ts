import type { Event, StreamOpened } from "../../src/client/live";
import type { MessageAnswer, RunAnswer } from "../../src/client/rest";

type DataOf<T extends Event["type"]> = Extract<Event, { type: T }>["data"];

export const THREAD = "thread_1";
export const AT = "2031-01-01T00:00:00.000Z";

/** What happened, before it has a number. */
export interface Fact {
  readonly type: string;
  readonly run: string | null;
  readonly data: unknown;
}

function fact<T extends Event["type"]>(type: T, data: DataOf<T>, run: string | null = "run_1"): Fact {
  return { type, run, data };
}

/** The facts as a thread's log, each a second after the one before. */
export function log(facts: readonly Fact[], after = 0): Event[] {
  return facts.map(({ type, run, data }, at) => {
    const seq = after + at + 1;
    const time = new Date(Date.parse(AT) + seq * 1_000).toISOString();
    return { seq, type, thread_id: THREAD, run_id: run, at: time, data } as Event;
  });
}

const USAGE = { input_tokens: 3, output_tokens: 5, model_calls: 1, tool_calls: 1 };

export const of = (run = "run_1", n = "") => ({
  created: (text = "hi", id = `m0${n}`) =>
    fact("message_created", { message_id: id, role: "user", parts: [{ type: "text", text }], by: "user_1" }, run),
  queued: (position = 0, reason: DataOf<"run_queued">["reason"] = "accepted") =>
    fact("run_queued", { position, reason }, run),
  retried: (retry_of: string) => fact("run_queued", { position: 0, reason: "accepted", retry_of }, run),
  started: (attempt = 1) => fact("agent_started", { agent: "a", version: "1", model: "none", attempt }, run),
  thinking: (text = "hm", step = 0) => fact("agent_thinking", { text, step }, run),
  delta: (text: string, id = `m1${n}`) => fact("message_delta", { message_id: id, text }, run),
  whole: (text: string, id = `m1${n}`) =>
    fact("message_completed", { message_id: id, parts: [{ type: "text", text }] }, run),
  executing: (id = `t1${n}`, args: Record<string, unknown> = { a: 1 }, approvalId: string | null = null) =>
    fact(
      "tool_executing",
      { tool_call_id: id, tool: "it", arguments: args, effect: "external", approval_id: approvalId },
      run,
    ),
  progress: (text = "half", fraction: number | null = 0.5, id = `t1${n}`) =>
    fact("tool_progress", { tool_call_id: id, text, fraction }, run),
  executed: (id = `t1${n}`) =>
    fact("tool_completed", { tool_call_id: id, tool: "it", ok: true, duration_ms: 7, result: { b: 2 } }, run),
  broken: (id = `t1${n}`) =>
    fact(
      "tool_completed",
      { tool_call_id: id, tool: "it", ok: false, duration_ms: 7, error: { code: "tool_failed", message: "it broke" } },
      run,
    ),
  asked: (id = `a1${n}`, call = `t1${n}`) =>
    fact(
      "approval_requested",
      {
        approval_id: id,
        tool_call_id: call,
        tool: "it",
        question: "May I?",
        arguments: { a: 1 },
        schema: { type: "object" },
        expires_at: "2031-01-02T00:00:00.000Z",
      },
      run,
    ),
  given: (to: string | null, id = `a1${n}`) =>
    fact("approval_delegated", { approval_id: id, by: "user_1", to, to_name: to === null ? null : "Bob" }, run),
  answered: (decision: DataOf<"approval_resolved">["decision"], args?: Record<string, unknown>, id = `a1${n}`) =>
    fact("approval_resolved", { approval_id: id, decision, by: "user_1", ...(args ? { arguments: args } : {}) }, run),
  childStarted: (child: string) => fact("subagent_started", { agent: "child", child_run_id: child }, run),
  childCompleted: (child: string, ok = true) =>
    fact("subagent_completed", { agent: "child", child_run_id: child, ok }, run),
  restarted: (step: number, message_id: string | null = null, tool_call_id: string | null = null) =>
    fact("step_restarted", { step, message_id, tool_call_id }, run),
  completed: (message_id: string | null = `m1${n}`) =>
    fact("agent_completed", { message_id, usage: USAGE, duration_ms: 1_234 }, run),
  failed: (code = "agent_failed") => fact("agent_failed", { code, message: "it failed", retryable: true }, run),
  timedOut: () => fact("agent_timed_out", { code: "deadline_exceeded", message: "too long", retryable: true }, run),
  cancelled: () =>
    fact(
      "agent_cancelled",
      {
        code: "run_cancelled",
        message: "stopped",
        retryable: true,
        receipt: { stopped: ["t1"], already_done: [], unknown: [] },
      },
      run,
    ),
  renamed: (title: string) => fact("thread_updated", { title, status: "running" }, null),
  unknown: (type = "agent_dreaming") => ({ type, run, data: { of: "sheep" } }),
});

export function messageAnswer(
  message: Pick<MessageAnswer, "id" | "seq" | "run_id" | "role">,
  text: string,
): MessageAnswer {
  return {
    ...message,
    thread_id: THREAD,
    parts: [{ type: "text", text }],
    client_message_id: null,
    created_at: AT,
  };
}

export function runAnswer(id: string, told: Partial<RunAnswer> = {}): RunAnswer {
  return {
    id,
    thread_id: THREAD,
    message_id: "m0",
    agent: "a",
    agent_version: "1",
    model: "none",
    state: "completed",
    attempt: 1,
    failure: null,
    usage: USAGE,
    first_seq: 1,
    last_seq: 1,
    deadline_at: null,
    created_at: AT,
    state_times: {},
    trace_id: "trace_1",
    retry_of: null,
    ...told,
  };
}

export function streamOpened(told: Partial<StreamOpened> = {}): StreamOpened {
  return {
    notice: "stream_opened",
    thread_id: THREAD,
    recovered: true,
    from_seq: 1,
    head_seq: 0,
    epoch: 1,
    snapshot: null,
    ...told,
  };
}
