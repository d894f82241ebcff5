import { expect, test } from "vitest";
import { answerText, emptyThread, type RunView, type ThreadView } from "../src/view/model";
import { threadAfter, threadOpened, threadWithMessages, threadWithRunEvents, threadWithRuns } from "../src/view/thread";
import { Chance } from "./support/random";
import { AT, type Fact, log, messageAnswer, of, runAnswer, streamOpened, THREAD } from "./support/story";

const one = of("run_1");
const two = of("run_2", "b");
const begin = [one.created(), one.queued(), one.started()];

const after = (...facts: readonly Fact[]): ThreadView => threadAfter(emptyThread(THREAD), log(facts));
const runOf = (view: ThreadView, at = 0): RunView => {
  const run = view.turns[at]?.run;
  if (run == null) throw new Error(`there is no run ${at}`);
  return run;
};
// What comes by REST

const told = [
  messageAnswer({ id: "m0", seq: 1, run_id: "run_1", role: "user" }, "hi"),
  messageAnswer({ id: "m1", seq: 5, run_id: "run_1", role: "assistant" }, "hello"),
  messageAnswer({ id: "m0b", seq: 7, run_id: "run_2", role: "user" }, "and?"),
  messageAnswer({ id: "m1b", seq: 9, run_id: "run_2", role: "assistant" }, "that"),
  messageAnswer({ id: "m2b", seq: 10, run_id: "run_2", role: "assistant" }, "is it"),
];

const words = (view: ThreadView) =>
  view.turns.map(({ question, run }) => [question?.text ?? null, run && answerText(run)]);

test("messages of whatever order are turns, each answer with its question", () => {
  const chance = new Chance(5);
  for (let times = 0; times < 20; times += 1) {
    const mixed = told.map((message) => ({ message, at: chance.fraction() })).sort((a, b) => a.at - b.at);

    const view = threadWithMessages(
      emptyThread(THREAD),
      mixed.map(({ message }) => message),
      true,
    );

    expect(words(view)).toEqual([
      ["hi", "hello"],
      ["and?", "that\n\nis it"],
    ]);
    expect(view.hasEarlier).toBe(true);
  }
});

test("earlier pages go before what is there, wherever the pages are cut", () => {
  for (let cut = 0; cut <= told.length; cut += 1) {
    for (let other = cut; other <= told.length; other += 1) {
      const pages = [told.slice(other), told.slice(cut, other), told.slice(0, cut)];

      const view = pages.reduce((sofar, page) => threadWithMessages(sofar, page, false), emptyThread(THREAD));

      expect(words(view), `${cut}, ${other}`).toEqual([
        ["hi", "hello"],
        ["and?", "that\n\nis it"],
      ]);
      expect(
        view.turns.map((turn) => turn.key),
        `${cut}, ${other}`,
      ).toEqual(["m0", "m0b"]);
      expect(threadWithMessages(view, told, false).turns).toEqual(view.turns);
    }
  }
});

test("earlier pages of questions that waited for each other are put in the order of the questions", () => {
  const queued = told.map((message, at) => ({ ...message, seq: [1, 7, 4, 9, 10][at] ?? 0 }));
  const rows = queued.toSorted((before, after) => before.seq - after.seq);

  for (let cut = 0; cut <= rows.length; cut += 1) {
    const view = [rows.slice(cut), rows.slice(0, cut)].reduce(
      (sofar, page) => threadWithMessages(sofar, page, false),
      emptyThread(THREAD),
    );
    expect(
      view.turns.map((turn) => turn.key),
      `${cut}`,
    ).toEqual(["m0", "m0b"]);
    expect(words(view)).toEqual([
      ["hi", "hello"],
      ["and?", "that\n\nis it"],
    ]);
  }
});

test("messages that events have told of already are not shown twice, and what events told counts", () => {
  const live = after(...begin, one.executing(), one.executed(), one.whole("hello"), one.completed());

  const view = threadWithMessages(live, told.slice(0, 2), false);

  expect(view.turns).toEqual(live.turns);
});

test("answers without a run belong to the question before them", () => {
  const copied = told.map((message) => ({ ...message, run_id: null }));

  expect(words(threadWithMessages(emptyThread(THREAD), copied, false))).toEqual([
    ["hi", "hello"],
    ["and?", "that\n\nis it"],
  ]);
  expect(words(threadWithMessages(emptyThread(THREAD), copied.slice(1, 2), false))).toEqual([[null, "hello"]]);
});

test("runs say how those ended of which there are only messages, and no others", () => {
  const failure = { code: "agent_failed", message: "it failed", retryable: true };
  const runs = [
    runAnswer("run_1", { state: "failed", failure, attempt: 2, agent: "b" }),
    runAnswer("run_2", { state: "timeout" }),
    runAnswer("run_3", { state: "failed" }),
  ];

  const view = threadWithRuns(threadWithMessages(emptyThread(THREAD), told, false), runs);
  const live = threadWithRuns(after(...begin), runs);

  expect(runOf(view)).toMatchObject({ state: "failed", failure, attempt: 2, agent: "b", isPartial: true });
  expect(runOf(view, 1)).toMatchObject({ state: "timed_out", failure: null });
  expect(view.turns).toHaveLength(2);
  expect(runOf(live).state).toBe("running");
});

test.for([
  ["pending", "queued"],
  ["starting", "running"],
  ["running", "running"],
  ["waiting", "waiting"],
  ["completing", "running"],
  ["cancelling", "cancelling"],
  ["completed", "completed"],
  ["failed", "failed"],
  ["timeout", "timed_out"],
  ["dead", "failed"],
  ["cancelled", "cancelled"],
] as const)("the server's %s is the page's %s", ([state, shown]) => {
  const view = threadWithMessages(emptyThread(THREAD), told.slice(0, 1), false);

  expect(runOf(threadWithRuns(view, [runAnswer("run_1", { state })])).state).toBe(shown);
});

test("a run that was tried again without a word has its turn, where it belongs and once", () => {
  const view = threadWithMessages({ ...emptyThread(THREAD), position: 20 }, told, false);
  const retry = runAnswer("run_x", { state: "failed", retry_of: "run_1", first_seq: 6 });

  const found = threadWithRuns(view, [retry]);

  expect(found.turns.map((turn) => turn.key)).toEqual(["m0", "run_x", "m0b"]);
  expect(found.turns[1]).toMatchObject({ question: null, run: { state: "failed", retryOf: "run_1", isPartial: true } });
  expect(threadWithRuns(found, [retry]).turns).toEqual(found.turns);
  for (const elsewhere of [{ first_seq: 0 }, { first_seq: 21 }, { retry_of: null }])
    expect(threadWithRuns(view, [{ ...retry, ...elsewhere }]).turns).toEqual(view.turns);
});

test("a run of which all events were asked for is whole; one that is not there is left alone", () => {
  const view = threadWithMessages(emptyThread(THREAD), told, false);
  const events = log([...begin, one.executing(), one.executed(), one.whole("hello"), one.completed()]);

  const found = threadWithRunEvents(view, "run_1", events);

  expect(runOf(found)).toEqual(
    runOf(after(...begin, one.executing(), one.executed(), one.whole("hello"), one.completed())),
  );
  expect(threadWithRunEvents(view, "run_x", events)).toBe(view);
});

// Snapshots

const shot = (from: number, rest: Partial<NonNullable<ReturnType<typeof streamOpened>["snapshot"]>> = {}) =>
  streamOpened({
    recovered: false,
    snapshot: {
      seq: 10,
      title: "new title",
      status: "idle",
      messages: told.slice(from).map(({ id, role, run_id, seq, parts }) => ({
        message_id: id,
        role,
        run_id,
        seq,
        at: AT,
        parts: parts.map(({ text }) => ({ type: "text", text })),
      })),
      messages_cut: from > 0,
      runs: [],
      ...rest,
    },
  });

test("a stream that goes on where it stood changes nothing", () => {
  const view = after(...begin);

  expect(threadOpened(view, streamOpened({ recovered: true, snapshot: shot(0).snapshot ?? null }))).toBe(view);
  expect(threadOpened(view, streamOpened({ recovered: false }))).toBe(view);
});

test("a snapshot stands for the thread up to its position", () => {
  const view = threadOpened(emptyThread(THREAD), shot(0));

  expect(words(view)).toEqual([
    ["hi", "hello"],
    ["and?", "that\n\nis it"],
  ]);
  expect(view).toMatchObject({ title: "new title", position: 10, hasEarlier: false });
  expect(threadOpened(emptyThread(THREAD), shot(2)).hasEarlier).toBe(true);
});

test("what the page knows of a run that had ended stays when a snapshot comes", () => {
  const view = after(...begin, one.executing(), one.executed(), one.whole("hello"), one.completed());

  expect(runOf(threadOpened(view, shot(0))).items).toHaveLength(2);
  expect(runOf(threadOpened(view, shot(0)))).toEqual(runOf(view));
});

test("what the page knows of a run that had not ended goes when a snapshot comes", () => {
  const view = after(...begin, one.executing(), one.delta("he"));
  expect(runOf(threadOpened(view, shot(0))).items).toMatchObject([{ kind: "text", text: "hello" }]);

  const live = { run_id: "run_1", agent: "a", state: "running", first_seq: 1 };
  const still = threadOpened(view, shot(5, { seq: 0, runs: [live], messages_cut: false }));
  expect(still).toMatchObject({ turns: [], position: 0 });
});

test("a run that is in a snapshot is not shown a second time before it", () => {
  const view = after(two.retried("run_1"), two.started());

  const found = threadOpened({ ...view, position: 8 }, shot(3));

  expect(found.turns.map((turn) => [turn.run?.id, turn.run?.state])).toEqual([["run_2", "completed"]]);
});

test("earlier turns stay before a snapshot unless messages are missing between the two", () => {
  const first = after(...begin, one.whole("hello"), one.completed());
  const next = threadOpened({ ...first, position: 6, hasEarlier: true }, shot(2));
  expect(words(next)).toEqual([
    ["hi", "hello"],
    ["and?", "that\n\nis it"],
  ]);
  expect(next.hasEarlier).toBe(true);

  const gap = threadOpened({ ...first, position: 5 }, shot(2));
  expect(words(gap)).toEqual([["and?", "that\n\nis it"]]);
  expect(gap.hasEarlier).toBe(true);
});

test("a thousand deltas cost little beneath 2,500 turns", () => {
  const facts = Array.from({ length: 2_500 }, (_, at) => {
    const run = of(`run_x${at}`, `x${at}`);
    return [
      run.created(),
      run.queued(),
      run.started(),
      run.executing(),
      run.executed(),
      run.whole("hello"),
      run.completed(),
    ];
  }).flat();
  let view = threadAfter(emptyThread(THREAD), log([...facts, ...begin]));
  const deltas = log(
    Array.from({ length: 1_000 }, () => one.delta("a dozen char")),
    view.position,
  );

  const begun = performance.now();
  for (const delta of deltas) view = threadAfter(view, [delta]);
  const took = performance.now() - begun;

  // biome-ignore lint/suspicious/noConsole: the figure is wanted, the bound is only a guard
  console.info(`1,000 deltas beneath 2,500 turns: ${took.toFixed(0)} ms`);
  expect(answerText(runOf(view, 2_500))).toHaveLength(12_000);
  expect(took, "milliseconds").toBeLessThan(300);
});
