import { expect, test } from "vitest";
import { activityOf } from "../src/chat/activity";
import { emptyThread, type RunView } from "../src/view/model";
import { threadAfter, threadCancelling } from "../src/view/thread";
import { type Fact, log, of, THREAD } from "./support/story";

const one = of("run_1");
const child = of("run_child", "c");
const begin = [one.created(), one.queued(), one.started()];
const SINCE = "2031-01-01T00:00:03.000Z";

const after = (...facts: readonly Fact[]): RunView => {
  const run = threadAfter(emptyThread(THREAD), log(facts)).turns[0]?.run;
  if (run == null) throw new Error("there is no run");
  return run;
};

test.for([
  ["Starting", [one.created()]],
  ["Starting", [one.created(), one.queued()]],
  ["Number 2 in the queue: after what is at work on this thread", [one.created(), one.queued(1, "thread_busy")]],
  ["Number 2 in the queue: as soon as the run before has stopped", [one.created(), one.queued(1, "interrupting")]],
  ["Number 4 in the queue: after the open question is answered", [one.created(), one.queued(3, "approval_pending")]],
  ["Number 2 in the queue", [one.created(), one.queued(1, "accepted")]],
] as const)("before it begins: %s", ([text, facts]) => {
  expect(activityOf(after(...facts))).toEqual({ text, tools: [], since: null });
});

test.for([
  ["Thinking", begin],
  ["Thinking", [...begin, one.thinking()]],
  ["Writing", [...begin, one.delta("he")]],
  ["Thinking", [...begin, one.delta("he"), one.whole("hello")]],
  ["Waiting for your answer", [...begin, one.asked()]],
  ["Thinking", [...begin, one.asked(), one.answered("approve")]],
  ["child is at work", [...begin, one.childStarted("run_child"), child.started()]],
  ["Thinking", [...begin, one.childStarted("run_child"), child.completed(), one.childCompleted("run_child")]],
] as const)("while it works: %s", ([text, facts]) => {
  expect(activityOf(after(...facts))).toEqual({ text, tools: [], since: SINCE });
});

test("the tools that it uses are named, also those of agents below", () => {
  expect(activityOf(after(...begin, one.executing(), one.executing("t2"), one.executed("t2")))).toEqual({
    text: "Using",
    tools: ["it"],
    since: SINCE,
  });
  expect(activityOf(after(...begin, one.childStarted("run_child"), child.executing()))).toMatchObject({
    text: "child is at work",
    tools: ["it"],
  });
});

test("what is being stopped says so, and what is still at work", () => {
  const view = threadCancelling(threadAfter(emptyThread(THREAD), log([...begin, one.executing()])), "run_1");

  expect(activityOf(view.turns[0]?.run as RunView)).toEqual({ text: "Stopping", tools: ["it"], since: SINCE });
});

test.for([one.completed(), one.failed(), one.timedOut(), one.cancelled()])(
  "what has ended does nothing: $type",
  (end) => {
    expect(activityOf(after(...begin, one.executing(), end))).toEqual({ text: "", tools: [], since: null });
  },
);

test("a run that works and was not told of as begun is starting", () => {
  expect(activityOf({ ...after(one.created()), state: "running" })).toMatchObject({ text: "Starting" });
});
