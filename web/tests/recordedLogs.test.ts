import { expect, test } from "vitest";
import { startOf } from "../src/chat/openThread";
import { answerText, emptyThread, type RunItem, type RunView, type ThreadView, type ToolItem } from "../src/view/model";
import { threadAfter, threadOpened, threadWithMessages, threadWithRunEvents, threadWithRuns } from "../src/view/thread";
import { RECORDED_LOGS, type RecordedLog } from "./support/logs";
import { Chance } from "./support/random";

const logOf = (name: string): RecordedLog => {
  const found = RECORDED_LOGS.find((log) => log.name === name);
  if (found === undefined) throw new Error(`there is no log of ${name}`);
  return found;
};

/** What the page shows of a thread that it follows from the beginning of its log. */
const live = (log: RecordedLog): ThreadView => threadAfter(before(log, log.thread.first_seq - 1), log.events);

/** The thread as its messages and runs tell it up to a position. */
function before(log: RecordedLog, position: number): ThreadView {
  const told = log.messages.filter((message) => message.seq <= position);
  const view = threadWithMessages({ ...emptyThread(log.thread.id), position }, told, false);
  return threadWithRuns(view, log.runs);
}

const lastRun = (log: RecordedLog): RunView => {
  const run = live(log).turns.at(-1)?.run;
  if (run == null) throw new Error("there is no run");
  return run;
};
const toolsOf = (run: RunView): ToolItem[] => run.items.filter((item: RunItem) => item.kind === "tool");

const seen = (view: ThreadView) =>
  view.turns.map(({ question, run }) => [
    question?.text ?? null,
    run?.id,
    run?.state,
    run?.retryOf,
    run?.failure?.code,
  ]);

/** Half a message is shown while somebody looks, and not kept by the server: only whole ones count here. */
const answers = (view: ThreadView, log: RecordedLog) =>
  view.turns.map(({ run }) => {
    const kept = new Set(log.messages.map((message) => message.id));
    return run === null ? null : answerText({ ...run, items: run.items.filter((item) => kept.has(item.key)) });
  });

test.for(RECORDED_LOGS)("it is the same in any pieces, and again: $name", (log) => {
  const view = live(log);
  const start = before(log, log.thread.first_seq - 1);

  for (let seed = 0; seed < 20; seed += 1) {
    const pieces = new Chance(seed).pieces(log.events, seed === 0 ? 1 : 2 * seed);
    expect(pieces.reduce(threadAfter, start), `seed ${seed}`).toEqual(view);
  }
  expect(threadAfter(view, log.events)).toBe(view);
});

test.for(RECORDED_LOGS)("the server's messages, runs and log agree wherever a page begins: $name", (log) => {
  const view = live(log);
  const asked = log.messages.filter((message) => message.role === "user").map((message) => message.seq - 1);
  const cuts = [...asked, log.thread.head_seq].filter((seq) => seq >= log.thread.first_seq - 1);

  for (const cut of cuts) {
    const events = log.events.filter((event) => event.seq > cut);
    const found = threadAfter(before(log, cut), events);
    expect(seen(found), `after ${cut}`).toEqual(seen(view));
    expect(answers(found, log), `after ${cut}`).toEqual(answers(view, log));
  }
  expect(cuts).toContain(startOf(log.thread, log.messages, log.runs));
});

test.for(RECORDED_LOGS)("the server's snapshot and its log agree, however much was seen before: $name", (log) => {
  const view = live(log);

  for (let length = 0; length <= log.events.length; length += 1) {
    const sofar = threadAfter(before(log, log.thread.first_seq - 1), log.events.slice(0, length));
    const found = threadWithRuns(threadOpened(sofar, log.snapshot), log.runs);
    expect(seen(found), `after ${length}`).toEqual(seen(view));
    expect(answers(found, log), `after ${length}`).toEqual(answers(view, log));
    expect(found.position).toBe(log.thread.head_seq);
  }
});

test.for(RECORDED_LOGS)("a run that is asked for in full is what it was live: $name", (log) => {
  let found = before(log, log.thread.head_seq);
  for (const { id } of log.runs)
    found = threadWithRunEvents(
      found,
      id,
      log.events.filter((event) => event.run_id === id),
    );

  const ofLog = (run: RunView | null): boolean => log.runs.some(({ id }) => id === run?.id);
  expect(found.turns.map(({ run }) => run).filter(ofLog)).toEqual(
    live(log)
      .turns.map(({ run }) => run)
      .filter(ofLog),
  );
});

test.for(RECORDED_LOGS)("nothing of a run that has ended is at work: $name", (log) => {
  for (const { run } of live(log).turns) {
    expect(run?.state).not.toMatch(/queued|running|waiting|cancelling/);
    for (const item of run?.items ?? []) {
      if (item.kind === "tool") expect(["done", "failed", "stopped"]).toContain(item.state);
      if (item.kind === "text") expect(item.isWhole).toBe(true);
    }
  }
});

test("an answer is its thoughts and its words", () => {
  const run = lastRun(logOf("an answer"));

  expect(run.items.map((item) => item.kind)).toEqual(["thinking", "thinking", "text"]);
  expect(answerText(run)).toBe("Some **words** in a few pieces.");
});

test("tools work, say how far they are, or break", () => {
  const [works, breaks] = toolsOf(lastRun(logOf("tools")));

  expect(works).toMatchObject({ tool: "counts", state: "done", progress: { fraction: 1 }, result: { counted: 3 } });
  expect(breaks).toMatchObject({ tool: "breaks", state: "failed", error: { code: expect.any(String) } });
});

test.for([
  ["approved", "done", { decision: "approve", edited: null }, { amount: 10 }],
  ["approved with other arguments", "done", { decision: "approve", edited: { amount: 7 } }, { amount: 7 }],
  ["denied", "failed", { decision: "deny" }, { amount: 10 }],
  ["given to another", "done", { decision: "approve", delegate: { id: "user_2" } }, { amount: 10 }],
  ["cancelled while it waits", "stopped", { decision: "cancelled" }, { amount: 10 }],
] as const)("a tool that needs a person's word: %s", ([name, state, approval, args]) => {
  const tools = toolsOf(lastRun(logOf(name)));
  const [tool] = tools;

  expect(tools, "a question and its call are one").toHaveLength(1);
  expect(tool).toMatchObject({ state, arguments: args, approval: expect.anything() });
  expect(tool?.approval).toMatchObject(
    approval.decision === "approve" && "delegate" in approval ? { decision: "approve" } : approval,
  );
});

test("a question that nobody answered has expired", () => {
  expect(toolsOf(lastRun(logOf("expired")))[0]?.approval).toMatchObject({ decision: "expired", decidedBy: null });
});

test.for([
  ["cancelled at a tool", "cancelled", "run_cancelled"],
  ["cancelled in mid-sentence", "cancelled", "run_cancelled"],
  ["failed", "failed", "agent_failed"],
  ["out of time", "timed_out", "deadline_exceeded"],
  ["dead", "failed", "attempts_exhausted"],
] as const)("a run that does not end well says why: %s", ([name, state, code]) => {
  expect(lastRun(logOf(name))).toMatchObject({ state, failure: { code } });
});

test("a cancelled run says what was stopped", () => {
  const { receipt } = lastRun(logOf("cancelled at a tool"));

  expect([...(receipt?.stopped ?? []), ...(receipt?.unknown ?? [])]).not.toEqual([]);
});

test("what a lost attempt had said is said once, by the one that came to an end", () => {
  const run = lastRun(logOf("recovered"));

  expect(run).toMatchObject({ state: "completed", attempt: 2 });
  expect(answerText(run)).toBe("0 1 2 3 4 ");
  expect(lastRun(logOf("dead")).attempt).toBe(3);
});

test.for(["queued", "interrupted"])("a second message has its turn after the first one: %s", (name) => {
  expect(live(logOf(name)).turns.map(({ run }) => run?.state)).toEqual(["cancelled", "completed"]);
});

test("a run that is tried again names the other one", () => {
  const [first, again] = live(logOf("tried again")).turns;

  expect(again).toMatchObject({ question: null, run: { retryOf: first?.run?.id } });
});

test("a renamed thread has its name, and no turn of it", () => {
  expect(live(logOf("renamed"))).toMatchObject({ title: "A name", turns: [{ run: { state: "completed" } }] });
});

test("a branch begins with what came before it, and its stream with its own events", () => {
  const log = logOf("a branch");

  expect(log.thread.branched_from).not.toBeNull();
  expect(log.opened).toMatchObject({ recovered: true, from_seq: log.thread.first_seq });
  expect(live(log).turns.map(({ question, run }) => [question?.text, run && answerText(run)])).toEqual([
    ["for teller", "Some **words** in a few pieces."],
    ["for teller", "Some **words** in a few pieces."],
  ]);
});
