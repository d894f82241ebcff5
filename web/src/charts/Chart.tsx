import { type PointerEvent, type ReactNode, useState } from "react";
import "../styles/charts.css";
import { Table } from "../ui/Table";
import { shortDuration } from "../ui/time";
import { bandAt, durationTicks, momentTicks, valueTicks } from "./scales";
import { type Series, sums } from "./series";
import { useWidth } from "./useWidth";

const HEIGHT = 190;
const LEFT = 58;
const RIGHT = 10;
const TOP = 10;
const BOTTOM = 24;

/** How the moments of the horizontal axis are written, and whether they are UTC days. */
export interface Times {
  readonly at: readonly string[];
  readonly name: (at: string) => string;
  readonly tick: (time: number) => string;
  readonly isUtc?: boolean;
}

/**
 * Values over time, as lines or as bars on each other. Beside the picture stand the same numbers as a table; what is
 * under the pointer is named in words.
 */
export function Chart(props: {
  readonly title: string;
  readonly kind: "lines" | "bars";
  readonly times: Times;
  readonly series: readonly Series[];
  readonly format: (value: number) => string;
  readonly isDuration?: boolean;
  readonly note?: string;
}) {
  const { title, kind, times, series, format, isDuration = false, note } = props;
  const [pointed, setPointed] = useState<number | null>(null);
  // Runs that waited for no time at all are something; no runs are nothing.
  const isNothing = (value: number | null): boolean => value === null || (kind === "bars" && value === 0);
  const isEmpty = times.at.length === 0 || series.every((one) => one.values.every(isNothing));
  return (
    <figure className="chart card">
      <figcaption>
        <strong>{title}</strong>
        {note !== undefined && <span className="hint">{note}</span>}
      </figcaption>
      {isEmpty ? (
        <p className="empty">Nothing in this time.</p>
      ) : (
        <>
          <Legend {...{ series, times, format, pointed }} />
          <Picture {...{ title, kind, times, series, format, isDuration, pointed, setPointed }} />
          <details>
            <summary>As a table</summary>
            <Numbers {...{ title, times, series, format }} />
          </details>
        </>
      )}
    </figure>
  );
}

function Legend(props: {
  readonly series: readonly Series[];
  readonly times: Times;
  readonly format: (value: number) => string;
  readonly pointed: number | null;
}) {
  const { series, times, format, pointed } = props;
  const at = pointed === null ? undefined : times.at[pointed];
  return (
    <ul className="legend">
      {series.map((one, index) => {
        const value = pointed === null ? null : one.values[pointed];
        return (
          <li key={one.name}>
            <span className={`swatch series-${index}`} />
            {one.name}
            {pointed !== null && <strong>{value === null || value === undefined ? "–" : format(value)}</strong>}
          </li>
        );
      })}
      <li className="legend-at">{at === undefined ? "" : times.name(at)}</li>
    </ul>
  );
}

function Picture(props: {
  readonly title: string;
  readonly kind: "lines" | "bars";
  readonly times: Times;
  readonly series: readonly Series[];
  readonly format: (value: number) => string;
  readonly isDuration: boolean;
  readonly pointed: number | null;
  readonly setPointed: (index: number | null) => void;
}) {
  const { title, kind, times, series, format, isDuration, pointed, setPointed } = props;
  const [place, width] = useWidth();
  const inner = Math.max(1, width - LEFT - RIGHT);
  const { length } = times.at;
  const most = Math.max(
    0,
    ...(kind === "bars" ? sums(series) : series.flatMap((one) => one.values.map((value) => value ?? 0))),
  );
  const ticks = isDuration ? durationTicks(most) : valueTicks(most);
  const top = ticks[ticks.length - 1] ?? 1;
  const x = (index: number): number => LEFT + ((index + 0.5) / length) * inner;
  const y = (value: number): number => TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM);
  const point = (event: PointerEvent<SVGSVGElement>): void => {
    const left = event.clientX - event.currentTarget.getBoundingClientRect().left - LEFT;
    setPointed(left < 0 || left > inner ? null : bandAt(left, inner, length));
  };
  return (
    <div ref={place}>
      <svg
        width={width}
        height={HEIGHT}
        role="img"
        aria-label={`${title}: ${series.map((one) => one.name).join(", ")}. At most ${format(most)}. The table below has the numbers.`}
        onPointerMove={point}
        onPointerLeave={() => setPointed(null)}
      >
        {ticks.map((tick) => (
          <g key={tick}>
            <line className="grid-line" x1={LEFT} x2={width - RIGHT} y1={y(tick)} y2={y(tick)} />
            <text className="tick" x={LEFT - 8} y={y(tick) + 4} textAnchor="end">
              {isDuration ? shortDuration(tick) : format(tick)}
            </text>
          </g>
        ))}
        <TimeAxis times={times} width={width} inner={inner} />
        {kind === "bars" ? (
          <Bars series={series} x={x} y={y} band={inner / length} />
        ) : (
          series.map((one, index) => <Line key={one.name} values={one.values} x={x} y={y} index={index} />)
        )}
        {pointed !== null && <line className="pointed" x1={x(pointed)} x2={x(pointed)} y1={TOP} y2={HEIGHT - BOTTOM} />}
      </svg>
    </div>
  );
}

function TimeAxis({ times, width, inner }: { readonly times: Times; readonly width: number; readonly inner: number }) {
  const starts = times.at.map((at) => Date.parse(at));
  const from = starts[0] ?? 0;
  const piece = starts.length > 1 ? (starts[1] ?? 0) - from : 86_400_000;
  const to = (starts[starts.length - 1] ?? from) + piece;
  const isUtc = times.isUtc === true;
  const wanted = Math.max(3, Math.floor(inner / 90));
  // The name of a UTC day stands under the middle of its bar.
  const shift = isUtc ? piece / 2 : 0;
  return momentTicks(from, to - (isUtc ? piece : 0), wanted, isUtc).map((tick) => {
    const at = LEFT + ((tick + shift - from) / (to - from)) * inner;
    return (
      <text
        key={tick}
        className="tick"
        x={Math.min(at, width - RIGHT)}
        y={HEIGHT - 6}
        textAnchor={at > width - 45 ? "end" : "middle"}
      >
        {times.tick(tick)}
      </text>
    );
  });
}

function Bars(props: {
  readonly series: readonly Series[];
  readonly x: (index: number) => number;
  readonly y: (value: number) => number;
  readonly band: number;
}) {
  const { series, x, y, band } = props;
  const width = Math.max(1, Math.min(band - (band > 4 ? 2 : 0), 48));
  const bars: ReactNode[] = [];
  for (let at = 0; at < (series[0]?.values.length ?? 0); at += 1) {
    let below = 0;
    series.forEach((one, index) => {
      const value = one.values[at] ?? 0;
      if (value <= 0) return;
      const upper = y(below + value);
      bars.push(
        <rect
          key={`${at}-${one.name}`}
          className={`series-${index}`}
          x={x(at) - width / 2}
          y={upper}
          width={width}
          height={Math.max(1, y(below) - upper)}
        />,
      );
      below += value;
    });
  }
  return bars;
}

function Line(props: {
  readonly values: readonly (number | null)[];
  readonly x: (index: number) => number;
  readonly y: (value: number) => number;
  readonly index: number;
}) {
  const { values, x, y, index } = props;
  let path = "";
  const alone: number[] = [];
  values.forEach((value, at) => {
    if (value === null) return;
    const isFirst = at === 0 || values[at - 1] === null;
    path += `${isFirst ? "M" : "L"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
    if (isFirst && (values[at + 1] ?? null) === null) alone.push(at);
  });
  return (
    <g className={`line series-${index}`}>
      <path d={path} />
      {alone.map((at) => (
        <circle key={at} cx={x(at)} cy={y(values[at] ?? 0)} r={2.5} />
      ))}
    </g>
  );
}

function Numbers(props: {
  readonly title: string;
  readonly times: Times;
  readonly series: readonly Series[];
  readonly format: (value: number) => string;
}) {
  const { title, times, series, format } = props;
  const rows = times.at
    .map((at, index) => ({ at, index }))
    .filter(({ index }) => series.some((one) => one.values[index] !== null && one.values[index] !== 0));
  return (
    <Table
      label={title}
      rows={rows}
      keyOf={(row) => row.at}
      columns={[
        { title: "When", cell: (row) => times.name(row.at) },
        ...series.map((one) => ({
          title: one.name,
          isNumber: true,
          cell: (row: { readonly index: number }) => {
            const value = one.values[row.index];
            return value === null || value === undefined ? "–" : format(value);
          },
        })),
      ]}
    />
  );
}
