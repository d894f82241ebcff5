import { useCallback } from "react";
import { useParts } from "../app/parts";
import { paths } from "../app/routes";
import type { FailuresAnswer, OperationsAnswer } from "../client/rest";
import { Table } from "../ui/Table";
import { Trouble } from "../ui/Trouble";
import { moment, several, wholeMoment } from "../ui/time";
import { usePolled } from "../ui/usePolled";
import { Findings } from "./Findings";
import { Checks } from "./Operations";
import { StateChip } from "./StateChip";
import { pauseOf, useWatching } from "./watching";

const EVERY_MS = 10_000;

/** What went wrong: runs by reason, rows that disagree, checks that fail. */
export function Errors() {
  return (
    <div className="story">
      <FailingChecks />
      <Failures />
      <Findings />
    </div>
  );
}

function FailingChecks() {
  const { api } = useParts();
  const read = useCallback(
    (signal: AbortSignal) => api.get<OperationsAnswer>("/v1/admin/operations", {}, signal),
    [api],
  );
  const { value, error, again } = usePolled(read, pauseOf(useWatching(), EVERY_MS));
  const failing = Object.entries(value?.checks ?? {}).filter(([, check]) => !check.ok);
  if (failing.length > 0) return <Checks checks={Object.fromEntries(failing)} />;
  return (
    <>
      <Trouble error={error} onAgain={again} />
      {value !== null && (
        <p className="callout callout-quiet">
          Every check of the server is good. <a href={paths.console("operations")}>Queue and nodes</a>
        </p>
      )}
    </>
  );
}

function Failures() {
  const { api } = useParts();
  const read = useCallback((signal: AbortSignal) => api.get<FailuresAnswer>("/v1/admin/failures", {}, signal), [api]);
  const { value, error, again } = usePolled(read, pauseOf(useWatching(), EVERY_MS));
  return (
    <section className="card" aria-labelledby="failures">
      <div className="card-head">
        <h2 id="failures">Runs that did not end well</h2>
        {value !== null && (
          <span className="hint">
            {several(value.total, "run")} since {wholeMoment(value.since)}
          </span>
        )}
      </div>
      <Trouble error={error} onAgain={again} />
      {value !== null && value.items.length === 0 && <p className="empty">All runs ended well.</p>}
      {value !== null && value.items.length > 0 && (
        <Table
          label="Failures by reason"
          rows={value.items}
          keyOf={(line) => `${line.code} ${line.agent} ${line.state}`}
          columns={[
            { title: "Reason", cell: (line) => <code className="failed">{line.code}</code> },
            { title: "Agent", cell: (line) => line.agent },
            { title: "Ended", cell: (line) => <StateChip state={line.state} /> },
            {
              title: "Runs",
              isNumber: true,
              cell: (line) => (
                <a href={paths.console("runs", null, { state: line.state, agent: line.agent })}>{line.runs}</a>
              ),
            },
            { title: "Trying again", cell: (line) => (line.retryable ? "may help" : "does not help") },
            {
              title: "The last one",
              cell: (line) => <a href={paths.console("runs", line.last_run_id)}>{moment(line.last_at)}</a>,
            },
          ]}
        />
      )}
    </section>
  );
}
