// Written by `make docs` from the server's contracts: change the code, not this file.

/** The run was cancelled and everything of it has stopped; terminal. */
export interface AgentCancelled {
  code: string;
  message: string;
  retryable: boolean;
  receipt: Receipt;
}

/** The run was cancelled and everything of it has stopped; terminal. */
export interface AgentCancelledEvent {
  seq: number;
  type: "agent_cancelled";
  thread_id: string;
  run_id: string | null;
  at: string;
  data: AgentCancelled;
  execution_id?: string | null;
  agent?: string | null;
  trace_id?: string | null;
}

/** The run ended well; terminal. */
export interface AgentCompleted {
  message_id: string | null;
  usage: Usage;
  duration_ms: number;
}

/** The run ended well; terminal. */
export interface AgentCompletedEvent {
  seq: number;
  type: "agent_completed";
  thread_id: string;
  run_id: string | null;
  at: string;
  data: AgentCompleted;
  execution_id?: string | null;
  agent?: string | null;
  trace_id?: string | null;
}

/** The run failed, or its attempts were used up; terminal. */
export interface AgentFailed {
  code: string;
  message: string;
  retryable: boolean;
}

/** The run failed, or its attempts were used up; terminal. */
export interface AgentFailedEvent {
  seq: number;
  type: "agent_failed";
  thread_id: string;
  run_id: string | null;
  at: string;
  data: AgentFailed;
  execution_id?: string | null;
  agent?: string | null;
  trace_id?: string | null;
}

/** An execution began; once per attempt, before any work of it. */
export interface AgentStarted {
  agent: string;
  version: string;
  model: string;
  attempt: number;
}

/** An execution began; once per attempt, before any work of it. */
export interface AgentStartedEvent {
  seq: number;
  type: "agent_started";
  thread_id: string;
  run_id: string | null;
  at: string;
  data: AgentStarted;
  execution_id?: string | null;
  agent?: string | null;
  trace_id?: string | null;
}

/** Reasoning or progress that the agent chose to show. */
export interface AgentThinking {
  text: string;
  step: number;
}

/** Reasoning or progress that the agent chose to show. */
export interface AgentThinkingEvent {
  seq: number;
  type: "agent_thinking";
  thread_id: string;
  run_id: string | null;
  at: string;
  data: AgentThinking;
  execution_id?: string | null;
  agent?: string | null;
  trace_id?: string | null;
}

/** The run's deadline passed; terminal. */
export interface AgentTimedOut {
  code: string;
  message: string;
  retryable: boolean;
}

/** The run's deadline passed; terminal. */
export interface AgentTimedOutEvent {
  seq: number;
  type: "agent_timed_out";
  thread_id: string;
  run_id: string | null;
  at: string;
  data: AgentTimedOut;
  execution_id?: string | null;
  agent?: string | null;
  trace_id?: string | null;
}

/** What a person says. */
export type ApprovalDecision = "approve" | "deny";

/** Another user may decide the approval, beside the one whose run waits; or, without `to`, nobody else any more. */
export interface ApprovalDelegated {
  approval_id: string;
  by: string;
  to?: string | null;
  to_name?: string | null;
}

/** Another user may decide the approval, beside the one whose run waits; or, without `to`, nobody else any more. */
export interface ApprovalDelegatedEvent {
  seq: number;
  type: "approval_delegated";
  thread_id: string;
  run_id: string | null;
  at: string;
  data: ApprovalDelegated;
  execution_id?: string | null;
  agent?: string | null;
  trace_id?: string | null;
}

/** The run waits for a person's yes, no or edited arguments. */
export interface ApprovalRequested {
  approval_id: string;
  tool_call_id: string;
  tool: string;
  question: string;
  arguments: Record<string, unknown>;
  schema: Record<string, unknown>;
  expires_at: string;
}

/** The run waits for a person's yes, no or edited arguments. */
export interface ApprovalRequestedEvent {
  seq: number;
  type: "approval_requested";
  thread_id: string;
  run_id: string | null;
  at: string;
  data: ApprovalRequested;
  execution_id?: string | null;
  agent?: string | null;
  trace_id?: string | null;
}

/** The approval was decided, or expired. */
export interface ApprovalResolved {
  approval_id: string;
  decision: "approve" | "cancelled" | "deny" | "expired";
  by?: string | null;
  arguments?: Record<string, unknown> | null;
}

/** The approval was decided, or expired. */
export interface ApprovalResolvedEvent {
  seq: number;
  type: "approval_resolved";
  thread_id: string;
  run_id: string | null;
  at: string;
  data: ApprovalResolved;
  execution_id?: string | null;
  agent?: string | null;
  trace_id?: string | null;
}

/** How many open approvals the user may decide now, one's own and those given to one. */
export interface ApprovalsChanged {
  notice: "approvals_changed";
  pending: number;
}

/** Say who you are: the first frame where no credential came with the upgrade, later to stay beyond a token's end. */
export interface Auth {
  op: "auth";
  ref?: string | number | null;
  token: string;
}

/** Stop a run. */
export interface Cancel {
  op: "cancel";
  ref?: string | number | null;
  run_id: string;
}

/** The connection is somebody's; operations are taken. The server pings every `heartbeat_s` seconds. */
export interface ConnectionReady {
  notice: "connection_ready";
  websocket_id: string;
  user_id: string;
  heartbeat_s: number;
  limits: ReadyLimits;
}

/** Answer an approval; `arguments` replace those that the agent proposed. */
export interface Decide {
  op: "decide";
  ref?: string | number | null;
  approval_id: string;
  decision: ApprovalDecision;
  arguments?: Record<string, unknown> | null;
}

/** The answer to an operation that was done; what else it holds depends on the operation. */
export interface Done {
  ref: string | number | null;
  ok: true;
  [name: string]: unknown;
}

/** The server goes away. Connect again and subscribe after these positions. */
export interface Draining {
  notice: "draining";
  positions: Record<string, number>;
}

/** One event as it is stored and sent. `seq` counts per thread, without gaps. */
export interface Envelope {
  seq: number;
  type: string;
  thread_id: string;
  run_id: string | null;
  at: string;
  data: unknown;
  execution_id?: string | null;
  agent?: string | null;
  trace_id?: string | null;
}

/** An error as every edge shows it. */
export interface ErrorMembers {
  code: string;
  message: string;
  retryable: boolean;
  details: Record<string, unknown>;
  request_id: string | null;
}

/** A failure as a person may see it. */
export interface ErrorShown {
  code: string;
  message: string;
}

export type Event = MessageCreatedEvent | RunQueuedEvent | AgentStartedEvent | AgentThinkingEvent | MessageDeltaEvent | MessageCompletedEvent | ToolExecutingEvent | ToolProgressEvent | ToolCompletedEvent | ApprovalRequestedEvent | ApprovalDelegatedEvent | ApprovalResolvedEvent | SubagentStartedEvent | SubagentCompletedEvent | StepRestartedEvent | AgentCompletedEvent | AgentFailedEvent | AgentTimedOutEvent | AgentCancelledEvent | ThreadUpdatedEvent;

export interface Events {
  events: Event[];
}

/** A message is whole; `parts` is what its deltas add up to. */
export interface MessageCompleted {
  message_id: string;
  parts: TextPart[];
  usage?: Usage | null;
}

/** A message is whole; `parts` is what its deltas add up to. */
export interface MessageCompletedEvent {
  seq: number;
  type: "message_completed";
  thread_id: string;
  run_id: string | null;
  at: string;
  data: MessageCompleted;
  execution_id?: string | null;
  agent?: string | null;
  trace_id?: string | null;
}

/** A person's message is in the thread, so that every tab and viewer shows it. */
export interface MessageCreated {
  message_id: string;
  role: string;
  parts: TextPart[];
  by: string;
  client_message_id?: string | null;
}

/** A person's message is in the thread, so that every tab and viewer shows it. */
export interface MessageCreatedEvent {
  seq: number;
  type: "message_created";
  thread_id: string;
  run_id: string | null;
  at: string;
  data: MessageCreated;
  execution_id?: string | null;
  agent?: string | null;
  trace_id?: string | null;
}

/** The next piece of a message's text. */
export interface MessageDelta {
  message_id: string;
  text: string;
}

/** The next piece of a message's text. */
export interface MessageDeltaEvent {
  seq: number;
  type: "message_delta";
  thread_id: string;
  run_id: string | null;
  at: string;
  data: MessageDelta;
  execution_id?: string | null;
  agent?: string | null;
  trace_id?: string | null;
}

/** What a new message does on a thread that has a live run. */
export type OnBusy = "enqueue" | "interrupt" | "reject";

/** What a new message does on a thread whose run waits for an approval. */
export type OnPendingApproval = "cancel_approval" | "enqueue" | "reject";

/** Ask for the server's time. */
export interface Ping {
  op: "ping";
  ref?: string | number | null;
}

/** What this connection takes at most. */
export interface ReadyLimits {
  frame_bytes: number;
  subscriptions: number;
  ops_per_second: number;
}

/** What a cancel did: what was stopped, what had already been done, and what could not be stopped. */
export interface Receipt {
  stopped: string[];
  already_done: string[];
  unknown: string[];
}

/** The answer to an operation that was not done. */
export interface Refused {
  ref: string | number | null;
  ok: false;
  error: ErrorMembers;
}

/** A run was accepted. `position` counts the live runs of the thread before it; 0 starts at once. */
export interface RunQueued {
  position: number;
  reason: "accepted" | "approval_pending" | "interrupting" | "thread_busy";
  retry_of?: string | null;
}

/** A run was accepted. `position` counts the live runs of the thread before it; 0 starts at once. */
export interface RunQueuedEvent {
  seq: number;
  type: "run_queued";
  thread_id: string;
  run_id: string | null;
  at: string;
  data: RunQueued;
  execution_id?: string | null;
  agent?: string | null;
  trace_id?: string | null;
}

/** Send a message, as `text` or as `parts`; without a thread, to a fresh one. */
export interface Send {
  op: "send";
  ref?: string | number | null;
  client_message_id: string;
  thread_id?: string | null;
  text?: string | null;
  parts?: TextPart[] | null;
  agent?: string | null;
  on_busy?: OnBusy;
  on_pending_approval?: OnPendingApproval;
}

/** A thread as it stood right after the event `seq`: its newest messages, oldest first, and its live runs. */
export interface Snapshot {
  seq: number;
  title: string;
  status: string;
  messages: SnapshotMessage[];
  messages_cut: boolean;
  runs: SnapshotRun[];
}

/** One message as a client shows it; `seq` is the event that told of it. */
export interface SnapshotMessage {
  message_id: string;
  role: string;
  parts: TextPart[];
  run_id: string | null;
  seq: number;
  at: string;
}

/** A run of the snapshot that has not ended. All of its events follow. */
export interface SnapshotRun {
  run_id: string;
  agent: string;
  state: string;
  first_seq: number;
}

/** A step runs again: what an earlier attempt showed of it (deltas, a tool's start) is void. */
export interface StepRestarted {
  step: number;
  message_id?: string | null;
  tool_call_id?: string | null;
}

/** A step runs again: what an earlier attempt showed of it (deltas, a tool's start) is void. */
export interface StepRestartedEvent {
  seq: number;
  type: "step_restarted";
  thread_id: string;
  run_id: string | null;
  at: string;
  data: StepRestarted;
  execution_id?: string | null;
  agent?: string | null;
  trace_id?: string | null;
}

/** A thread is followed no more, because of the error; the connection stays. */
export interface StreamClosed {
  notice: "stream_closed";
  thread_id: string;
  error: ErrorMembers;
}

/** Where a thread's stream begins: before its first events, and again whenever history was lost meanwhile. */
export interface StreamOpened {
  notice: "stream_opened";
  thread_id: string;
  recovered: boolean;
  from_seq: number;
  head_seq: number;
  epoch: number;
  run_id?: string | null;
  snapshot?: Snapshot | null;
}

/** A child run ended. */
export interface SubagentCompleted {
  agent: string;
  child_run_id: string;
  ok: boolean;
}

/** A child run ended. */
export interface SubagentCompletedEvent {
  seq: number;
  type: "subagent_completed";
  thread_id: string;
  run_id: string | null;
  at: string;
  data: SubagentCompleted;
  execution_id?: string | null;
  agent?: string | null;
  trace_id?: string | null;
}

/** A child run began. */
export interface SubagentStarted {
  agent: string;
  child_run_id: string;
}

/** A child run began. */
export interface SubagentStartedEvent {
  seq: number;
  type: "subagent_started";
  thread_id: string;
  run_id: string | null;
  at: string;
  data: SubagentStarted;
  execution_id?: string | null;
  agent?: string | null;
  trace_id?: string | null;
}

/** Follow a thread after a position; without one, from its beginning. A second one for a thread replaces the first. */
export interface Subscribe {
  op: "subscribe";
  ref?: string | number | null;
  thread_id: string;
  after?: number | null;
  epoch?: number | null;
}

/** A piece of text, as Markdown where the reader renders it. */
export interface TextPart {
  type: "text";
  text: string;
}

/** A thread as a list of threads shows it. */
export interface ThreadState {
  thread_id: string;
  title: string;
  status: string;
  head_seq: number;
  read_seq: number;
  unread: boolean;
  updated_at: string;
  archived: boolean;
  deleted: boolean;
}

/** The thread's title or status changed. */
export interface ThreadUpdated {
  title: string;
  status: string;
}

/** The thread's title or status changed. */
export interface ThreadUpdatedEvent {
  seq: number;
  type: "thread_updated";
  thread_id: string;
  run_id: string | null;
  at: string;
  data: ThreadUpdated;
  execution_id?: string | null;
  agent?: string | null;
  trace_id?: string | null;
}

/** Threads of the user, as they are now, of which a list shows something else than before. */
export interface ThreadsChanged {
  notice: "threads_changed";
  threads: ThreadState[];
}

/** A tool call ended: `ok` with `result`, or not with `error`. */
export interface ToolCompleted {
  tool_call_id: string;
  tool: string;
  ok: boolean;
  duration_ms: number;
  result?: unknown;
  error?: ErrorShown | null;
}

/** A tool call ended: `ok` with `result`, or not with `error`. */
export interface ToolCompletedEvent {
  seq: number;
  type: "tool_completed";
  thread_id: string;
  run_id: string | null;
  at: string;
  data: ToolCompleted;
  execution_id?: string | null;
  agent?: string | null;
  trace_id?: string | null;
}

/** A tool call begins; secrets in its arguments are masked. `approval_id` is the question that was answered for it. */
export interface ToolExecuting {
  tool_call_id: string;
  tool: string;
  arguments: Record<string, unknown>;
  effect: "external" | "internal" | "none";
  approval_id?: string | null;
}

/** A tool call begins; secrets in its arguments are masked. `approval_id` is the question that was answered for it. */
export interface ToolExecutingEvent {
  seq: number;
  type: "tool_executing";
  thread_id: string;
  run_id: string | null;
  at: string;
  data: ToolExecuting;
  execution_id?: string | null;
  agent?: string | null;
  trace_id?: string | null;
}

/** How far a tool call is; `fraction` is between 0 and 1. */
export interface ToolProgress {
  tool_call_id: string;
  text: string;
  fraction?: number | null;
}

/** How far a tool call is; `fraction` is between 0 and 1. */
export interface ToolProgressEvent {
  seq: number;
  type: "tool_progress";
  thread_id: string;
  run_id: string | null;
  at: string;
  data: ToolProgress;
  execution_id?: string | null;
  agent?: string | null;
  trace_id?: string | null;
}

/** Follow the thread no more. */
export interface Unsubscribe {
  op: "unsubscribe";
  ref?: string | number | null;
  thread_id: string;
}

/** Hear of them no more. */
export interface Unwatch {
  op: "unwatch";
  ref?: string | number | null;
}

/** Tokens and calls, added up. Counts are the provider's own. */
export interface Usage {
  input_tokens: number;
  output_tokens: number;
  model_calls: number;
  tool_calls: number;
}

/** Hear of your threads and approvals as a list shows them, whichever threads you follow. */
export interface Watch {
  op: "watch";
  ref?: string | number | null;
}
