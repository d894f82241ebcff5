// Written by `make docs` from the server's contracts: change the code, not this file.

/** The message is durable and its run will be executed. `seq` is the run's first event. */
export interface AcceptedAnswer {
  thread_id: string;
  message_id: string;
  run_id: string;
  seq: number;
  replayed: boolean;
}

/** An agent that can be asked. */
export interface AgentAnswer {
  name: string;
  version: string;
  description: string;
  model: string;
  tools: string[];
  run_timeout_s: number;
  examples: string[];
}

/** All agents, the default one first; there is never more than one page. */
export interface AgentPage {
  items: AgentAnswer[];
  next_cursor?: string | null;
}

/** A tool call that waits, or waited, for a person. */
export interface ApprovalAnswer {
  id: string;
  asked_by: PersonAnswer;
  delegate: PersonAnswer | null;
  thread_id: string;
  run_id: string;
  tool_call_id: string;
  tool: string;
  question: string;
  arguments: Record<string, unknown>;
  argument_schema: Record<string, unknown>;
  state: ApprovalState;
  created_at: string;
  expires_at: string;
  decided_at: string | null;
  decided_by: string | null;
  edited_arguments: Record<string, unknown> | null;
}

/** What a person says. */
export type ApprovalDecision = "approve" | "deny";

/** Approvals, newest first. */
export interface ApprovalPage {
  items: ApprovalAnswer[];
  next_cursor: string | null;
}

/** Where an approval stands. */
export type ApprovalState = "pending" | "approved" | "denied" | "expired" | "cancelled";

/** One thing that somebody did. `actor` is a user's id, or the name of a part of the program. */
export interface AuditAnswer {
  id: string;
  actor: string;
  action: string;
  target: string;
  detail: Record<string, unknown>;
  at: string;
}

/** The audit trail, newest first. */
export interface AuditPage {
  items: AuditAnswer[];
  next_cursor: string | null;
}

/** A thread that goes on from the middle of another one. */
export interface BranchAnswer {
  thread_id: string;
  title: string;
  branched_from: BranchPointAnswer;
  created_at: string;
}

/** Before which message a branch begins, and what it is called: as its origin when that is left out. */
export interface BranchBody {
  message_id: string;
  title?: string | null;
}

/** Branches, the oldest first. */
export interface BranchList {
  items: BranchAnswer[];
}

/** Where a branch begins: before that message of that thread. */
export interface BranchPointAnswer {
  thread_id: string;
  message_id: string;
}

/** Who is signed in in this browser, what that person may do, and what the page sends with every change. */
export interface BrowserSessionAnswer {
  user: UserAnswer;
  session_id: string;
  permissions: string[];
  csrf_token: string;
  expires_in: number;
}

/** Why a run is cancelled, for those who read its story. */
export interface CancelBody {
  reason?: string;
}

/** Where the run stands after the wish to cancel it: `cancelling` until everything of it has stopped. */
export interface CancelledAnswer {
  run_id: string;
  state: ExecutionState;
}

/** One thing that the server needs, and whether it works. */
export interface CheckAnswer {
  ok: boolean;
  detail: string;
  latency_ms: number | null;
}

/** Whose account the doctor used. */
export interface CheckerAnswer {
  id: string;
  email: string;
}

/** What a round of the doctor found, and when it was stored. */
export interface CheckupAnswer {
  checkup_id: string;
  at: string;
  by: CheckerAnswer;
  is_ok: boolean;
  users: number;
  checks: CheckupLineAnswer[];
}

/** What a round of the doctor found. */
export interface CheckupBody {
  is_ok: boolean;
  users: number;
  checks: CheckupLine[];
}

/** One thing that was looked at. */
export interface CheckupLine {
  name: string;
  ok: boolean;
  detail: string;
  duration_ms?: number | null;
}

/** One thing that was looked at. */
export interface CheckupLineAnswer {
  name: string;
  ok: boolean;
  detail: string;
  duration_ms: number | null;
}

/** The last check-ups, newest first; there are never more than one page. */
export interface CheckupPage {
  items: CheckupAnswer[];
}

/** A person's yes or no; with a yes, the arguments may be edited. */
export interface DecideBody {
  decision: ApprovalDecision;
  arguments?: Record<string, unknown> | null;
}

/** Who may decide, too: one of the two. */
export interface DelegateBody {
  user_id?: string | null;
  email?: string | null;
}

/** Every error has this shape, on every route. */
export interface ErrorAnswer {
  error: ErrorFacts;
}

/** What went wrong. `code` is stable; the message is for people. */
export interface ErrorFacts {
  code: string;
  message: string;
  retryable: boolean;
  details: Record<string, unknown>;
  request_id: string;
}

/** One attempt at a run. */
export interface ExecutionAnswer {
  execution_id: string;
  epoch: number;
  worker_id: string;
  state: string;
  started_at: string;
  ended_at: string | null;
}

/** Where a run, or one execution of it, stands. */
export type ExecutionState = "pending" | "starting" | "running" | "waiting" | "completing" | "cancelling" | "completed" | "failed" | "timeout" | "dead" | "cancelled";

/** Why a run did not complete. */
export interface FailureAnswer {
  code: string;
  message: string;
  retryable: boolean;
}

/** Why a run did not complete; what an agent or a tool said about it is the owner's. */
export interface FailureCodeAnswer {
  code: string;
  retryable: boolean;
}

/** Runs that ended in the same way for the same reason; what an agent or a tool said about it is their owners'. */
export interface FailureLine {
  code: string;
  agent: string;
  state: ExecutionState;
  runs: number;
  retryable: boolean;
  last_at: string;
  last_run_id: string;
}

/** Why runs did not end well, the most frequent reason first; `total` is how many runs. */
export interface FailuresAnswer {
  since: string;
  items: FailureLine[];
  total: number;
}

/** Rows that disagree about what happened, and what would be done about it. */
export interface FindingAnswer {
  id: string;
  kind: FindingKind;
  user_id: string;
  thread_id: string;
  run_id: string | null;
  approval_id: string | null;
  number: number | null;
  state: ExecutionState | null;
  since: string;
  age_s: number;
  what: string;
  would: string;
  repairable: boolean;
}

/** What disagrees with what. */
export type FindingKind = "run_lost" | "run_not_offered" | "run_not_admitted" | "run_waits_for_nothing" | "run_over_in_log" | "run_without_end" | "run_half_ended" | "run_of_deleted_thread" | "approval_of_ended_run" | "approval_expired" | "execution_open" | "step_open" | "log_beyond_head" | "log_cut_short";

/** What disagrees in the tenant, oldest first. With `more` there are others, which show once these are repaired. */
export interface FindingPage {
  items: FindingAnswer[];
  more: boolean;
  looked_back_to: string;
}

/** The process answers. */
export interface HealthAnswer {
  status?: "ok";
  version: string;
}

/** The newest event of a run that its log still has. */
export interface LastEventAnswer {
  seq: number;
  type: string;
  at: string;
}

/** A log line of the process: its name, and keys with ids, names, codes and numbers. */
export interface LogLineAnswer {
  at: string;
  level: string;
  event: string;
  fields: Record<string, string | number | boolean | null>;
}

/** An e-mail address with its password; the tenant's slug only where the two are right in several tenants. */
export interface LoginBody {
  email: string;
  password: string;
  tenant?: string | null;
}

/** Who is signed in, and what that person may do now. */
export interface MeAnswer {
  user: UserAnswer;
  session_id: string;
  permissions: string[];
}

/** A user of the tenant. `last_seen_at` is the last sign-in or refresh, as long as the session is kept. */
export interface MemberAnswer {
  id: string;
  tenant_id: string;
  email: string;
  name: string;
  role: string;
  status: string;
  created_at: string;
  last_seen_at: string | null;
  live_sessions: number;
}

/** A person who shall be able to sign in. */
export interface MemberBody {
  email: string;
  password: string;
  role?: Role;
  name?: string;
}

/** Why somebody's run is cancelled, for the audit trail; the owner reads it where the run ends at once. */
export interface MemberCancelBody {
  reason?: string;
}

/** An event of somebody's run. `shown` has the fields that are nobody's words; `bytes` is the size of it all. */
export interface MemberEventAnswer {
  seq: number;
  type: string;
  at: string;
  execution_id: string | null;
  agent: string | null;
  bytes: number;
  shown: Record<string, unknown>;
}

/** A run's events in order, from the first one that the log still has. */
export interface MemberEventPage {
  items: MemberEventAnswer[];
  next_after: number | null;
  trimmed: boolean;
}

/** The tenant's users, newest first. */
export interface MemberPage {
  items: MemberAnswer[];
  next_cursor: string | null;
}

/** What changes of a user; what is left out stays. */
export interface MemberPatch {
  role?: Role | null;
  name?: string | null;
}

/** A run of somebody of the tenant, without its content. */
export interface MemberRunAnswer {
  id: string;
  user_id: string;
  user: OwnerAnswer;
  thread_id: string;
  agent: string;
  agent_version: string;
  model: string;
  state: ExecutionState;
  state_since: string;
  age_s: number;
  attempt: number;
  losses: number;
  worker_id: string | null;
  lease_until: string | null;
  deadline_at: string | null;
  last_event: LastEventAnswer | null;
  waiting_for: WaitingAnswer | null;
  failure: FailureCodeAnswer | null;
  failure_code: string | null;
  usage: UsageShape;
  created_at: string;
  state_times: Record<string, string>;
}

/** Runs of the tenant in the order that was asked for, and how many of all its runs are in each live state. */
export interface MemberRunPage {
  items: MemberRunAnswer[];
  next_cursor: string | null;
  live: Record<string, number>;
}

/** One message of a thread. */
export interface MessageAnswer {
  id: string;
  thread_id: string;
  run_id: string | null;
  seq: number;
  role: MessageRole;
  parts: PartAnswer[];
  client_message_id: string | null;
  created_at: string;
}

/** A person's message: either `text` or `parts`. Text is taken as it is, up to its size limit. */
export interface MessageBody {
  text?: string | null;
  parts?: TextShape[] | null;
  agent?: string | null;
  client_message_id?: string | null;
  on_busy?: OnBusy;
  on_pending_approval?: OnPendingApproval;
}

/** Messages, newest first. */
export interface MessagePage {
  items: MessageAnswer[];
  next_cursor: string | null;
}

/** Who speaks. */
export type MessageRole = "user" | "assistant";

/** What is known of a model in use; `ok` is null while nothing is. */
export interface ModelStateAnswer {
  name: string;
  ok: boolean | null;
  detail: string;
  latency_ms: number | null;
  checked_at: string | null;
}

/** One process of the installation: how loaded it is, by all tenants together. */
export interface NodeAnswer {
  name: string;
  version: string;
  started_at: string;
  uptime_s: number;
  is_draining: boolean;
  runs_working: number;
  runs_concurrency: number;
  queue_depth: number;
  storage_waiting: number;
  connections_open: number;
  loop_lag_s: number;
  loop_lag_max_s: number;
  memory_bytes: number | null;
}

/** What a new message does on a thread that has a live run. */
export type OnBusy = "enqueue" | "reject" | "interrupt";

/** What a new message does on a thread whose run waits for an approval. */
export type OnPendingApproval = "reject" | "enqueue" | "cancel_approval";

/** What is going on now. `live` and `oldest_pending_s` are of the caller's tenant; the rest is everybody's. */
export interface OperationsAnswer {
  at: string;
  nodes: NodeAnswer[];
  live: Record<string, number>;
  oldest_pending_s: number | null;
  status: string;
  checks: Record<string, CheckAnswer>;
  models: ModelStateAnswer[];
}

/** Whose run it is. */
export interface OwnerAnswer {
  id: string;
  email: string;
  name: string;
}

/** A piece of a message. */
export interface PartAnswer {
  type?: "text";
  text: string;
}

/** The password as it is, and as it shall be. */
export interface PasswordBody {
  current_password: string;
  new_password: string;
}

/** Somebody of the caller's tenant, as far as others are told. */
export interface PersonAnswer {
  user_id: string;
  name: string;
  email: string;
}

/** How far a thread was read: the number of an event, beyond the last one for all of it. */
export interface ReadBody {
  seq: number;
}

/** Whether the server can do its work now, and each thing that it needs for that. */
export interface ReadinessAnswer {
  status: "ready" | "not_ready" | "draining";
  checks: Record<string, CheckAnswer>;
}

/** A refresh token, which is used up by this. */
export interface RefreshBody {
  refresh_token: string;
}

/** Which finding shall be repaired. */
export interface RepairBody {
  finding: string;
}

/** How a run is tried again. */
export interface RetryBody {
  client_message_id?: string | null;
  on_busy?: OnBusy;
  on_pending_approval?: OnPendingApproval;
}

/** A named set of permissions that a user has in a tenant. */
export type Role = "member" | "admin";

/** What a person asked for, and how it stands. `state_times` says when each state was entered last. */
export interface RunAnswer {
  id: string;
  thread_id: string;
  message_id: string;
  agent: string;
  agent_version: string;
  model: string;
  state: ExecutionState;
  attempt: number;
  failure: FailureAnswer | null;
  usage: UsageShape;
  first_seq: number;
  last_seq: number;
  deadline_at: string | null;
  created_at: string;
  state_times: Record<string, string>;
  trace_id: string;
  retry_of: string | null;
}

/** What a run asked of a person: not its question, not its arguments. */
export interface RunApprovalAnswer {
  approval_id: string;
  tool: string;
  state: ApprovalState;
  created_at: string;
  expires_at: string;
  decided_at: string | null;
}

/** What this process has logged about a run, the newest line last. */
export interface RunLogAnswer {
  items: LogLineAnswer[];
  since: string;
  complete: boolean;
}

/** Newest first; or live ones by how long nothing happened, and behind them those that wait for a person. */
export type RunOrder = "newest" | "stuck";

/** Runs, newest first. */
export interface RunPage {
  items: RunAnswer[];
  next_cursor: string | null;
}

/** A run with its attempts, its journal and its approvals. */
export interface RunStoryAnswer {
  id: string;
  user_id: string;
  user: OwnerAnswer;
  thread_id: string;
  agent: string;
  agent_version: string;
  model: string;
  state: ExecutionState;
  state_since: string;
  age_s: number;
  attempt: number;
  losses: number;
  worker_id: string | null;
  lease_until: string | null;
  deadline_at: string | null;
  last_event: LastEventAnswer | null;
  waiting_for: WaitingAnswer | null;
  failure: FailureCodeAnswer | null;
  failure_code: string | null;
  usage: UsageShape;
  created_at: string;
  state_times: Record<string, string>;
  request_id: string;
  trace_id: string;
  executions: ExecutionAnswer[];
  steps: StepAnswer[];
  approvals: RunApprovalAnswer[];
}

/** What was found, the newest first; at most one item for each thread. */
export interface SearchAnswer {
  items: SearchItem[];
}

/** A thread in which the words are. */
export interface SearchItem {
  thread: ThreadAnswer;
  message_id: string | null;
  role: MessageRole | null;
  snippet: string;
}

/** A live sign-in; `used_at` is its last refresh. */
export interface SessionAnswer {
  id: string;
  is_current: boolean;
  user_agent: string;
  address: string;
  created_at: string;
  used_at: string;
  expires_at: string;
}

/** The live sessions, the last used first; there are never more than one page. */
export interface SessionPage {
  items: SessionAnswer[];
  next_cursor?: string | null;
}

/** How many sessions this has ended. */
export interface SessionsEndedAnswer {
  sessions_ended: number;
}

/** The secret that the server printed at its first start, and who becomes the first administrator. */
export interface SetUpBody {
  secret: string;
  email: string;
  password: string;
  name?: string;
}

/** One journaled action, without what was asked in it and what came of it. */
export interface StepAnswer {
  index: number;
  kind: StepKind;
  name: string | null;
  state: StepState;
  reference: string;
  code: string | null;
  epoch: number;
  started_at: string;
  ended_at: string | null;
  duration_ms: number | null;
}

/** What a step does. */
export type StepKind = "model" | "tool" | "message" | "thought" | "approval" | "value";

/** Whether a step has an outcome. A step that was started and has none ran when its worker went away. */
export type StepState = "started" | "done" | "failed";

/** Who owns the data and the limits. */
export interface TenantAnswer {
  id: string;
  slug: string;
  name: string;
  status: string;
  created_at: string;
}

/** What was used on one day by what it was asked for: an agent, of a model, or by a user; the others are null. */
export interface TenantUsageDay {
  day: string;
  agent: string | null;
  model: string | null;
  user: UsageUser | null;
  calls: number;
  input_tokens: number;
  output_tokens: number;
}

/** What the tenant's runs used, by day; days on which nothing was used are not there. */
export interface TenantUsageDaysAnswer {
  since: string;
  until: string;
  items: TenantUsageDay[];
}

/** A piece of text. */
export interface TextShape {
  type: "text";
  text: string;
}

/** A conversation. `epoch` and `head_seq` are the position of the end of its log. */
export interface ThreadAnswer {
  id: string;
  title: string;
  status: ThreadStatus;
  metadata: Record<string, unknown>;
  epoch: number;
  first_seq: number;
  head_seq: number;
  read_seq: number;
  unread: boolean;
  created_at: string;
  updated_at: string;
  archived_at: string | null;
  branched_from: BranchPointAnswer | null;
}

/** What a new thread is called, and what its owner wants to keep with it. */
export interface ThreadBody {
  title?: string;
  metadata?: Record<string, unknown>;
}

/** Threads, the last changed first. */
export interface ThreadPage {
  items: ThreadAnswer[];
  next_cursor: string | null;
}

/** What changes; what is left out stays. Metadata is replaced as a whole. */
export interface ThreadPatch {
  title?: string | null;
  metadata?: Record<string, unknown> | null;
}

/** What a thread is doing: derived from its runs, never stored. */
export type ThreadStatus = "idle" | "queued" | "running" | "waiting";

/** The tenant's runs by time. Pieces in which nothing happened are there too. */
export interface ThroughputAnswer {
  since: string;
  until: string;
  bucket_s: number;
  items: ThroughputLine[];
}

/** A piece of time that begins `at`. */
export interface ThroughputLine {
  at: string;
  accepted: number;
  ended: Record<string, number>;
  wait_ms: TimesAnswer | null;
  duration_ms: TimesAnswer | null;
  input_tokens: number;
  output_tokens: number;
}

/** A value that opens one live connection, offered as the subprotocol `ticket.<value>`. */
export interface TicketAnswer {
  ticket: string;
}

/** What half of the runs, and 95 of 100 of them, did not exceed; exactly, by nearest rank. */
export interface TimesAnswer {
  p50: number;
  p95: number;
}

/** An access token, the seconds that it is good for, and the token that gets the next one. */
export interface TokensAnswer {
  access_token: string;
  token_type?: "Bearer";
  expires_in: number;
  refresh_token: string;
  user: UserAnswer;
}

/** What the person's runs used since then. */
export interface UsageAnswer {
  since: string;
  items: UsageLine[];
  total: UsageTotal;
}

/** What one agent used of one model on one day. */
export interface UsageDay {
  day: string;
  agent: string;
  model: string;
  calls: number;
  input_tokens: number;
  output_tokens: number;
}

/** What the person's runs used, by day, agent and model; days on which nothing was used are not there. */
export interface UsageDaysAnswer {
  since: string;
  until: string;
  items: UsageDay[];
}

/** What the usage of a tenant is added up by, beside the day. */
export type UsageKey = "agent" | "model" | "user";

/** What one agent used of one model. */
export interface UsageLine {
  agent: string;
  model: string;
  calls: number;
  input_tokens: number;
  output_tokens: number;
}

/** Tokens and calls, added up. */
export interface UsageShape {
  input_tokens: number;
  output_tokens: number;
  model_calls: number;
  tool_calls: number;
}

/** All lines added up. */
export interface UsageTotal {
  calls: number;
  input_tokens: number;
  output_tokens: number;
}

/** Who used it. */
export interface UsageUser {
  id: string;
  email: string;
}

/** A person in a tenant. */
export interface UserAnswer {
  id: string;
  tenant_id: string;
  email: string;
  name: string;
  role: string;
  status: string;
  created_at: string;
}

/** The approval that a run waits for: not its question. */
export interface WaitingAnswer {
  approval_id: string;
  tool: string;
  expires_at: string;
}
