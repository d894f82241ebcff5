const DAY_MS = 86_400_000;
const SHORT_UNITS: readonly (readonly [number, string])[] = [
  [DAY_MS, "d"],
  [3_600_000, "h"],
  [60_000, "min"],
  [1_000, "s"],
];

const clockTime = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const dayAndTime = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const exactTime = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  fractionalSecondDigits: 3,
  hourCycle: "h23",
});
const numbers = new Intl.NumberFormat();
const shortNumbers = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });

/** `< 0.1 s`, `0.4 s`, `12 s`, `3 min 5 s`, `2 h 4 min`: how long something took or takes. */
export function duration(ms: number): string {
  const seconds = Math.max(0, ms) / 1000;
  if (seconds > 0 && seconds < 0.1) return "< 0.1 s";
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} days`;
}

/** `500 ms`, `30 s`, `1.5 min`, `12 h`: a round duration on an axis. */
export function shortDuration(ms: number): string {
  if (ms === 0) return "0";
  const [unit, name] = SHORT_UNITS.find(([one]) => ms >= one) ?? [1, "ms"];
  return `${Number((ms / unit).toFixed(1))} ${name}`;
}

export function moment(at: string, now = Date.now()): string {
  const time = Date.parse(at);
  return now - time < DAY_MS && new Date(time).getDate() === new Date(now).getDate()
    ? clockTime.format(time)
    : dayAndTime.format(time);
}

export function wholeMoment(at: string): string {
  return dayAndTime.format(Date.parse(at));
}

/** `20:35:22.417`, to tell events apart that are close to each other. */
export function exactMoment(at: string): string {
  return exactTime.format(Date.parse(at));
}

/** `08:15`. */
export function timeOfDay(time: number): string {
  return clockTime.format(time);
}

/** `1.2K`: for places where a whole number does not fit. */
export function shortCount(value: number): string {
  return shortNumbers.format(value);
}

export function count(value: number): string {
  return numbers.format(value);
}

/** `1 token`, `1,204 tokens`. */
export function several(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

export type Age = "Today" | "Yesterday" | "Last 7 days" | "Last 30 days" | "Older";

export function ageOf(at: string, now = Date.now()): Age {
  const time = Date.parse(at);
  if (time >= midnight(now, 0)) return "Today";
  if (time >= midnight(now, 1)) return "Yesterday";
  if (time >= midnight(now, 7)) return "Last 7 days";
  return time >= midnight(now, 30) ? "Last 30 days" : "Older";
}

/** The beginning of the day so many days ago; a day on which clocks change has not 24 hours. */
function midnight(now: number, daysAgo: number): number {
  const day = new Date(now);
  day.setDate(day.getDate() - daysAgo);
  return day.setHours(0, 0, 0, 0);
}
