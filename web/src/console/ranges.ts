/** A stretch of time up to now, and the pieces that it is shown in. */
export interface TimeRange {
  readonly name: string;
  readonly title: string;
  readonly spanMs: number;
  readonly bucketS: number;
}

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

const HOUR: TimeRange = { name: "1h", title: "1 hour", spanMs: HOUR_MS, bucketS: 60 };

export const RANGES: readonly TimeRange[] = [
  { name: "15m", title: "15 minutes", spanMs: 15 * MINUTE_MS, bucketS: 15 },
  HOUR,
  { name: "24h", title: "24 hours", spanMs: 24 * HOUR_MS, bucketS: 900 },
  { name: "7d", title: "7 days", spanMs: 7 * 24 * HOUR_MS, bucketS: 7_200 },
];

/** The stretch of that name; an hour for any other. */
export function rangeOf(name: string | null): TimeRange {
  return RANGES.find((range) => range.name === name) ?? HOUR;
}
