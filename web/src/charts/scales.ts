const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const TIME_STEPS = [
  ...[1, 2, 5, 10, 20, 50, 100, 200, 500],
  ...[1, 2, 5, 10, 15, 30].map((one) => one * SECOND),
  ...[1, 2, 5, 10, 15, 30].map((one) => one * MINUTE),
  ...[1, 2, 3, 6, 12].map((one) => one * HOUR),
  ...[1, 2, 7, 14, 30, 90].map((one) => one * DAY),
];

/** Round values from nothing to at least `most`, at most `wanted` steps apart. */
export function valueTicks(most: number, wanted = 4): number[] {
  if (!(most > 0)) return [0, 1];
  const rough = most / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => one >= rough * (1 - 1e-9)) ?? 10 * power;
  const ticks = [0];
  while ((ticks[ticks.length - 1] ?? 0) < most * (1 - 1e-9)) ticks.push(Number((ticks.length * step).toPrecision(12)));
  return ticks;
}

/** The shortest round step of time of which at most `wanted` fit. */
export function timeStep(spanMs: number, wanted: number): number {
  return TIME_STEPS.find((step) => spanMs / step <= wanted) ?? Math.ceil(spanMs / wanted / DAY) * DAY;
}

/** Round distances from the beginning, from nothing up to the end. */
export function offsetTicks(spanMs: number, wanted = 6): number[] {
  const step = timeStep(spanMs, wanted);
  return Array.from({ length: Math.floor(spanMs / step) + 1 }, (_, index) => index * step);
}

/** Round durations from nothing to at least `mostMs`. */
export function durationTicks(mostMs: number, wanted = 4): number[] {
  if (!(mostMs > 0)) return [0, 1];
  const step = timeStep(mostMs, wanted);
  return Array.from({ length: Math.ceil(mostMs / step) + 1 }, (_, index) => index * step);
}

/** Round moments between the two, as the clock on the wall here shows them; or as the one of UTC does, for UTC days. */
export function momentTicks(from: number, to: number, wanted = 6, isUtc = false): number[] {
  const step = timeStep(to - from, wanted);
  const offset = isUtc ? 0 : new Date(from).getTimezoneOffset() * MINUTE;
  const first = Math.ceil((from - offset) / step) * step + offset;
  const ticks: number[] = [];
  for (let at = first; at <= to; at += step) ticks.push(at);
  return ticks;
}

/** Which of `length` bands of equal width a place in a width is in. */
export function bandAt(place: number, width: number, length: number): number {
  return Math.min(length - 1, Math.max(0, Math.floor((place / width) * length)));
}
