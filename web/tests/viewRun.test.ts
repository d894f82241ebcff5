import { expect, test } from "vitest";
import { activityOf } from "../src/chat/activity";
import { answerText, emptyThread, liveRuns, type RunView, type ThreadView, type ToolItem } from "../src/view/model";
import { threadAfter, threadCancelling } from "../src/view/thread";
import { type Fact, log, of, THREAD } from "./support/story";

const one = of("run_1");
const two = of("run_2", "b");
const begin = [one.created(), one.queued(), one.started()];

const after = (...facts: readonly Fact[]): ThreadView => threadAfter(emptyThread(THREAD), log(facts));
const runOf = (view: ThreadView, at = 0): RunView => {
  const run = view.turns[at]?.run;
  if (run == null) throw new Error(`there is no run ${at}`);
  return run;
};
const toolOf = (view: ThreadView): ToolItem => {
  const item = runOf(view).items.find(({ kind }) => kind === "tool");
  if (item?.kind !== "tool") throw new Error("there is no tool");
  return item;
};

test("a question is shown with its words, its time and what its sender calls it", () => {
  const created = log([one.created("hello?")]).map((event) => ({
    ...event,
    data: { ...event.data, client_message_id: "c1" },
  }));

  const view = threadAfter(emptyThread(THREAD), created as ReturnType<typeof log>);

  expect(view.turns).toHaveLength(1);
  expect(view.turns[0]?.question).toEqual({
    messageId: "m0",
    clientMessageId: "c1",
    text: "hello?",
    at: "2031-01-01T00:00:01.000Z",
  });
  expect(runOf(view).state).toBe("queued");
});

test("a run waits in the queue, begins, and is over with what it used and how long it took", () => {
  const queued = after(one.created(), one.queued(2, "thread_busy"));
  expect(runOf(queued)).toMatchObject({ state: "queued", queued: { position: 2, reason: "thread_busy" } });

  const working = after(...begin);
  expect(runOf(working)).toMatchObject({ state: "running", agent: "a", version: "1", model: "none", attempt: 1 });
  expect(liveRuns(working).map((run) => run.id)).toEqual(["run_1"]);

  const done = after(...begin, one.whole("hello"), one.completed());
  expect(runOf(done)).toMatchObject({
    state: "completed",
    durationMs: 1_234,
    usage: { output_tokens: 5 },
    startedAt: "2031-01-01T00:00:03.000Z",
    endedAt: "2031-01-01T00:00:05.000Z",
    queued: null,
    isPartial: false,
  });
  expect(liveRuns(done)).toEqual([]);
});

test("a run that did not end well says why, how long it took and what was stopped", () => {
  expect(runOf(after(...begin, one.failed("budget_exceeded")))).toMatchObject({
    state: "failed",
    durationMs: 1_000,
    failure: { code: "budget_exceeded", message: "it failed", retryable: true },
  });
  expect(runOf(after(...begin, one.timedOut()))).toMatchObject({ state: "timed_out" });
  expect(runOf(after(...begin, one.cancelled()))).toMatchObject({ state: "cancelled", receipt: { stopped: ["t1"] } });
  expect(runOf(after(one.created(), one.queued(), one.cancelled())).durationMs).toBeNull();
});

test("thoughts of one step are one thought, and what comes between begins another", () => {
  const view = after(
    ...begin,
    one.thinking("a", 1),
    one.thinking("b", 1),
    one.thinking("c", 2),
    one.executing(),
    one.thinking("d", 2),
  );

  expect(runOf(view).items.map((item) => (item.kind === "thinking" ? item.text : item.kind))).toEqual([
    "ab",
    "c",
    "tool",
    "d",
  ]);
});

test("a tool is told of from its call to its outcome", () => {
  expect(toolOf(after(...begin, one.executing()))).toMatchObject({
    state: "running",
    tool: "it",
    arguments: { a: 1 },
    effect: "external",
    startedAt: "2031-01-01T00:00:04.000Z",
  });
  expect(toolOf(after(...begin, one.executing(), one.progress())).progress).toEqual({ text: "half", fraction: 0.5 });
  expect(toolOf(after(...begin, one.executing(), one.progress("some", null))).progress?.fraction).toBeNull();
  expect(toolOf(after(...begin, one.executing(), one.executed()))).toMatchObject({
    state: "done",
    durationMs: 7,
    result: { b: 2 },
    error: null,
  });
  expect(toolOf(after(...begin, one.executing(), one.broken()))).toMatchObject({
    state: "failed",
    error: { code: "tool_failed" },
    result: null,
  });
  expect(toolOf(after(...begin, one.executing(), one.failed())).state).toBe("stopped");
});

test("an approval is asked for, given to another, taken back, and answered", () => {
  const asked = [...begin, one.asked()];
  expect(runOf(after(...asked)).state).toBe("waiting");
  expect(toolOf(after(...asked))).toMatchObject({
    state: "asking",
    approval: { id: "a1", question: "May I?", decision: null, delegate: null },
  });
  expect(toolOf(after(...asked, one.given("user_2"))).approval?.delegate).toEqual({ id: "user_2", name: "Bob" });
  expect(toolOf(after(...asked, one.given("user_2"), one.given(null))).approval?.delegate).toBeNull();

  const approved = after(...asked, one.answered("approve", { a: 2 }));
  expect(runOf(approved).state).toBe("running");
  expect(toolOf(approved)).toMatchObject({
    arguments: { a: 2 },
    approval: { decision: "approve", decidedBy: "user_1", edited: { a: 2 } },
  });
  for (const decision of ["deny", "expired", "cancelled"] as const) {
    expect(toolOf(after(...asked, one.answered(decision)))).toMatchObject({
      state: "stopped",
      arguments: { a: 1 },
      approval: { decision },
    });
  }
});

test("the call that a question was answered for stands where the question does", () => {
  const asked = [...begin, one.asked(), one.thinking("meanwhile"), one.answered("approve", { a: 2 })];

  const view = after(...asked, one.executing("another id", { a: 2 }, "a1"), one.executed("another id"));

  expect(runOf(view).items.map(({ kind }) => kind)).toEqual(["tool", "thinking"]);
  expect(toolOf(view)).toMatchObject({ key: "another id", state: "done", approval: { id: "a1", decision: "approve" } });
});

test("the run waits until the last of its questions is answered", () => {
  const both = [...begin, one.asked("a1", "t1"), one.asked("a2", "t2")];

  expect(runOf(after(...both, one.answered("approve", undefined, "a2"))).state).toBe("waiting");
  expect(runOf(after(...both, one.answered("approve", undefined, "a2"), one.answered("deny"))).state).toBe("running");
});

test("a call belongs to the answered question about it, though the two have ids of their own", () => {
  const both = [...begin, one.asked("a1", "q1"), one.asked("a2", "q2")];
  const answered = [
    ...both,
    one.answered("approve", { a: 5 }),
    one.answered("approve", { a: 6 }, "a2"),
    one.started(2),
  ];

  const view = after(...answered, one.executing("t6", { a: 6 }), one.executed("t6"), one.executing("t9", { a: 9 }));
  const third = threadAfter(view, log([one.executing("t7", { a: 7 })], view.position));

  expect(runOf(view).items).toMatchObject([
    { key: "t9", state: "running", arguments: { a: 9 }, approval: { id: "a1" } },
    { key: "t6", state: "done", approval: { id: "a2" } },
  ]);
  expect(runOf(third).items[2]).toMatchObject({ key: "t7", approval: null });
  expect(runOf(after(...both, one.executing("t6"))).items, "an open question is nobody's call").toHaveLength(3);
});

test("a question that is no tool's is over with its answer", () => {
  const asked = { ...one.asked("a1", "q1"), data: { ...(one.asked("a1", "q1").data as object), tool: "ask" } };

  expect(toolOf(after(...begin, asked, one.answered("approve"))).state).toBe("done");
  expect(toolOf(after(...begin, asked, one.answered("deny"))).state).toBe("stopped");
});

test("a delegation or an answer to a question that was never asked changes nothing", () => {
  const view = after(...begin);

  expect(runOf(after(...begin, one.given("user_2"), one.answered("deny")))).toEqual(runOf(view));
});

test("a step that runs again leaves nothing of what an earlier attempt showed of it", () => {
  const view = after(
    ...begin,
    one.thinking("kept", 0),
    one.whole("kept", "m9"),
    one.thinking("void", 1),
    one.delta("void"),
    one.executing(),
    one.started(2),
    one.restarted(1, "m1", "t1"),
  );

  expect(runOf(view).items.map((item) => item.kind)).toEqual(["thinking", "text"]);
  expect(runOf(view)).toMatchObject({ attempt: 2, startedAt: "2031-01-01T00:00:03.000Z" });
});

test("a step that runs again keeps what a person said about it", () => {
  const facts = [
    ...begin,
    one.asked(),
    one.answered("approve", { a: 2 }),
    one.started(2),
    one.executing("t1", { a: 2 }),
  ];

  const again = after(...facts, one.started(3), one.restarted(1, null, "t1"));
  const done = after(
    ...facts,
    one.started(3),
    one.restarted(1, null, "t1"),
    one.executing("t1", { a: 2 }),
    one.executed(),
  );

  expect(toolOf(again)).toMatchObject({ startedAt: null, approval: { decision: "approve" } });
  expect(toolOf(done)).toMatchObject({ state: "done", approval: { decision: "approve", edited: { a: 2 } } });
});

test("what agents below do is shown in its place, however deep", () => {
  const child = of("run_child", "c");
  const below = of("run_below", "d");
  const view = after(
    ...begin,
    one.childStarted("run_child"),
    child.started(),
    child.childStarted("run_below"),
    below.started(),
    below.executing(),
  );

  expect(view.turns).toHaveLength(1);
  const [item] = runOf(view).items;
  if (item?.kind !== "subagent") throw new Error("there is no agent below");
  expect(item).toMatchObject({ agent: "child", state: "running", run: { state: "running" } });
  expect(item.run.items[0]).toMatchObject({
    kind: "subagent",
    run: { id: "run_below", items: [{ kind: "tool", state: "running" }] },
  });
  expect(activityOf(runOf(view))).toMatchObject({ text: "child is at work", tools: ["it"] });

  const ended = threadAfter(
    view,
    log(
      [
        below.executed(),
        below.completed(),
        child.childCompleted("run_below"),
        child.failed(),
        one.childCompleted("run_child", false),
      ],
      view.position,
    ),
  );
  expect(runOf(ended).items[0]).toMatchObject({
    state: "failed",
    run: { state: "failed", items: [{ state: "done", run: { state: "completed" } }] },
  });
});

test("an agent below does not outlive the one above, however deep", () => {
  const child = of("run_child", "c");
  const view = after(
    ...begin,
    one.childStarted("run_child"),
    child.childStarted("run_below"),
    of("run_below", "d").executing(),
    one.failed(),
  );

  expect(runOf(view).items[0]).toMatchObject({
    state: "failed",
    run: {
      state: "cancelled",
      items: [{ state: "failed", run: { state: "cancelled", items: [{ state: "stopped" }] } }],
    },
  });
});

test("kinds of events that this page does not know change nothing but the position", () => {
  const view = after(...begin);
  const next = threadAfter(view, log([one.unknown(), of("run_other").unknown()], 3));

  expect(next).toEqual({ ...view, position: 5 });
});

test("a title is the thread's, and no turn of it", () => {
  expect(after(one.renamed("one"), one.renamed("two"))).toMatchObject({ title: "two", turns: [], position: 2 });
});

test("a run whose beginning is not there is shown as far as it is known, and says so", () => {
  const view = threadAfter(emptyThread(THREAD), log([one.delta("llo"), one.whole("hello"), one.completed()], 7));

  expect(view.turns).toHaveLength(1);
  expect(runOf(view)).toMatchObject({ isPartial: true, state: "completed" });
  expect(answerText(runOf(view))).toBe("hello");
  expect(runOf(after(one.retried("run_0"))).isPartial).toBe(false);
});

test("a run that a person stops shows that until it has stopped", () => {
  const view = threadCancelling(after(...begin, one.executing()), "run_1");
  expect(runOf(view).state).toBe("cancelling");

  const going = threadAfter(
    view,
    log(
      [one.executed(), one.started(2), one.executing("t2"), one.asked("a1", "t3"), one.answered("deny")],
      view.position,
    ),
  );
  expect(runOf(going).state).toBe("cancelling");

  const stopped = threadAfter(going, log([one.cancelled()], going.position));
  expect(runOf(stopped).state).toBe("cancelled");
  expect(threadCancelling(stopped, "run_1")).toBe(stopped);
  expect(threadCancelling(stopped, "run_x")).toBe(stopped);
});

test("of a run with many thousands of words only what changed is new", () => {
  const view = after(
    ...begin,
    one.whole("hello"),
    one.completed(),
    two.created(),
    two.queued(),
    two.started(),
    two.delta("a"),
  );

  const next = threadAfter(view, log([two.delta("b")], view.position));

  expect(next.turns[0]).toBe(view.turns[0]);
  expect(next.turns[1]).not.toBe(view.turns[1]);
  expect(view.turns[1]?.run?.items).toMatchObject([{ text: "a" }]);
});
