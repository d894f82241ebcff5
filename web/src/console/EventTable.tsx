import { useVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useId, useMemo, useRef, useState } from "react";
import type { MemberEventAnswer } from "../client/rest";
import { Icon } from "../ui/Icon";
import { saveAs } from "../ui/saveAs";
import { count, exactMoment } from "../ui/time";
import { isFailure } from "./runEffects";

const ROW_PX = 30;

/** A run's events, of which only rows near the screen are drawn. `played`: how many of them a replay has shown so far. */
export function EventTable(props: {
  readonly runId: string;
  readonly events: readonly MemberEventAnswer[];
  readonly played: number | null;
  readonly isTrimmed: boolean;
  readonly isCut: boolean;
}) {
  const { runId, events, played, isTrimmed, isCut } = props;
  const [type, setType] = useState("");
  const [isFailedOnly, setFailedOnly] = useState(false);
  const id = useId();
  const types = useMemo(() => [...new Set(events.map((event) => event.type))].sort(), [events]);
  const shown = useMemo(
    () => events.filter((event) => (type === "" || event.type === type) && (!isFailedOnly || isFailure(event))),
    [events, type, isFailedOnly],
  );
  const playedSeq = played === null ? null : (events[played - 1]?.seq ?? -1);
  return (
    <section className="card" aria-labelledby={id}>
      <div className="card-head">
        <h2 id={id}>Events</h2>
        <span className="hint">
          {shown.length === events.length ? count(events.length) : `${count(shown.length)} of ${count(events.length)}`}
        </span>
        <span className="head-space" />
        <label>
          <span className="visually-hidden">Type</span>
          <select value={type} onChange={(event) => setType(event.target.value)}>
            <option value="">every type</option>
            {types.map((one) => (
              <option key={one}>{one}</option>
            ))}
          </select>
        </label>
        <label className="check">
          <input type="checkbox" checked={isFailedOnly} onChange={(event) => setFailedOnly(event.target.checked)} />
          failed only
        </label>
        <button
          type="button"
          className="button"
          onClick={() => saveAs(`${runId}.events.json`, JSON.stringify(shown, null, 2))}
        >
          <Icon name="download" size={15} /> JSON
        </button>
      </div>
      {isTrimmed && <p className="callout callout-quiet">The log no longer reaches back to the first events.</p>}
      {isCut && <p className="callout callout-quiet">There are more events than are shown here.</p>}
      {shown.length === 0 ? (
        <p className="empty">{events.length === 0 ? "The log has no events of this run." : "No such event."}</p>
      ) : (
        <Rows events={shown} playedSeq={playedSeq} />
      )}
    </section>
  );
}

function Rows(props: { readonly events: readonly MemberEventAnswer[]; readonly playedSeq: number | null }) {
  const { events, playedSeq } = props;
  const scroller = useRef<HTMLDivElement>(null);
  const virtualizer = useVirtualizer({
    count: events.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW_PX,
    overscan: 10,
  });
  const at = playedSeq === null ? -1 : events.findLastIndex((event) => event.seq <= playedSeq);
  useEffect(() => {
    if (at >= 0) virtualizer.scrollToIndex(at, { align: "auto" });
  }, [at, virtualizer]);
  const items = virtualizer.getVirtualItems();
  const before = items[0]?.start ?? 0;
  const after = virtualizer.getTotalSize() - (items[items.length - 1]?.end ?? 0);
  return (
    <div className="events" ref={scroller} tabIndex={0} role="region" aria-label="Events of the run">
      <table className="table events-table" aria-rowcount={events.length + 1}>
        <thead>
          <tr aria-rowindex={1}>
            <th scope="col" className="number">
              seq
            </th>
            <th scope="col">at</th>
            <th scope="col">type</th>
            <th scope="col" className="number">
              bytes
            </th>
            <th scope="col">shown</th>
          </tr>
        </thead>
        <tbody>
          {before > 0 && <Gap height={before} />}
          {items.map((item) => {
            const event = events[item.index];
            if (event === undefined) return null;
            return (
              <tr key={event.seq} aria-rowindex={item.index + 2} className={classOf(event, item.index, at, playedSeq)}>
                <td className="number">{event.seq}</td>
                <td>
                  <time dateTime={event.at}>{exactMoment(event.at)}</time>
                </td>
                <td>
                  <code>{event.type}</code>
                </td>
                <td className="number">{count(event.bytes)}</td>
                <td className="shown">
                  <code>{inWords(event.shown)}</code>
                </td>
              </tr>
            );
          })}
          {after > 0 && <Gap height={after} />}
        </tbody>
      </table>
    </div>
  );
}

function Gap({ height }: { readonly height: number }) {
  return (
    <tr className="gap">
      <td colSpan={5} style={{ height, padding: 0, border: 0 }} />
    </tr>
  );
}

function classOf(event: MemberEventAnswer, index: number, at: number, playedSeq: number | null): string {
  const failed = isFailure(event) ? "event-failed " : "";
  if (index === at) return `${failed}event-now`;
  return playedSeq !== null && index > at ? `${failed}event-later` : failed;
}

/** `tool clock, ok true`: nested values as JSON. */
function inWords(shown: Readonly<Record<string, unknown>>): string {
  return Object.entries(shown)
    .map(([name, value]) => `${name} ${typeof value === "object" ? JSON.stringify(value) : String(value)}`)
    .join(", ");
}
