import { expect, test } from "vitest";
import { advanced, playedAt, sought } from "../../src/console/replay";

const TIMES = [1_000, 1_000, 1_500, 4_000];

test("what happened up to a moment has been played, all of one moment at once", () => {
  expect([999, 1_000, 1_499, 1_500, 9_000].map((at) => playedAt(TIMES, at))).toEqual([0, 2, 2, 3, 4]);
  expect(playedAt([], 5)).toBe(0);
});

test("a number of events is a moment, and none of them is no moment", () => {
  expect([1, 2, 3, 4, 9].map((wanted) => sought(TIMES, 0, wanted))).toEqual([1_000, 1_000, 1_500, 4_000, 4_000]);
  expect(sought(TIMES, 4, 0)).toBeNull();
  expect(sought([], 0, 3)).toBeNull();
});

test("one step back leaves a moment, however many events it has", () => {
  expect(sought(TIMES, 4, 3)).toBe(1_500);
  expect(sought([1_000, 4_000, 4_000, 4_000], 4, 3)).toBe(1_000);
  expect(sought(TIMES, 2, 1)).toBeNull();
});

test("the replay goes as fast as it is asked to, and not beyond the last event", () => {
  expect(advanced(TIMES, 1_000, 1, 80)).toBe(1_080);
  expect(advanced(TIMES, 1_000, 2, 80)).toBe(1_160);
  expect(advanced(TIMES, 1_000, 10, 80)).toBe(1_800);
  expect(advanced(TIMES, 3_990, 10, 80)).toBe(4_000);
});

test("at most speed it goes from one event to the next, however long nothing happened", () => {
  expect(advanced(TIMES, 1_000, "max", 1)).toBe(1_500);
  expect(advanced(TIMES, 1_500, "max", 1)).toBe(4_000);
  expect(advanced(TIMES, 4_000, "max", 1)).toBe(4_000);
});
