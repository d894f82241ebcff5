import { type FormEvent, useCallback } from "react";
import { useParts } from "../app/parts";
import { move, paths } from "../app/routes";
import { textOf } from "../app/SignIn";
import type { AuditAnswer, AuditPage } from "../client/rest";
import { Table } from "../ui/Table";
import { Trouble } from "../ui/Trouble";
import { wholeMoment } from "../ui/time";
import type { PanelProps } from "./sections";
import { shortened } from "./shortened";
import { usePages } from "./usePages";

const PAGE = 50;

/** Who did what to what, the newest first; by actor, by how the action begins, and since a day here. */
export function Audit({ query }: PanelProps) {
  const { api } = useParts();
  const actor = query.get("actor") ?? "";
  const action = query.get("action") ?? "";
  const since = query.get("since") ?? "";
  const get = useCallback(
    (cursor: string | null, signal: AbortSignal) =>
      api.get<AuditPage>("/v1/admin/audit", { actor, action, since: beginOf(since), limit: PAGE, cursor }, signal),
    [api, actor, action, since],
  );
  const { value, error, isOther, again, more } = usePages<AuditAnswer>(get);
  const choose = (wanted: Readonly<Record<string, string>>): void => {
    const asked = Object.entries({ actor, action, since, ...wanted }).filter(([, text]) => text !== "");
    move(paths.console("audit", null, Object.fromEntries(asked)));
  };
  const submit = (event: FormEvent<HTMLFormElement>): void => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    choose({
      actor: textOf(form, "actor").trim(),
      action: textOf(form, "action").trim(),
      since: textOf(form, "since"),
    });
  };
  return (
    <>
      <form className="filters" role="search" onSubmit={submit} key={`${actor} ${action} ${since}`}>
        <input
          name="action"
          type="search"
          aria-label="Action begins with"
          placeholder="Action, as run."
          defaultValue={action}
        />
        <input name="actor" type="search" aria-label="Actor" placeholder="Actor, as user_…" defaultValue={actor} />
        <label className="check">
          since
          <input name="since" type="date" defaultValue={since} />
        </label>
        <button type="submit" className="button">
          Show these
        </button>
        {(actor !== "" || action !== "" || since !== "") && (
          <button type="button" className="link-button" onClick={() => choose({ actor: "", action: "", since: "" })}>
            Show all
          </button>
        )}
      </form>
      <Trouble error={error} onAgain={again} />
      {value === null && error === null && <p className="page-note">Looking…</p>}
      {value !== null && value.items.length === 0 && <p className="empty">Nothing of that was done.</p>}
      {value !== null && value.items.length > 0 && (
        <div className={isOther ? "other" : undefined} aria-busy={isOther}>
          <Lines lines={value.items} onActor={(wanted) => choose({ actor: wanted })} />
        </div>
      )}
      {value?.hasMore === true && (
        <button type="button" className="button" onClick={more}>
          Show more
        </button>
      )}
    </>
  );
}

/** When that day begins by the clock here; null for what is no day. */
function beginOf(day: string): string | null {
  const time = new Date(`${day}T00:00`).getTime();
  return Number.isNaN(time) ? null : new Date(time).toISOString();
}

function Lines(props: { readonly lines: readonly AuditAnswer[]; readonly onActor: (actor: string) => void }) {
  return (
    <Table
      label="Audit trail"
      rows={props.lines}
      keyOf={(line) => line.id}
      columns={[
        { title: "When", cell: (line) => wholeMoment(line.at) },
        {
          title: "Actor",
          cell: (line) => (
            <button
              type="button"
              className="link-button"
              title="Only of this actor"
              onClick={() => props.onActor(line.actor)}
            >
              <code>{shortened(line.actor)}</code>
            </button>
          ),
        },
        { title: "Action", cell: (line) => <code>{line.action}</code> },
        { title: "Target", cell: (line) => <Target target={line.target} /> },
        {
          title: "Detail",
          cell: (line) => (
            <code className="fields">{Object.keys(line.detail).length === 0 ? "" : JSON.stringify(line.detail)}</code>
          ),
        },
      ]}
    />
  );
}

function Target({ target }: { readonly target: string }) {
  const text = <code title={target}>{shortened(target)}</code>;
  return target.startsWith("run_") ? <a href={paths.console("runs", target)}>{text}</a> : text;
}
