/** One line, or one colour of the bars; null where there is nothing to show. */
export interface Series {
  readonly name: string;
  readonly values: readonly (number | null)[];
}

export const MOST_SERIES = 6;
const OTHERS = "others";

/** The largest series, the largest first; what is left is one more. Zero series stay out. */
export function largest(series: readonly Series[], most = MOST_SERIES): Series[] {
  const total = (one: Series): number => one.values.reduce<number>((sum, value) => sum + (value ?? 0), 0);
  const found = series.filter((one) => total(one) > 0).sort((one, other) => total(other) - total(one));
  if (found.length <= most) return found;
  const rest = found.slice(most - 1);
  const values = (rest[0]?.values ?? []).map((_, index) =>
    rest.reduce((sum, one) => sum + (one.values[index] ?? 0), 0),
  );
  return [...found.slice(0, most - 1), { name: OTHERS, values }];
}

/** What the bars reach up to at each place. */
export function sums(series: readonly Series[]): number[] {
  const length = Math.max(0, ...series.map((one) => one.values.length));
  return Array.from({ length }, (_, index) => series.reduce((sum, one) => sum + (one.values[index] ?? 0), 0));
}

/** The UTC days from the first to the last one, as `2026-11-21`. */
export function daysBetween(first: string, last: string): string[] {
  const days: string[] = [];
  for (let at = Date.parse(first); at <= Date.parse(last); at += 86_400_000) {
    days.push(new Date(at).toISOString().slice(0, 10));
  }
  return days;
}

/** One series for each name; a day of which there is no line is a day of nothing. */
export function byDay<T extends { readonly day: string }>(
  days: readonly string[],
  lines: readonly T[],
  nameOf: (line: T) => string,
  amountOf: (line: T) => number,
): Series[] {
  const places = new Map(days.map((day, index) => [day, index]));
  const found = new Map<string, number[]>();
  for (const line of lines) {
    const place = places.get(line.day);
    if (place === undefined) continue;
    const name = nameOf(line);
    const values = found.get(name) ?? new Array<number>(days.length).fill(0);
    values[place] = (values[place] ?? 0) + amountOf(line);
    found.set(name, values);
  }
  return [...found].map(([name, values]) => ({ name, values }));
}
