export type Speed = 1 | 2 | 10 | "max";

export const SPEEDS: readonly Speed[] = [1, 2, 10, "max"];

/** How many of the events had happened at that moment. The times never go back. */
export function playedAt(times: readonly number[], at: number): number {
  let low = 0;
  let high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((times[middle] ?? 0) <= at) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * The moment to show for whoever wants this many events to have happened; null before the first one. What happened at
 * one moment is one step: whoever goes back from it comes to the moment before.
 */
export function sought(times: readonly number[], played: number, wanted: number): number | null {
  if (wanted <= 0) return null;
  const at = times[Math.min(times.length, wanted) - 1];
  if (at === undefined) return null;
  if (wanted >= played || playedAt(times, at) < played) return at;
  return times.findLast((time) => time < at) ?? null;
}

/** The moment to show after so much time of the watcher; `max` goes from event to event without waiting. */
export function advanced(times: readonly number[], at: number, speed: Speed, elapsedMs: number): number {
  const last = times[times.length - 1] ?? at;
  const next = speed === "max" ? (times[playedAt(times, at)] ?? last) : at + elapsedMs * speed;
  return Math.min(last, next);
}
