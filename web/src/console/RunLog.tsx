import { useCallback, useId } from "react";
import { useParts } from "../app/parts";
import type { RunLogAnswer } from "../client/rest";
import { Table } from "../ui/Table";
import { Trouble } from "../ui/Trouble";
import { exactMoment, wholeMoment } from "../ui/time";
import { usePolled } from "../ui/usePolled";

/** What the server that answers wrote into its log about the run, as far back as it remembers. */
export function RunLog({ runId }: { readonly runId: string }) {
  const { api } = useParts();
  const id = useId();
  const read = useCallback(
    (signal: AbortSignal) => api.get<RunLogAnswer>(`/v1/admin/runs/${runId}/logs`, {}, signal),
    [api, runId],
  );
  const { value, error, again } = usePolled(read);
  return (
    <section className="card" aria-labelledby={id}>
      <div className="card-head">
        <h2 id={id}>Log</h2>
        {value !== null && (
          <span className="hint">
            This server remembers back to {wholeMoment(value.since)}
            {value.complete ? ", and so all of this run." : "; the run is older, and lines of it are missing here."}
          </span>
        )}
        <span className="head-space" />
        <button type="button" className="button" onClick={again}>
          Read again
        </button>
      </div>
      <Trouble error={error} />
      {value !== null && value.items.length === 0 && <p className="empty">No line names this run.</p>}
      {value !== null && value.items.length > 0 && (
        <Table
          label="Log lines of the run"
          rows={value.items.map((line, index) => ({ ...line, index }))}
          keyOf={(line) => String(line.index)}
          classOf={(line) => (["error", "critical"].includes(line.level) ? "event-failed" : "")}
          columns={[
            { title: "At", cell: (line) => exactMoment(line.at) },
            { title: "Level", cell: (line) => line.level },
            { title: "Event", cell: (line) => <code>{line.event}</code> },
            {
              title: "Fields",
              cell: (line) => (
                <code className="fields">
                  {Object.entries(line.fields)
                    .map(([name, value]) => `${name}=${String(value)}`)
                    .join(" ")}
                </code>
              ),
            },
          ]}
        />
      )}
    </section>
  );
}
