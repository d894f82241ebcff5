import { useCallback } from "react";
import { useParts } from "../app/parts";
import { paths } from "../app/routes";
import type { MemberRunAnswer, MemberRunPage } from "../client/rest";
import { Table } from "../ui/Table";
import { Trouble } from "../ui/Trouble";
import { duration, moment } from "../ui/time";
import { usePolled } from "../ui/usePolled";
import { useNow } from "../ui/useStore";
import { skewOf } from "./stillness";
import { WatchState } from "./WatchState";
import { pauseOf, useWatching } from "./watching";

const EVERY_MS = 5_000;
const PAGE = 100;

/** The tenant's runs that wait for a person: whose, for which tool, until when. */
export function WaitingRuns() {
  const { api } = useParts();
  const watching = useWatching();
  const read = useCallback(
    (signal: AbortSignal) =>
      api.get<MemberRunPage>("/v1/admin/runs", { state: ["waiting"], order: "stuck", limit: PAGE }, signal),
    [api],
  );
  const { value, error, readAt, again } = usePolled(read, pauseOf(watching, EVERY_MS));
  const first = value?.items[0];
  const now = useNow(1_000) + (first === undefined ? 0 : skewOf(first, readAt));
  return (
    <>
      <div className="filters">
        <span>
          What waits for your own word is among your <a href={paths.approvals}>questions</a>.
        </span>
        <span className="head-space" />
        <WatchState watching={watching} readAt={readAt} />
      </div>
      <Trouble error={error} onAgain={again} />
      {value !== null && value.items.length === 0 && <p className="empty">No run waits for a person.</p>}
      {value !== null && value.items.length > 0 && <Waiting runs={value.items} now={now} />}
      {value !== null && value.next_cursor !== null && (
        <p>
          There are more. <a href={paths.console("runs", null, { state: "waiting" })}>All of them</a>
        </p>
      )}
    </>
  );
}

function Waiting({ runs, now }: { readonly runs: readonly MemberRunAnswer[]; readonly now: number }) {
  return (
    <Table
      label="Runs that wait for a person"
      rows={runs}
      keyOf={(run) => run.id}
      columns={[
        {
          title: "Run",
          cell: (run) => (
            <a href={paths.console("runs", run.id)}>
              <code>…{run.id.slice(-6)}</code>
            </a>
          ),
        },
        { title: "User", cell: (run) => run.user.name || run.user.email },
        { title: "Agent", cell: (run) => run.agent },
        { title: "Wants to call", cell: (run) => <code>{run.waiting_for?.tool || "a question of its own"}</code> },
        { title: "Asked", cell: (run) => moment(run.state_since) },
        { title: "Waits for", cell: (run) => duration(now - Date.parse(run.state_since)) },
        {
          title: "Expires",
          cell: (run) =>
            run.waiting_for === null ? "–" : `in ${duration(Date.parse(run.waiting_for.expires_at) - now)}`,
        },
      ]}
    />
  );
}
