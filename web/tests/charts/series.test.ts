import { expect, test } from "vitest";
import { totals } from "../../src/charts/DayUsage";
import { byDay, daysBetween, largest, sums } from "../../src/charts/series";

const line = (day: string, name: string, tokens: number) => ({
  day,
  name,
  calls: 1,
  input_tokens: tokens,
  output_tokens: 1,
});

test("days go from the first to the last one, over the end of a month", () => {
  expect(daysBetween("2026-02-27", "2026-03-01")).toEqual(["2026-02-27", "2026-02-28", "2026-03-01"]);
  expect(daysBetween("2026-03-01", "2026-02-27")).toEqual([]);
});

test("a day without a line is a day of nothing, and lines of one name on one day are added", () => {
  const days = daysBetween("2026-11-20", "2026-11-22");
  const lines = [line("2026-11-20", "a", 5), line("2026-11-22", "b", 7), line("2026-11-20", "a", 2)];

  const series = byDay(
    days,
    [...lines, line("2025-01-01", "a", 99)],
    (one) => one.name,
    (one) => one.input_tokens,
  );

  expect(series).toEqual([
    { name: "a", values: [7, 0, 0] },
    { name: "b", values: [0, 0, 7] },
  ]);
});

test("the largest series stay, and all that is left is one more", () => {
  const series = [1, 2, 3, 4].map((value) => ({ name: `s${value}`, values: [value, null] }));

  const found = largest([...series, { name: "none", values: [0, 0] }], 3);

  expect(found).toEqual([
    { name: "s4", values: [4, null] },
    { name: "s3", values: [3, null] },
    { name: "others", values: [3, 0] },
  ]);
  expect(largest(series, 4).map((one) => one.name)).toEqual(["s4", "s3", "s2", "s1"]);
  expect(largest([{ name: "none", values: [0, 0] }])).toEqual([]);
});

test("bars on each other reach up to their sum", () => {
  const series = [
    { name: "a", values: [1, null, 3] },
    { name: "b", values: [4, 5, 6] },
  ];

  expect(sums(series)).toEqual([5, 5, 9]);
  expect(sums([])).toEqual([]);
});

test("totals are by name, the most first, and end with all of them", () => {
  const lines = [line("2026-11-20", "a", 5), line("2026-11-21", "b", 50), line("2026-11-22", "a", 6)];

  const rows = totals(lines, (one) => one.name);

  expect(rows.map((row) => [row.name, row.calls, row.input_tokens])).toEqual([
    ["b", 1, 50],
    ["a", 2, 11],
    ["all together", 3, 61],
  ]);
});
