import { useCallback, useState } from "react";
import { useParts } from "../app/parts";
import { paths } from "../app/routes";
import type { FindingAnswer, FindingPage } from "../client/rest";
import { Confirm } from "../ui/Confirm";
import { Table } from "../ui/Table";
import { Trouble } from "../ui/Trouble";
import { duration, wholeMoment } from "../ui/time";
import { tell } from "../ui/toasts";
import { usePolled } from "../ui/usePolled";

/** Rows that disagree about what happened, what would be done about each, and the way to have it done. */
export function Findings() {
  const { api, may } = useParts();
  const [asked, setAsked] = useState<FindingAnswer | null>(null);
  const read = useCallback((signal: AbortSignal) => api.get<FindingPage>("/v1/admin/findings", {}, signal), [api]);
  const { value, error, again } = usePolled(read);
  const repair = async (finding: FindingAnswer): Promise<void> => {
    await api.post<FindingAnswer>("/v1/admin/repairs", { finding: finding.id });
    tell(`Repaired: ${finding.would}`);
    again();
  };
  return (
    <section className="card" aria-labelledby="findings">
      <div className="card-head">
        <h2 id="findings">Rows that disagree</h2>
        {value !== null && (
          <span className="hint">
            of what is live, and of the rest since {wholeMoment(value.looked_back_to)}
            {value.more && "; there are more, which show once these are repaired"}
          </span>
        )}
        <span className="head-space" />
        <button type="button" className="button" onClick={again}>
          Look again
        </button>
      </div>
      <Trouble error={error} />
      {value !== null && value.items.length === 0 && <p className="empty">Everything agrees.</p>}
      {value !== null && value.items.length > 0 && (
        <Table
          label="Findings"
          rows={value.items}
          keyOf={(finding) => finding.id}
          columns={[
            { title: "Kind", cell: (finding) => <code>{finding.kind}</code> },
            { title: "For", cell: (finding) => duration(finding.age_s * 1000) },
            { title: "What", cell: (finding) => <What finding={finding} /> },
            { title: "What would be done", cell: (finding) => finding.would },
            {
              title: "Repair",
              cell: (finding) => {
                if (!finding.repairable) return <span className="hint">needs a person</span>;
                if (!may("admin:repairs")) return <span className="hint">needs admin:repairs</span>;
                return (
                  <button type="button" className="button" onClick={() => setAsked(finding)}>
                    Repair
                  </button>
                );
              },
            },
          ]}
        />
      )}
      {asked !== null && (
        <Confirm title="Repair this?" action="Repair" act={() => repair(asked)} onClose={() => setAsked(null)}>
          <p>{asked.what}</p>
          <p>
            <strong>{asked.would}</strong>
          </p>
          <p className="hint">It is looked for once more first. It is a line in the audit trail.</p>
        </Confirm>
      )}
    </section>
  );
}

function What({ finding }: { readonly finding: FindingAnswer }) {
  return (
    <>
      {finding.what}{" "}
      {finding.run_id !== null && <a href={paths.console("runs", finding.run_id)}>…{finding.run_id.slice(-6)}</a>}
    </>
  );
}
