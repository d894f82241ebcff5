import { expect, test } from "vitest";
import { ageOf, count, duration, moment, several, wholeMoment } from "../src/ui/time";

test.for([
  [-5, "0.0 s"],
  [0, "0.0 s"],
  [1, "< 0.1 s"],
  [100, "0.1 s"],
  [449, "0.4 s"],
  [9_940, "9.9 s"],
  [10_000, "10 s"],
  [59_999, "59 s"],
  [60_000, "1 min 0 s"],
  [185_000, "3 min 5 s"],
  [3_599_999, "59 min 59 s"],
  [3_600_000, "1 h 0 min"],
  [7_440_000, "2 h 4 min"],
  [172_799_000, "47 h 59 min"],
  [172_800_000, "2 days"],
  [1_000_000_000, "11 days"],
] as const)("%d ms are %s", ([ms, text]) => {
  expect(duration(ms)).toBe(text);
});

const at = (day: number, hour = 12, minute = 0): number => new Date(2031, 4, day, hour, minute).getTime();
const iso = (time: number): string => new Date(time).toISOString();

test("a moment of today is a time, and any other one has its day", () => {
  const now = at(20, 15);

  expect(moment(iso(at(20, 9, 5)), now)).toMatch(/^0?9.05/);
  expect(moment(iso(at(20, 9, 5)), now)).not.toContain("2031");
  for (const other of [at(19, 15, 1), at(19, 9), at(1, 15), at(-10, 15)])
    expect(moment(iso(other), now)).toContain("2031");
  expect(wholeMoment(iso(at(20)))).toContain("2031");
});

test.for([
  ["Today", at(20, 0, 0)],
  ["Today", at(20, 23, 59)],
  ["Today", at(21, 1)],
  ["Yesterday", at(19, 23, 59)],
  ["Yesterday", at(19, 0, 0)],
  ["Last 7 days", at(18, 23, 59)],
  ["Last 7 days", at(13, 0, 0)],
  ["Last 30 days", at(12, 23, 59)],
  ["Older", at(-30)],
] as const)("%s", ([age, time]) => {
  expect(ageOf(iso(time), at(20, 15))).toBe(age);
});

test("numbers are told with what they count", () => {
  expect(several(1, "token")).toBe("1 token");
  expect(several(0, "token")).toBe("0 tokens");
  expect(several(2, "entry", "entries")).toBe("2 entries");
  expect(several(1_204, "token")).toBe(`${count(1_204)} tokens`);
  expect(count(1_204).replace(/\D/g, "")).toBe("1204");
});
