import { expect, test } from "vitest";
import type { ExecutionAnswer, RunStoryAnswer, StepAnswer } from "../../src/client/rest";
import { ganttOf, placeOf } from "../../src/console/gantt";

const START = Date.parse("2026-11-21T12:00:00Z");
const at = (ms: number): string => new Date(START + ms).toISOString();

function execution(epoch: number, from: number, to: number | null, state = "completed"): ExecutionAnswer {
  return {
    execution_id: `execution_${epoch}`,
    epoch,
    worker_id: "w",
    state,
    started_at: at(from),
    ended_at: to === null ? null : at(to),
  };
}

function step(index: number, epoch: number, from: number, to: number | null, changes: Partial<StepAnswer> = {}) {
  return {
    index,
    epoch,
    kind: "tool" as const,
    name: "clock",
    state: to === null ? ("started" as const) : ("done" as const),
    reference: `call_${index}`,
    code: null,
    started_at: at(from),
    ended_at: to === null ? null : at(to),
    duration_ms: to === null ? null : to - from,
    ...changes,
  };
}

type Story = Pick<RunStoryAnswer, "created_at" | "state" | "state_times" | "executions" | "steps" | "approvals">;

function story(changes: Partial<Story>): Story {
  return {
    created_at: at(0),
    state: "completed",
    state_times: { completed: at(1_000) },
    executions: [execution(1, 100, 1_000)],
    steps: [],
    approvals: [],
    ...changes,
  };
}

test("a run begins with its wait for a worker, and ends when its last state says so", () => {
  const gantt = ganttOf(story({}), START + 99_000);

  expect([gantt.from - START, gantt.to - START]).toEqual([0, 1_000]);
  expect(gantt.lanes.map((lane) => lane.label)).toEqual(["Waited for a worker", "Execution 1"]);
  expect(gantt.lanes[0]?.bars[0]).toMatchObject({ from: START, to: START + 100, isOpen: false });
});

test("a live run grows up to now, and what has no end is open", () => {
  const live = story({
    state: "running",
    state_times: {},
    executions: [execution(1, 100, null, "running")],
    steps: [step(1, 1, 200, null)],
  });

  const gantt = ganttOf(live, START + 5_000);

  expect(gantt.to - START).toBe(5_000);
  expect(gantt.lanes[1]?.bars.map((bar) => [bar.kind, bar.to - START, bar.isOpen])).toEqual([
    ["execution", 5_000, true],
    ["tool", 5_000, true],
  ]);
});

test("a run that nobody took waits up to now", () => {
  const gantt = ganttOf(story({ state: "pending", executions: [], state_times: {} }), START + 700);

  expect(gantt.lanes).toHaveLength(1);
  expect(gantt.lanes[0]?.bars[0]).toMatchObject({ to: START + 700, isOpen: true });
});

test("each step is in the lane of its execution; one without an end goes to the end of that execution", () => {
  const lost = story({
    executions: [execution(1, 100, 400, "lost"), execution(2, 500, 1_000)],
    steps: [step(1, 1, 150, null), step(1, 2, 550, 900)],
  });

  const [, first, second] = ganttOf(lost, START).lanes;

  expect(first?.bars.map((bar) => [bar.key, bar.to - START, bar.isFailed])).toEqual([
    ["execution_1", 400, true],
    ["step-1-1", 400, false],
  ]);
  expect(second?.bars.map((bar) => bar.key)).toEqual(["execution_2", "step-1-2"]);
});

test("steps that overlap have rows of their own, and those that do not share one", () => {
  const steps = [step(1, 1, 150, 400), step(2, 1, 200, 300), step(3, 1, 400, 500), step(4, 1, 350, 600)];

  const lane = ganttOf(story({ steps }), START).lanes[1];

  expect(lane?.bars.map((bar) => bar.row)).toEqual([0, 1, 2, 1, 2]);
  expect(lane?.rows).toBe(3);
});

test("a step that failed, or the tool called in it, is marked", () => {
  const steps = [step(1, 1, 150, 400, { state: "failed" }), step(2, 1, 400, 500, { code: "tool_failed" })];

  const bars = ganttOf(story({ steps }), START).lanes[1]?.bars;

  expect(bars?.map((bar) => bar.isFailed)).toEqual([false, true, true]);
});

test("the wait for a person is a lane, and the step that asks is not drawn twice", () => {
  const approval = {
    approval_id: "approval_1",
    tool: "refund",
    state: "denied" as const,
    created_at: at(200),
    expires_at: at(90_000),
    decided_at: at(900),
  };

  const gantt = ganttOf(story({ approvals: [approval], steps: [step(1, 1, 200, 900, { kind: "approval" })] }), START);

  expect(gantt.lanes[1]?.bars).toHaveLength(1);
  expect(gantt.lanes[2]).toMatchObject({ label: "Waited for a person", from: START + 200, to: START + 900 });
  expect(gantt.lanes[2]?.bars[0]).toMatchObject({ isFailed: true, isOpen: false });
});

test("a bar is placed in parts of a hundred, cut at the edges, and not drawn outside", () => {
  expect(placeOf({ from: 25, to: 50 }, 0, 100)).toEqual({ left: 25, width: 25 });
  expect(placeOf({ from: -50, to: 200 }, 0, 100)).toEqual({ left: 0, width: 100 });
  expect(placeOf({ from: 101, to: 102 }, 0, 100)).toBeNull();
  expect(placeOf({ from: -2, to: -1 }, 0, 100)).toBeNull();
});
