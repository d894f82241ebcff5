import { expect, test } from "vitest";
import { bandAt, durationTicks, momentTicks, offsetTicks, timeStep, valueTicks } from "../../src/charts/scales";

test("values have round ticks that reach over the largest one", () => {
  expect(valueTicks(7)).toEqual([0, 2, 4, 6, 8]);
  expect(valueTicks(100)).toEqual([0, 25, 50, 75, 100]);
  expect(valueTicks(0.3)).toEqual([0, 0.1, 0.2, 0.3]);
  expect(valueTicks(1_234_567)).toEqual([0, 500_000, 1_000_000, 1_500_000]);
});

test("where there is nothing there is still an axis", () => {
  expect(valueTicks(0)).toEqual([0, 1]);
  expect(valueTicks(Number.NaN)).toEqual([0, 1]);
});

test("a step of time is round, and no more of them fit than are wanted", () => {
  expect(timeStep(3_600_000, 6)).toBe(600_000);
  expect(timeStep(90, 6)).toBe(20);
  expect(timeStep(7 * 86_400_000, 7)).toBe(86_400_000);
  expect(timeStep(3_000 * 86_400_000, 6)).toBe(500 * 86_400_000);
});

test("distances begin at nothing and end within the stretch", () => {
  expect(offsetTicks(12_000, 6)).toEqual([0, 2_000, 4_000, 6_000, 8_000, 10_000, 12_000]);
});

test("durations have ticks that are round for people and reach over the longest one", () => {
  expect(durationTicks(1_000_000)).toEqual([0, 300_000, 600_000, 900_000, 1_200_000]);
  expect(durationTicks(6_800)).toEqual([0, 2_000, 4_000, 6_000, 8_000]);
  expect(durationTicks(0)).toEqual([0, 1]);
});

test("moments are round by the clock of UTC where days are", () => {
  const from = Date.parse("2026-11-20T23:50:00Z");
  const to = Date.parse("2026-11-22T00:10:00Z");

  const ticks = momentTicks(from, to, 3, true).map((tick) => new Date(tick).toISOString());

  expect(ticks).toEqual(["2026-11-21T00:00:00.000Z", "2026-11-21T12:00:00.000Z", "2026-11-22T00:00:00.000Z"]);
});

test("moments are round by the clock here", () => {
  const from = new Date(2026, 10, 21, 8, 5).getTime();

  const ticks = momentTicks(from, from + 3_600_000, 6);

  expect(ticks[0]).toBe(new Date(2026, 10, 21, 8, 10).getTime());
  expect(ticks).toHaveLength(6);
});

test("a place is in one band, and what is beside the picture in the next one to it", () => {
  expect([-5, 0, 24.9, 25, 99, 100, 400].map((place) => bandAt(place, 100, 4))).toEqual([0, 0, 0, 1, 3, 3, 3]);
});
