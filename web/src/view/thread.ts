import type { Event, Snapshot, StreamOpened } from "../client/live";
import type { ExecutionState, MessageAnswer, RunAnswer } from "../client/rest";
import { emptyRun, emptyThread, LIVE, type RunState, type RunView, type ThreadView, type Turn } from "./model";
import { concerns, runAfter, textOf } from "./run";

/** The thread after these events, which follow its position; events that it has had change nothing. */
export function threadAfter(view: ThreadView, events: readonly Event[]): ThreadView {
  const fresh = inOrder(events, view.position);
  if (fresh.length === 0) return view;
  const turns = view.turns.slice();
  let { title } = view;
  for (const event of fresh) {
    if (event.type === "thread_updated") title = event.data.title;
    else place(turns, event);
  }
  return { ...view, turns, title, position: fresh[fresh.length - 1]?.seq ?? view.position };
}

/** Those after the position, each once and none after a later one. */
function inOrder(events: readonly Event[], position: number): Event[] {
  let last = position;
  const fresh: Event[] = [];
  for (const event of events) {
    if (event.seq <= last) continue;
    last = event.seq;
    fresh.push(event);
  }
  return fresh;
}

/** The thread as the opening of its stream says: as it was when nothing is missing, else what the snapshot holds. */
export function threadOpened(view: ThreadView, opened: StreamOpened): ThreadView {
  const { snapshot } = opened;
  if (opened.recovered || snapshot === undefined || snapshot === null) return view;
  return fromSnapshot(view, snapshot);
}

function fromSnapshot(view: ThreadView, snapshot: Snapshot): ThreadView {
  const first = snapshot.messages[0]?.seq ?? snapshot.seq + 1;
  // Messages that neither the page nor the snapshot has would be a gap that nobody sees.
  const hasGap = snapshot.messages_cut && view.position < first - 1;
  const before = hasGap ? [] : view.turns.filter((turn) => turn.seq < first);
  const messages = snapshot.messages.map((message) => ({ ...message, id: message.message_id, created_at: message.at }));
  const turns = turnsOf(messages);
  for (const turn of turns) {
    const known = turn.run === null ? undefined : view.turns.find((one) => one.run?.id === turn.run?.id);
    // What the page knows of a run that had ended stays; of one that had not, the log tells all again or nothing.
    if (known?.run != null && !LIVE.has(known.run.state)) Object.assign(turn, { run: known.run });
  }
  return {
    ...view,
    title: snapshot.title,
    position: snapshot.seq,
    turns: [...before.filter((turn) => turn.run === null || indexOfRun(turns, turn.run.id) === -1), ...turns],
    hasEarlier: before.length > 0 ? view.hasEarlier : snapshot.messages_cut,
  };
}

/** What is needed of a message, wherever it comes from. */
export interface ToldMessage extends Pick<MessageAnswer, "id" | "seq" | "run_id" | "created_at"> {
  readonly role: string;
  readonly parts: readonly { readonly text: string }[];
  readonly client_message_id?: string | null;
}

/** The thread with these messages, of whatever order, put where they belong; what events told of counts more. */
export function threadWithMessages(
  view: ThreadView,
  messages: readonly ToldMessage[],
  hasEarlier: boolean,
): ThreadView {
  const known = new Set<string>();
  for (const turn of view.turns) {
    if (turn.question !== null) known.add(turn.question.messageId);
    for (const item of turn.run?.items ?? []) if (item.kind === "text") known.add(item.key);
  }
  const fresh = messages.filter((message) => !known.has(message.id)).sort((one, other) => one.seq - other.seq);
  const turns = merged(view.turns, turnsOf(fresh));
  return { ...view, turns, hasEarlier };
}

/**
 * The thread in which runs that only their messages told of say how they ended; one that was tried again without a
 * message has a turn of its own.
 */
export function threadWithRuns(view: ThreadView, runs: readonly RunAnswer[]): ThreadView {
  const byId = new Map(runs.map((run) => [run.id, run]));
  const turns = view.turns.map((turn) => {
    const found = turn.run === null ? undefined : byId.get(turn.run.id);
    if (turn.run === null || found === undefined || !turn.run.isPartial) return turn;
    return { ...turn, run: runWith(turn.run, found) };
  });
  const retries = runs.filter((run) => isUntoldRetry(view, run)).map(turnOfRetry);
  if (retries.length === 0) return { ...view, turns };
  return { ...view, turns: [...turns, ...retries].sort((one, other) => one.seq - other.seq) };
}

function isUntoldRetry(view: ThreadView, run: RunAnswer): boolean {
  const from = view.turns[0]?.seq ?? Number.POSITIVE_INFINITY;
  const isShown = run.first_seq >= from && run.first_seq <= view.position;
  return run.retry_of !== null && isShown && indexOfRun(view.turns, run.id) === -1;
}

function turnOfRetry(run: RunAnswer): Turn {
  const unseen = { ...emptyRun(run.id), isPartial: true };
  return { key: run.id, seq: run.first_seq, question: null, run: runWith(unseen, run) };
}

/** The thread in which one run is what all of its own events say. */
export function threadWithRunEvents(view: ThreadView, runId: string, events: readonly Event[]): ThreadView {
  const at = indexOfRun(view.turns, runId);
  const turn = view.turns[at];
  if (turn === undefined) return view;
  const run = inOrder(events, 0).reduce((before, event) => runAfter(before, event), emptyRun(runId));
  const turns = view.turns.slice();
  turns[at] = { ...turn, run };
  return { ...view, turns };
}

/** The thread in which a run is being stopped, as the person has just asked for. */
export function threadCancelling(view: ThreadView, runId: string): ThreadView {
  const at = indexOfRun(view.turns, runId);
  const turn = view.turns[at];
  if (turn?.run == null || !LIVE.has(turn.run.state)) return view;
  const turns = view.turns.slice();
  turns[at] = { ...turn, run: { ...turn.run, state: "cancelling" } };
  return { ...view, turns };
}

function place(turns: Turn[], event: Event): void {
  const { run_id } = event;
  if (event.type === "message_created") {
    asked(turns, event);
    return;
  }
  if (run_id === null) return;
  const at = indexOfRun(turns, run_id);
  const turn = turns[at];
  if (turn?.run == null) {
    // Its message is in an earlier part of the thread: it is tried again, or the page came in its middle.
    const unseen = { ...emptyRun(run_id), isPartial: true };
    const run = runAfter(unseen, event);
    if (run !== unseen) turns.push({ key: run_id, seq: event.seq, question: null, run });
    return;
  }
  const run = runAfter(turn.run, event);
  if (run !== turn.run) turns[at] = { ...turn, run };
}

function asked(turns: Turn[], event: Extract<Event, { type: "message_created" }>): void {
  const { message_id, parts, client_message_id } = event.data;
  const question = {
    messageId: message_id,
    clientMessageId: client_message_id ?? null,
    text: textOf(parts),
    at: event.at,
  };
  const run = event.run_id === null ? null : emptyRun(event.run_id);
  const turn = { key: message_id, seq: event.seq, question, run };
  const isOfIt = (one: Turn): boolean => one.question === null && one.run !== null && one.run.id === event.run_id;
  const at = turns.findIndex((one) => one.key === message_id || isOfIt(one));
  const known = turns[at]?.run ?? null;
  if (at === -1) turns.push(turn);
  // What was told of its run is not forgotten, should the message be told of twice.
  else turns[at] = { ...turn, run: known === null || known.isPartial ? run : known };
}

/** Messages, oldest first, as turns: an answer belongs to the question of its run, or else to the one before it. */
function turnsOf(messages: readonly ToldMessage[]): Turn[] {
  const turns: Turn[] = [];
  for (const message of messages) {
    const text = textOf(message.parts);
    if (message.role === "user") {
      const question = {
        messageId: message.id,
        clientMessageId: message.client_message_id ?? null,
        text,
        at: message.created_at,
      };
      const run = message.run_id === null ? null : { ...emptyRun(message.run_id, "completed"), isPartial: true };
      turns.push({ key: message.id, seq: message.seq, question, run });
      continue;
    }
    const item = { kind: "text" as const, key: message.id, text, isWhole: true };
    const at = message.run_id === null ? turns.length - 1 : indexOfRun(turns, message.run_id);
    const turn = turns[at];
    if (turn === undefined) {
      const id = message.run_id ?? `of-${message.id}`;
      const run = { ...emptyRun(id, "completed"), isPartial: message.run_id !== null, items: [item] };
      turns.push({ key: message.run_id ?? message.id, seq: message.seq, question: null, run });
    } else {
      const run = turn.run ?? emptyRun(`of-${turn.key}`, "completed");
      turns[at] = { ...turn, run: { ...run, items: [...run.items, item] } };
    }
  }
  return turns;
}

/** Two rows of turns as one, in their order; of a run that is in both, the parts are put together. */
function merged(known: readonly Turn[], fresh: readonly Turn[]): Turn[] {
  const turns = known.slice();
  const left: Turn[] = [];
  for (const turn of fresh) {
    const at = turn.run === null ? -1 : indexOfRun(turns, turn.run.id);
    const same = turns[at];
    if (same === undefined || same.run === null || turn.run === null) {
      left.push(turn);
    } else {
      const items = same.run.isPartial ? [...turn.run.items, ...same.run.items] : same.run.items;
      const question = same.question ?? turn.question;
      const key = same.question === null && turn.question !== null ? turn.key : same.key;
      turns[at] = { ...same, key, seq: Math.min(same.seq, turn.seq), question, run: { ...same.run, items } };
    }
  }
  return [...left, ...turns].sort((one, other) => one.seq - other.seq);
}

function indexOfRun(turns: readonly Turn[], runId: string): number {
  // Nearly always one of the last.
  for (let at = turns.length - 1; at >= 0; at -= 1) {
    const run = turns[at]?.run;
    if (run != null && concerns(run, runId)) return at;
  }
  return -1;
}

const STATES: Readonly<Record<ExecutionState, RunState>> = {
  pending: "queued",
  starting: "running",
  running: "running",
  waiting: "waiting",
  completing: "running",
  cancelling: "cancelling",
  completed: "completed",
  failed: "failed",
  timeout: "timed_out",
  dead: "failed",
  cancelled: "cancelled",
};

function runWith(run: RunView, told: RunAnswer): RunView {
  const { failure } = told;
  return {
    ...run,
    state: STATES[told.state],
    agent: told.agent,
    version: told.agent_version,
    model: told.model,
    attempt: told.attempt,
    retryOf: told.retry_of,
    usage: told.usage,
    failure: failure == null ? null : { code: failure.code, message: failure.message, retryable: failure.retryable },
  };
}

export { emptyThread };
