import { useCallback } from "react";
import { useParts } from "../app/parts";
import type { CheckupAnswer, CheckupPage } from "../client/rest";
import { CopyButton } from "../ui/CopyButton";
import { Icon } from "../ui/Icon";
import { Table } from "../ui/Table";
import { Trouble } from "../ui/Trouble";
import { moment, several } from "../ui/time";
import { usePolled } from "../ui/usePolled";
import { milliseconds, Verdict } from "./Operations";

/** What the doctor found when it was called last, and how to call it. */
export function Doctor() {
  const { api, who } = useParts();
  const read = useCallback(
    (signal: AbortSignal) => api.get<CheckupPage>("/v1/admin/checkups", { limit: 20 }, signal),
    [api],
  );
  const { value, error, again } = usePolled(read);
  const command = `cloche doctor --url ${location.origin} --email ${who.user.email}`;
  return (
    <div className="story">
      <section className="card" aria-label="How to call the doctor">
        <p>
          The doctor signs in as a person does, sends messages, cuts connections and looks whether every promise was
          kept. Call it from any machine that reaches this server:
        </p>
        <p className="command">
          <code>{command}</code>
          <CopyButton text={command} label="Copy the command" />
        </p>
        <button type="button" className="button" onClick={again}>
          Look again
        </button>
      </section>
      <Trouble error={error} />
      {value !== null && value.items.length === 0 && (
        <p className="empty">The doctor was not called yet, or not as an administrator.</p>
      )}
      {value?.items.map((checkup, index) => (
        <CheckupCard key={checkup.checkup_id} checkup={checkup} isFirst={index === 0} />
      ))}
    </div>
  );
}

function CheckupCard({ checkup, isFirst }: { readonly checkup: CheckupAnswer; readonly isFirst: boolean }) {
  return (
    <details className="card checkup" open={isFirst || undefined}>
      <summary>
        <Icon name="down" size={14} />
        <Verdict isOk={checkup.is_ok} />
        <strong>{moment(checkup.at)}</strong>
        <span className="hint">
          by {checkup.by.email}
          {checkup.users > 0 && `, ${several(checkup.users, "person", "people")} at once`}
        </span>
      </summary>
      <Table
        label={`Checks of ${moment(checkup.at)}`}
        rows={checkup.checks}
        keyOf={(check) => check.name}
        columns={[
          { title: "Check", cell: (check) => check.name },
          { title: "State", cell: (check) => <Verdict isOk={check.ok} /> },
          { title: "Detail", cell: (check) => check.detail },
          { title: "Took", isNumber: true, cell: (check) => milliseconds(check.duration_ms) },
        ]}
      />
    </details>
  );
}
