import { useCallback } from "react";
import { useParts } from "../app/parts";
import { move, paths } from "../app/routes";
import { Chart, type Times } from "../charts/Chart";
import type { ThroughputAnswer, ThroughputLine } from "../client/rest";
import { Trouble } from "../ui/Trouble";
import { count, duration, shortCount, timeOfDay, wholeMoment } from "../ui/time";
import { usePolled } from "../ui/usePolled";
import { RANGES, rangeOf, type TimeRange } from "./ranges";
import { END_STATES } from "./runFilters";
import type { PanelProps } from "./sections";
import { WatchState } from "./WatchState";
import { pauseOf, useWatching } from "./watching";

const EVERY_MS = 10_000;
const DAY_MS = 86_400_000;

const weekday = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric" });

/** The tenant's runs by time: how many, how they ended, how long they waited and took, and their tokens. */
export function Throughput({ query }: PanelProps) {
  const { api } = useParts();
  const range = rangeOf(query.get("range"));
  const watching = useWatching();
  const read = useCallback(
    (signal: AbortSignal) => {
      const since = new Date(Date.now() - range.spanMs).toISOString();
      return api.get<ThroughputAnswer>("/v1/admin/throughput", { since, bucket_s: range.bucketS }, signal);
    },
    [api, range],
  );
  const { value, error, readAt, isOther, again } = usePolled(read, pauseOf(watching, EVERY_MS));
  return (
    <>
      <div className="filters">
        <Ranges range={range} />
        <span className="head-space" />
        <WatchState watching={watching} readAt={readAt} />
      </div>
      <Trouble error={error} onAgain={again} />
      {value === null && error === null && <p className="page-note">Looking…</p>}
      {value !== null && (
        <div className={isOther ? "charts other" : "charts"} aria-busy={isOther}>
          <Charts items={value.items} spanMs={Date.parse(value.until) - Date.parse(value.since)} />
        </div>
      )}
    </>
  );
}

function Ranges({ range }: { readonly range: TimeRange }) {
  return (
    <fieldset className="chips">
      <legend className="visually-hidden">Time</legend>
      {RANGES.map((one) => (
        <button
          key={one.name}
          type="button"
          className="chip chip-button"
          aria-pressed={one === range}
          onClick={() => move(paths.console("throughput", null, { range: one.name }))}
        >
          {one.title}
        </button>
      ))}
    </fieldset>
  );
}

function Charts({ items, spanMs }: { readonly items: readonly ThroughputLine[]; readonly spanMs: number }) {
  const times: Times = {
    at: items.map((line) => line.at),
    name: wholeMoment,
    tick: (time) => (spanMs > 2 * DAY_MS ? weekday.format(time) : timeOfDay(time)),
  };
  const of = (name: string, value: (line: ThroughputLine) => number | null) => ({ name, values: items.map(value) });
  const ended = END_STATES.map((state) => of(state, (line) => line.ended[state] ?? 0)).filter((series) =>
    series.values.some((value) => value !== 0),
  );
  const took = (ms: number): string => (ms < 1_000 ? `${Math.round(ms)} ms` : duration(ms));
  return (
    <>
      <Chart
        title="Runs that were accepted"
        kind="bars"
        times={times}
        format={count}
        series={[of("accepted", (line) => line.accepted)]}
      />
      <Chart title="Runs that ended" kind="bars" times={times} format={count} series={ended} />
      <Chart
        title="How long runs took"
        note="from their first start, waiting for people included"
        kind="lines"
        times={times}
        format={took}
        isDuration
        series={[
          of("half took at most", (line) => line.duration_ms?.p50 ?? null),
          of("95 of 100 took at most", (line) => line.duration_ms?.p95 ?? null),
        ]}
      />
      <Chart
        title="How long runs waited for a worker"
        kind="lines"
        times={times}
        format={took}
        isDuration
        series={[
          of("half waited at most", (line) => line.wait_ms?.p50 ?? null),
          of("95 of 100 waited at most", (line) => line.wait_ms?.p95 ?? null),
        ]}
      />
      <Chart
        title="Tokens"
        kind="bars"
        times={times}
        format={shortCount}
        series={[of("in", (line) => line.input_tokens), of("out", (line) => line.output_tokens)]}
      />
    </>
  );
}
