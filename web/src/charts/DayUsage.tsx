import { Table } from "../ui/Table";
import { count, shortCount } from "../ui/time";
import { Chart, type Times } from "./Chart";
import { byDay, daysBetween, largest } from "./series";

export const SPANS = [7, 30, 90, 366] as const;
const DAY_MS = 86_400_000;

const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", timeZone: "UTC" });
const wholeDay = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeZone: "UTC" });

interface Used {
  readonly day: string;
  readonly calls: number;
  readonly input_tokens: number;
  readonly output_tokens: number;
}

/** How many days an address asks for; thirty unless it is one of the offered spans. */
export function spanOf(text: string | null): number {
  return SPANS.find((span) => String(span) === text) ?? 30;
}

export function spanName(days: number): string {
  return days === 366 ? "1 year" : `${days} days`;
}

/** The last UTC days up to today, as the server takes them. */
export function lastDays(days: number, now = Date.now()): { readonly since: string; readonly until: string } {
  const name = (time: number): string => new Date(time).toISOString().slice(0, 10);
  return { since: name(now - (days - 1) * DAY_MS), until: name(now) };
}

/** Tokens by UTC day, split by name; and what each name used in all of that time. */
export function DayUsage<T extends Used>(props: {
  readonly since: string;
  readonly until: string;
  readonly items: readonly T[];
  readonly by: string;
  readonly nameOf: (item: T) => string;
}) {
  const { since, until, items, by, nameOf } = props;
  const days = daysBetween(since, until);
  const times: Times = {
    at: days,
    name: (at) => wholeDay.format(Date.parse(at)),
    tick: (time) => day.format(time),
    isUtc: true,
  };
  const tokens = (item: T): number => item.input_tokens + item.output_tokens;
  return (
    <>
      <Chart
        title={`Tokens by day and ${by}`}
        note="UTC days, input and output together"
        kind="bars"
        times={times}
        series={largest(byDay(days, items, nameOf, tokens))}
        format={shortCount}
      />
      <section className="card" aria-label="Together">
        <div className="card-head">
          <h2>Together</h2>
          <span className="hint">
            {wholeDay.format(Date.parse(since))} to {wholeDay.format(Date.parse(until))}
          </span>
        </div>
        {items.length === 0 ? (
          <p className="empty">Nothing was used.</p>
        ) : (
          <Table
            label={`Used by ${by}`}
            rows={totals(items, nameOf)}
            keyOf={(row) => row.name}
            columns={[
              { title: by, cell: (row) => row.name },
              { title: "Model calls", isNumber: true, cell: (row) => count(row.calls) },
              { title: "Tokens in", isNumber: true, cell: (row) => count(row.input_tokens) },
              { title: "Tokens out", isNumber: true, cell: (row) => count(row.output_tokens) },
            ]}
          />
        )}
      </section>
    </>
  );
}

interface Total {
  readonly name: string;
  readonly calls: number;
  readonly input_tokens: number;
  readonly output_tokens: number;
}

/** What each name used, the most first, and all of them together last. */
export function totals<T extends Used>(items: readonly T[], nameOf: (item: T) => string): Total[] {
  const found = new Map<string, Total>();
  const all: Total = { name: "all together", calls: 0, input_tokens: 0, output_tokens: 0 };
  const added = (total: Total, item: T): Total => ({
    name: total.name,
    calls: total.calls + item.calls,
    input_tokens: total.input_tokens + item.input_tokens,
    output_tokens: total.output_tokens + item.output_tokens,
  });
  for (const item of items) {
    const name = nameOf(item);
    found.set(name, added(found.get(name) ?? { ...all, name }, item));
  }
  const rows = [...found.values()].sort(
    (one, other) => other.input_tokens + other.output_tokens - one.input_tokens - one.output_tokens,
  );
  return [...rows, items.reduce(added, all)];
}
