import type { RunItem, RunView } from "../view/model";

/** What a run is doing now, in words. */
export interface Activity {
  readonly text: string;
  readonly tools: readonly string[];
  readonly since: string | null;
}

export function activityOf(run: RunView): Activity {
  const tools = runningTools(run.items);
  const since = run.startedAt;
  switch (run.state) {
    case "queued":
      return { text: queuedText(run), tools, since: null };
    case "waiting":
      return { text: "Waiting for your answer", tools: [], since };
    case "cancelling":
      return { text: "Stopping", tools, since };
    case "running":
      break;
    default:
      return { text: "", tools: [], since: null };
  }
  const child = run.items.findLast((item) => item.kind === "subagent" && item.state === "running");
  if (child?.kind === "subagent") return { text: `${child.agent} is at work`, tools, since };
  if (tools.length > 0) return { text: "Using", tools, since };
  const last = run.items[run.items.length - 1];
  if (last?.kind === "text" && !last.isWhole) return { text: "Writing", tools, since };
  if (run.agent === null) return { text: "Starting", tools, since };
  return { text: "Thinking", tools, since };
}

const REASONS: Readonly<Record<string, string>> = {
  thread_busy: "after what is at work on this thread",
  interrupting: "as soon as the run before has stopped",
  approval_pending: "after the open question is answered",
};

function queuedText(run: RunView): string {
  const { queued } = run;
  if (queued === null || queued.position === 0) return "Starting";
  const reason = REASONS[queued.reason];
  return `Number ${queued.position + 1} in the queue${reason === undefined ? "" : `: ${reason}`}`;
}

function runningTools(items: readonly RunItem[]): string[] {
  const found: string[] = [];
  for (const item of items) {
    if (item.kind === "tool" && item.state === "running") found.push(item.tool);
    if (item.kind === "subagent") found.push(...runningTools(item.run.items));
  }
  return found;
}
