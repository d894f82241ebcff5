import { paths } from "../app/routes";
import type { MemberRunAnswer } from "../client/rest";
import { Icon } from "../ui/Icon";
import { type Column, Table } from "../ui/Table";
import { duration, wholeMoment } from "../ui/time";
import { useNow } from "../ui/useStore";
import { isLiveState } from "./runFilters";
import { StateChip } from "./StateChip";
import { shortened } from "./shortened";
import { movedAt, stillnessOf, whyMarked } from "./stillness";

/** Runs, one a row; what does not move as it should is marked. `skew` is how far the server's clock is ahead. */
export function RunTable(props: {
  readonly runs: readonly MemberRunAnswer[];
  readonly skew: number;
  readonly onUser?: (userId: string) => void;
}) {
  const { runs, skew, onUser } = props;
  const now = useNow(1_000) + skew;
  const columns: readonly Column<MemberRunAnswer>[] = [
    { title: "State", cell: (run) => <StateCell run={run} now={now} /> },
    { title: "Quiet for", isShort: true, cell: (run) => <QuietCell run={run} now={now} /> },
    { title: "Age", isShort: true, cell: (run) => <Since at={run.created_at} now={now} /> },
    { title: "Agent", cell: (run) => run.agent },
    { title: "User", cell: (run) => <UserCell run={run} onUser={onUser} /> },
    { title: "Attempt", isShort: true, cell: (run) => <AttemptCell run={run} /> },
    { title: "Worker", isShort: true, cell: (run) => <WorkerCell run={run} now={now} /> },
    { title: "Last event", cell: (run) => <EventCell run={run} now={now} /> },
    { title: "Reason", cell: (run) => <ReasonCell run={run} now={now} /> },
  ];
  return (
    <Table
      label="Runs"
      columns={columns}
      rows={runs}
      keyOf={(run) => run.id}
      classOf={(run) => `run run-${stillnessOf(run, now)}`}
    />
  );
}

function StateCell({ run, now }: { readonly run: MemberRunAnswer; readonly now: number }) {
  const why = whyMarked(run, now);
  return (
    <a href={paths.console("runs", run.id)} className="run-link">
      <StateChip state={run.state} />
      <code>…{run.id.slice(-6)}</code>
      {why !== "" && (
        <span className="run-why">
          <Icon name="error" size={13} /> {why}
        </span>
      )}
    </a>
  );
}

function QuietCell({ run, now }: { readonly run: MemberRunAnswer; readonly now: number }) {
  if (!isLiveState(run.state)) return <span className="hint">over</span>;
  return duration(now - movedAt(run));
}

function Since({ at, now }: { readonly at: string; readonly now: number }) {
  return (
    <time dateTime={at} title={wholeMoment(at)}>
      {duration(now - Date.parse(at))}
    </time>
  );
}

function UserCell(props: { readonly run: MemberRunAnswer; readonly onUser: ((userId: string) => void) | undefined }) {
  const { user } = props.run;
  const name = user.name || user.email;
  if (props.onUser === undefined) return name;
  return (
    <button
      type="button"
      className="link-button"
      title={user.email}
      aria-label={`Only runs of ${name}`}
      onClick={() => props.onUser?.(user.id)}
    >
      {name}
    </button>
  );
}

function AttemptCell({ run }: { readonly run: MemberRunAnswer }) {
  return (
    <>
      {run.attempt}
      {run.losses > 0 && <span className="hint hint-error"> ({run.losses} lost)</span>}
    </>
  );
}

function WorkerCell({ run, now }: { readonly run: MemberRunAnswer; readonly now: number }) {
  if (run.worker_id === null) return <span className="hint">none</span>;
  const left = run.lease_until === null ? null : Date.parse(run.lease_until) - now;
  return (
    <>
      <code title={run.worker_id}>{shortened(run.worker_id)}</code>
      {left !== null && isLiveState(run.state) && (
        <span className={left < 0 ? "hint hint-error" : "hint"}>
          {left < 0 ? ` lease over for ${duration(-left)}` : ` lease ${duration(left)}`}
        </span>
      )}
    </>
  );
}

function EventCell({ run, now }: { readonly run: MemberRunAnswer; readonly now: number }) {
  if (run.last_event === null) return <span className="hint">none</span>;
  const { type, at } = run.last_event;
  return (
    <>
      <code>{type}</code> <span className="hint">{duration(now - Date.parse(at))} ago</span>
    </>
  );
}

function ReasonCell({ run, now }: { readonly run: MemberRunAnswer; readonly now: number }) {
  if (run.failure !== null) return <code className="failed">{run.failure.code}</code>;
  if (run.waiting_for === null) return null;
  const left = Date.parse(run.waiting_for.expires_at) - now;
  return (
    <>
      a yes to <code>{run.waiting_for.tool || "a question"}</code>{" "}
      <span className="hint">{left > 0 ? `${duration(left)} left` : "expiring"}</span>
    </>
  );
}
