import type { ExecutionAnswer, RunStoryAnswer, StepAnswer } from "../client/rest";
import { isLiveState } from "./runFilters";

export type BarKind = "queue" | "execution" | "model" | "tool" | "message" | "thought" | "value" | "approval";

/** A piece of time in a lane. `isOpen`: its end is not known, and it is drawn up to the end of what holds it. */
export interface Bar {
  readonly key: string;
  readonly kind: BarKind;
  readonly label: string;
  readonly from: number;
  readonly to: number;
  readonly isOpen: boolean;
  readonly isFailed: boolean;
  readonly row: number;
}

export interface Lane {
  readonly key: string;
  readonly label: string;
  readonly note: string;
  readonly rows: number;
  readonly from: number;
  readonly to: number;
  readonly bars: readonly Bar[];
}

export interface Gantt {
  readonly from: number;
  readonly to: number;
  readonly lanes: readonly Lane[];
}

type Story = Pick<RunStoryAnswer, "created_at" | "state" | "state_times" | "executions" | "steps" | "approvals">;
type Loose = Omit<Bar, "row">;

/** A run's story in time: waiting for a worker, one lane for each execution with its steps, waiting for people. */
export function ganttOf(story: Story, now: number): Gantt {
  const from = Date.parse(story.created_at);
  const to = Math.max(from + 1, endOf(story, now));
  const lanes: Lane[] = [queueLane(story, from, to)];
  for (const execution of story.executions) lanes.push(executionLane(story, execution, to));
  const asked = story.approvals.map(
    (approval): Loose => ({
      key: approval.approval_id,
      kind: "approval",
      label: `${approval.tool}: ${approval.state}`,
      from: Date.parse(approval.created_at),
      to: approval.decided_at === null ? to : Date.parse(approval.decided_at),
      isOpen: approval.decided_at === null,
      isFailed: approval.state === "denied" || approval.state === "expired",
    }),
  );
  if (asked.length > 0) lanes.push(laneOf("people", "Waited for a person", "", asked));
  return { from, to, lanes };
}

/** When the run ended, or now while it goes on. */
function endOf(story: Story, now: number): number {
  if (isLiveState(story.state)) return now;
  const ends = [
    story.state_times[story.state],
    ...story.executions.map((execution) => execution.ended_at),
    ...story.steps.map((step) => step.ended_at),
  ];
  return Math.max(...ends.map((at) => (at === null || at === undefined ? 0 : Date.parse(at))));
}

function queueLane(story: Story, from: number, to: number): Lane {
  const first = story.executions[0];
  const end = first === undefined ? to : Date.parse(first.started_at);
  const label = "Waited for a worker";
  const bar: Loose = {
    key: "queue",
    kind: "queue",
    label,
    from,
    to: end,
    isOpen: first === undefined && isLiveState(story.state),
    isFailed: false,
  };
  return laneOf("queue", label, "", [bar]);
}

function executionLane(story: Story, execution: ExecutionAnswer, end: number): Lane {
  const to = execution.ended_at === null ? end : Date.parse(execution.ended_at);
  const whole: Loose = {
    key: execution.execution_id,
    kind: "execution",
    label: `Execution ${execution.epoch}: ${execution.state}`,
    from: Date.parse(execution.started_at),
    to,
    isOpen: execution.ended_at === null,
    isFailed: ["failed", "timeout", "dead", "lost"].includes(execution.state),
  };
  // What waits for a person is drawn where people are.
  const steps = story.steps.filter((step) => step.epoch === execution.epoch && step.kind !== "approval");
  const bars = steps.map((step) => stepBar(step, to));
  return laneOf(execution.execution_id, `Execution ${execution.epoch}`, execution.state, [whole, ...bars]);
}

function stepBar(step: StepAnswer, end: number): Loose {
  const name = step.name === null || step.name === "" ? "" : ` ${step.name}`;
  return {
    key: `step-${step.index}-${step.epoch}`,
    kind: step.kind,
    label: `${step.index} ${step.kind}${name}`,
    from: Date.parse(step.started_at),
    to: step.ended_at === null ? end : Date.parse(step.ended_at),
    isOpen: step.ended_at === null,
    isFailed: step.state === "failed" || step.code !== null,
  };
}

/** Each bar goes into the first row that is free when it begins. */
function laneOf(key: string, label: string, note: string, loose: readonly Loose[]): Lane {
  const ends: number[] = [];
  const bars = loose.map((bar): Bar => {
    const free = ends.findIndex((end) => end <= bar.from);
    const row = free === -1 ? ends.length : free;
    ends[row] = Math.max(bar.from, bar.to);
    return { ...bar, row };
  });
  return {
    key,
    label,
    note,
    rows: ends.length,
    from: Math.min(...loose.map((bar) => bar.from)),
    to: Math.max(...loose.map((bar) => bar.to)),
    bars,
  };
}

/** Where in the time between the two a bar stands, in parts of a hundred; null when it is outside. */
export function placeOf(
  bar: Pick<Bar, "from" | "to">,
  from: number,
  to: number,
): { readonly left: number; readonly width: number } | null {
  if (bar.to < from || bar.from > to) return null;
  const part = (at: number): number => ((Math.min(to, Math.max(from, at)) - from) / (to - from)) * 100;
  return { left: part(bar.from), width: part(bar.to) - part(bar.from) };
}
