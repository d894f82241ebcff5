import type { SessionAnswer } from "../client/rest";
import { Table } from "../ui/Table";
import { moment } from "../ui/time";
import { deviceOf } from "./devices";

/** Sessions, the last used first. The one that this page uses is marked, and is not ended from here. */
export function SessionTable(props: {
  readonly sessions: readonly SessionAnswer[];
  readonly onEnd: (session: SessionAnswer) => void;
}) {
  if (props.sessions.length === 0) return <p className="empty">There is no live session.</p>;
  return (
    <Table
      label="Sessions"
      rows={props.sessions}
      keyOf={(session) => session.id}
      columns={[
        {
          title: "Device",
          cell: (session) => (
            <span title={session.user_agent}>
              {deviceOf(session.user_agent)} {session.is_current && <span className="chip chip-agent">this one</span>}
            </span>
          ),
        },
        { title: "Address", cell: (session) => session.address },
        { title: "Last used", cell: (session) => moment(session.used_at) },
        { title: "Signed in", cell: (session) => moment(session.created_at) },
        {
          title: "End it",
          cell: (session) =>
            session.is_current ? (
              <span className="hint">in use here</span>
            ) : (
              <button
                type="button"
                className="button"
                aria-label={`End the session: ${deviceOf(session.user_agent)}, last used ${moment(session.used_at)}`}
                onClick={() => props.onEnd(session)}
              >
                End
              </button>
            ),
        },
      ]}
    />
  );
}
