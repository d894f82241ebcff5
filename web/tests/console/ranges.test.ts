import { expect, test } from "vitest";
import { lastDays, spanOf } from "../../src/charts/DayUsage";
import { RANGES, rangeOf } from "../../src/console/ranges";

test("each stretch of time has fewer pieces than the server gives at most", () => {
  for (const range of RANGES) expect(range.spanMs / 1000 / range.bucketS).toBeLessThan(499);
});

test("a stretch that there is not is an hour", () => {
  expect(rangeOf("7d").spanMs).toBe(7 * 86_400_000);
  expect(rangeOf(null).name).toBe("1h");
  expect(rangeOf("9y").name).toBe("1h");
});

test("the last days end with today, by the clock of UTC", () => {
  const now = Date.parse("2026-03-02T00:30:00Z");

  expect(lastDays(7, now)).toEqual({ since: "2026-02-24", until: "2026-03-02" });
  expect(lastDays(1, now)).toEqual({ since: "2026-03-02", until: "2026-03-02" });
});

test("a number of days that is not offered is thirty", () => {
  expect(spanOf("90")).toBe(90);
  expect(spanOf("4000")).toBe(30);
  expect(spanOf(null)).toBe(30);
});
