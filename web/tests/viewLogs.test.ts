import { expect, test } from "vitest";
import type { Event, Snapshot } from "../src/client/live";
import type { MessageAnswer, RunAnswer } from "../src/client/rest";
import { answerText, emptyThread, isLive, type RunItem, type RunView, type ThreadView } from "../src/view/model";
import { threadAfter, threadOpened, threadWithMessages, threadWithRunEvents, threadWithRuns } from "../src/view/thread";
import { RIGHT_LOGS, type RightLog, WRONG_LOGS } from "./support/logs";
import { Chance } from "./support/random";
import { messageAnswer, runAnswer, streamOpened, THREAD } from "./support/story";

const ENDS: Readonly<Record<string, { view: RunView["state"]; rest: RunAnswer["state"] }>> = {
  agent_completed: { view: "completed", rest: "completed" },
  agent_failed: { view: "failed", rest: "failed" },
  agent_timed_out: { view: "timed_out", rest: "timeout" },
  agent_cancelled: { view: "cancelled", rest: "cancelled" },
};

const whole = (events: readonly Event[]): ThreadView => threadAfter(emptyThread(THREAD), events);

const headOf = (events: readonly Event[]): number => events[events.length - 1]?.seq ?? 0;

const items = (run: RunView): RunItem[] =>
  run.items.flatMap((item) => (item.kind === "subagent" ? [item, ...items(item.run)] : [item]));

const runsOf = (view: ThreadView): RunView[] => view.turns.flatMap(({ run }) => (run === null ? [] : [run]));

/** The messages that the server has after these events. */
function messagesOf(events: readonly Event[]): MessageAnswer[] {
  return events.flatMap((event) => {
    const role = event.type === "message_created" ? "user" : "assistant";
    if (event.type !== "message_created" && event.type !== "message_completed") return [];
    // What an agent below says, it says to the agent above.
    if (event.run_id === "run_child") return [];
    const text = event.data.parts.map((part) => part.text).join("\n\n");
    return [messageAnswer({ id: event.data.message_id, seq: event.seq, run_id: event.run_id, role }, text)];
  });
}

/** The runs that the server has after these events. */
function runAnswersOf(events: readonly Event[]): RunAnswer[] {
  const queued = events.filter((event) => event.type === "run_queued");
  return queued.map((event) => {
    const own = events.filter((one) => one.run_id === event.run_id);
    const end = own.find((one) => one.type in ENDS);
    const failure = end === undefined || end.type === "agent_completed" ? null : (end.data as RunAnswer["failure"]);
    return runAnswer(event.run_id ?? "", {
      state: end === undefined ? "running" : (ENDS[end.type]?.rest ?? "running"),
      first_seq: own[0]?.seq ?? 0,
      failure,
      retry_of: event.data.retry_of ?? null,
    });
  });
}

/** What a person sees of a turn, however the page came to know it: half a message is not kept. */
const seen = (view: ThreadView, events: readonly Event[]) =>
  view.turns.map(({ question, run }) => ({
    question: question?.text ?? null,
    id: run?.id,
    answer: run === null ? null : answerText({ ...run, items: run.items.filter((item) => isKept(item, events)) }),
    state: run?.state,
    failure: run?.failure?.code,
    retryOf: run?.retryOf,
  }));

const isKept = (item: RunItem, events: readonly Event[]): boolean =>
  events.some((event) => event.type === "message_completed" && event.data.message_id === item.key);

test.for(RIGHT_LOGS)("it is the same whether events come at once, one by one or in any pieces: $name", ({ events }) => {
  const view = whole(events);

  for (let seed = 0; seed < 20; seed += 1) {
    const pieces = new Chance(seed).pieces(events, seed === 0 ? 1 : 1 + seed);
    expect(pieces.reduce(threadAfter, emptyThread(THREAD)), `seed ${seed}`).toEqual(view);
  }
  expect(view.position).toBe(headOf(events));
});

test.for(RIGHT_LOGS)("events that come twice change nothing: $name", ({ events }) => {
  const view = whole(events);

  for (let from = 0; from < events.length; from += 1) expect(threadAfter(view, events.slice(from))).toBe(view);
  for (let to = 1; to < events.length; to += 1) {
    const before = whole(events.slice(0, to));
    expect(threadAfter(before, events)).toEqual(view);
  }
});

test.for(RIGHT_LOGS)("a message's text is what its completion says: $name", ({ events }) => {
  const texts = new Map(
    whole(events)
      .turns.flatMap(({ run }) => (run === null ? [] : items(run)))
      .flatMap((item) => (item.kind === "text" ? [[item.key, item] as const] : [])),
  );

  for (const event of events) {
    if (event.type !== "message_completed") continue;
    expect(texts.get(event.data.message_id)).toMatchObject({
      text: event.data.parts.map((one) => one.text).join("\n\n"),
      isWhole: true,
    });
  }
});

test.for(RIGHT_LOGS)("what has ended is at work no more, and is what its end says: $name", ({ events }) => {
  const view = whole(events);

  for (const event of events) {
    const end = ENDS[event.type];
    const run = runsOf(view).find(({ id }) => id === event.run_id);
    if (end !== undefined && run !== undefined) expect(run.state).toBe(end.view);
  }
  for (const run of runsOf(view)) {
    if (!isLive(run)) expect(items(run).filter(isAtWork), run.id).toEqual([]);
  }
});

const isAtWork = (item: RunItem): boolean =>
  (item.kind === "tool" && (item.state === "running" || item.state === "asking")) ||
  (item.kind === "text" && !item.isWhole) ||
  (item.kind === "subagent" && (item.state === "running" || isLive(item.run)));

/** Those that tell of a whole thread: not of a run alone that tries another one again. */
const WHOLE_LOGS = RIGHT_LOGS.filter(({ events }) =>
  events.every(
    (event) =>
      event.type !== "run_queued" ||
      event.data.retry_of == null ||
      events.some((one) => one.run_id === event.data.retry_of),
  ),
);

/** The positions at which a page may begin: before a message of a person, not behind the beginning of a live run. */
function cutsOf(events: readonly Event[]): number[] {
  const live = runAnswersOf(events).filter((run) => run.state === "running");
  const most = Math.min(headOf(events), ...live.map((run) => run.first_seq - 1));
  const asked = events.filter((event) => event.type === "message_created").map((event) => event.seq - 1);
  return [...asked, headOf(events)].filter((seq) => seq <= most);
}

function opened(events: readonly Event[], cut: number): ThreadView {
  const told = messagesOf(events).filter((message) => message.seq <= cut);
  const view = threadWithMessages({ ...emptyThread(THREAD), position: cut }, told, false);
  return threadWithRuns(view, runAnswersOf(events));
}

test.for(WHOLE_LOGS)(
  "messages and runs, and then the events after them, tell what the whole log tells: $name",
  ({ events }) => {
    const view = whole(events);

    for (let head = 0; head <= events.length; head += 1) {
      const sofar = events.slice(0, head);
      for (const cut of cutsOf(sofar)) {
        const after = events.slice(cut);
        const found = threadAfter(opened(sofar, cut), after);
        expect(seen(found, events), `of ${head}, after ${cut}`).toEqual(seen(view, events));
        for (const turn of view.turns) {
          const isTold = events.every((event) => event.run_id !== turn.run?.id || event.seq > cut);
          if (isTold) expect(found.turns).toContainEqual(turn);
        }
      }
    }
  },
);

test.for(WHOLE_LOGS)(
  "an earlier run whose events are asked for is what it would have been live: $name",
  ({ events }) => {
    const view = whole(events);
    let found = opened(events, headOf(events));
    for (const run of runsOf(view)) {
      const own = events.filter(
        (event) =>
          items(run).some((item) => item.kind === "subagent" && item.key === event.run_id) || event.run_id === run.id,
      );
      found = threadWithRunEvents(found, run.id, own);
    }

    for (const turn of view.turns) expect(found.turns.map(({ run }) => run)).toContainEqual(turn.run);
  },
);

/** The snapshot that the server would send after these events, as its sixth decision record says. */
function snapshotOf(events: readonly Event[]): Snapshot {
  const live = runAnswersOf(events).filter((run) => run.state === "running");
  const seq = Math.min(headOf(events), ...live.map((run) => run.first_seq - 1));
  const messages = messagesOf(events).filter((message) => message.seq <= seq);
  return {
    seq,
    title: "a title",
    status: live.length > 0 ? "running" : "idle",
    messages: messages.map(({ id, created_at, ...message }) => ({
      ...message,
      parts: message.parts.map(({ text }) => ({ type: "text" as const, text })),
      message_id: id,
      at: created_at,
    })),
    messages_cut: false,
    runs: live.map((run) => ({ run_id: run.id, agent: run.agent, state: run.state, first_seq: run.first_seq })),
  };
}

test.for(WHOLE_LOGS)("a snapshot, and then the events after it, tell what the whole log tells: $name", ({ events }) => {
  const view = whole(events);

  for (let head = 0; head <= events.length; head += 1) {
    const snapshot = snapshotOf(events.slice(0, head));
    for (let seenUpTo = 0; seenUpTo <= head; seenUpTo += 1) {
      const before = whole(events.slice(0, seenUpTo));
      const told = threadOpened(before, streamOpened({ recovered: false, from_seq: snapshot.seq + 1, snapshot }));
      const runs = threadWithRuns(told, runAnswersOf(events.slice(0, head)));
      const found = threadAfter(runs, events.slice(snapshot.seq));
      expect(seen(found, events), `of ${head}, seen ${seenUpTo}`).toEqual(seen(view, events));
    }
  }
});

const isSound = (view: ThreadView, events: readonly Event[]): void => {
  for (const run of runsOf(view)) {
    if (!events.some((event) => event.run_id === run.id && event.type in ENDS)) continue;
    expect(isLive(run), `${run.id} has ended`).toBe(false);
    expect(items(run).filter(isAtWork), run.id).toEqual([]);
  }
  for (const run of runsOf(view)) {
    const keys = items(run).map((item) => item.key);
    expect(new Set(keys).size, "nothing is there twice").toBe(keys.length);
    for (const item of items(run))
      if (item.kind === "text") expect(["he", "hello", "to the parent"]).toContain(item.text);
  }
};

test.for(WRONG_LOGS)(
  "a wrong log is taken all the same, and nothing that has ended is shown at work: $name",
  ({ events }) => {
    for (let seed = 0; seed < 10; seed += 1) {
      const pieces = new Chance(seed).pieces(events, seed === 0 ? events.length : seed);
      isSound(pieces.reduce(threadAfter, emptyThread(THREAD)), events);
    }
  },
);

test.for(WRONG_LOGS)("a wrong log that is asked for again is taken, too: $name", ({ events }) => {
  const found = threadWithRunEvents(whole(events.slice(0, 2)), "run_1", events);

  isSound(
    found,
    events.filter((event) => event.run_id === "run_1"),
  );
});

test("of two ends the first one counts", () => {
  const log = WRONG_LOGS.find(({ name }) => name === "two ends");

  expect(runsOf(whole(log?.events ?? []))[0]).toMatchObject({ state: "completed", failure: null });
});

test("any right log after any other one is two rows of turns", () => {
  const chance = new Chance(11);
  for (let seed = 0; seed < 30; seed += 1) {
    const [first, second] = [chance.oneOf(RIGHT_LOGS), chance.oneOf(RIGHT_LOGS)];
    const later = renamed(second, "x", first.events.length);

    const { turns } = whole([...first.events, ...later]);

    expect(turns).toEqual([...whole(first.events).turns, ...whole(later).turns]);
  }
});

/** The same log of other runs and messages, later. */
function renamed(log: RightLog, mark: string, after: number): Event[] {
  const text = JSON.stringify(log.events).replaceAll(/"(run_\w+|[mta]\d\w?)"/g, `"$1${mark}"`);
  return (JSON.parse(text) as Event[]).map((event) => ({ ...event, seq: event.seq + after }));
}
