import { useState } from "react";
import { offsetTicks } from "../charts/scales";
import { useWidth } from "../charts/useWidth";
import { duration, shortDuration } from "../ui/time";
import { type Bar, type Gantt, type Lane, placeOf } from "./gantt";

const NAME_WIDTH = 150;

const KINDS: readonly (readonly [Bar["kind"], string])[] = [
  ["queue", "waited"],
  ["execution", "execution"],
  ["model", "model"],
  ["tool", "tool"],
  ["message", "message"],
  ["thought", "thought"],
  ["value", "value"],
  ["approval", "person"],
];

/** A run's time as lanes of bars; one lane alone fills the picture when it is asked for. */
export function GanttChart({ gantt, cursor }: { readonly gantt: Gantt; readonly cursor: number | null }) {
  const [chosen, setChosen] = useState<string | null>(null);
  const [place, width] = useWidth();
  const lane = gantt.lanes.find((one) => one.key === chosen);
  const from = lane?.from ?? gantt.from;
  const to = Math.max(from + 1, lane?.to ?? gantt.to);
  const wanted = Math.max(2, Math.floor((width - NAME_WIDTH) / 90));
  const ticks = offsetTicks(to - from, wanted);
  const present = new Set(gantt.lanes.flatMap((one) => one.bars.map((bar) => bar.kind)));
  return (
    <div className="gantt" ref={place}>
      <ul className="legend">
        {KINDS.filter(([kind]) => present.has(kind)).map(([kind, name]) => (
          <li key={kind}>
            <span className={`swatch bar-${kind}`} />
            {name}
          </li>
        ))}
        {lane !== undefined && (
          <li className="legend-at">
            <button type="button" className="link-button" onClick={() => setChosen(null)}>
              Show the whole run
            </button>
          </li>
        )}
      </ul>
      <div className="gantt-lanes">
        {gantt.lanes.map((one) => (
          <LaneRow
            key={one.key}
            lane={one}
            from={from}
            to={to}
            ticks={ticks}
            cursor={cursor}
            isChosen={one.key === chosen}
            onChoose={() => setChosen(one.key === chosen ? null : one.key)}
          />
        ))}
        <div className="gantt-lane">
          <span />
          <div className="gantt-axis" aria-hidden="true">
            {ticks.map((tick) => (
              <span
                key={tick}
                className={tickSide(tick / (to - from))}
                style={{ left: `${(tick / (to - from)) * 100}%` }}
              >
                {shortDuration(tick)}
              </span>
            ))}
          </div>
        </div>
      </div>
    </div>
  );
}

function LaneRow(props: {
  readonly lane: Lane;
  readonly from: number;
  readonly to: number;
  readonly ticks: readonly number[];
  readonly cursor: number | null;
  readonly isChosen: boolean;
  readonly onChoose: () => void;
}) {
  const { lane, from, to, ticks, cursor, isChosen, onChoose } = props;
  const at = cursor === null ? null : placeOf({ from: cursor, to: cursor }, from, to);
  const took = duration(lane.to - lane.from);
  return (
    <div className="gantt-lane">
      <button
        type="button"
        className="gantt-name"
        aria-pressed={isChosen}
        title={isChosen ? "Show the whole run" : "Show this alone"}
        onClick={onChoose}
      >
        {lane.label}
        <span className="hint">
          {lane.note === "" ? "" : `${lane.note}, `}
          {took}
        </span>
      </button>
      <div
        className="gantt-bars"
        role="img"
        aria-label={`${lane.label}: ${lane.bars.length} bars in ${took}. The journal below has the same in words.`}
        style={{ height: `${lane.rows * 1.4}rem` }}
      >
        {ticks.map((tick) => (
          <span key={tick} className="gantt-tick" style={{ left: `${(tick / (to - from)) * 100}%` }} />
        ))}
        {lane.bars.map((bar) => (
          <BarPiece key={bar.key} bar={bar} from={from} to={to} />
        ))}
        {at !== null && <span className="gantt-cursor" style={{ left: `${at.left}%` }} />}
      </div>
    </div>
  );
}

function BarPiece({ bar, from, to }: { readonly bar: Bar; readonly from: number; readonly to: number }) {
  const at = placeOf(bar, from, to);
  if (at === null) return null;
  const marks = `${bar.isOpen ? " bar-open" : ""}${bar.isFailed ? " bar-failed" : ""}`;
  const text = `${bar.label}, ${duration(bar.to - bar.from)}${bar.isOpen ? " so far" : ""}${bar.isFailed ? ", failed" : ""}`;
  return (
    <span
      className={`gantt-bar bar-${bar.kind}${marks}`}
      title={text}
      style={{ left: `${at.left}%`, width: `max(3px, ${at.width}%)`, top: `${bar.row * 1.4}rem` }}
    >
      {at.width > 8 ? bar.label : ""}
    </span>
  );
}

/** What is written at the end of the axis stands before its tick: behind it there is no room. */
function tickSide(share: number): string {
  return share > 0.9 ? "gantt-tick-before" : "";
}
