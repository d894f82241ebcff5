import { expect, test } from "vitest";
import type { MemberRunAnswer } from "../../src/client/rest";
import { movedAt, skewOf, stillnessOf, whyMarked } from "../../src/console/stillness";

const NOW = Date.parse("2026-11-21T12:00:00Z");
const ago = (seconds: number): string => new Date(NOW - seconds * 1000).toISOString();

function run(changes: Partial<MemberRunAnswer>) {
  return {
    state: "running" as const,
    state_since: ago(600),
    last_event: { seq: 1, type: "message_delta", at: ago(1) },
    lease_until: ago(-10),
    deadline_at: ago(-600),
    created_at: ago(600),
    age_s: 600,
    ...changes,
  };
}

test("a run that has just told something moves", () => {
  expect(stillnessOf(run({}), NOW)).toBe("moving");
  expect(whyMarked(run({}), NOW)).toBe("");
});

test("what happened last counts, be it an event or a state", () => {
  expect(movedAt(run({ state_since: ago(0) }))).toBe(NOW);
  expect(movedAt(run({}))).toBe(NOW - 1_000);
  expect(movedAt(run({ last_event: null }))).toBe(NOW - 600_000);
});

test("a run of which nothing is heard is slow, then stuck", () => {
  const quiet = (seconds: number) => run({ last_event: { seq: 1, type: "x", at: ago(seconds) } });

  expect([29, 30, 119, 120].map((seconds) => stillnessOf(quiet(seconds), NOW))).toEqual([
    "moving",
    "slow",
    "slow",
    "stuck",
  ]);
  expect(whyMarked(quiet(120), NOW)).toBe("nothing happens");
});

test("a run past its lease or its deadline is stuck at once", () => {
  expect(stillnessOf(run({ lease_until: ago(1) }), NOW)).toBe("stuck");
  expect(whyMarked(run({ lease_until: ago(1) }), NOW)).toBe("its worker's lease is over");
  expect(stillnessOf(run({ deadline_at: ago(1) }), NOW)).toBe("stuck");
  expect(whyMarked(run({ deadline_at: ago(1) }), NOW)).toBe("past its deadline");
});

test("who waits for a person does not have to move, and what is over does not either", () => {
  const old = { last_event: null, lease_until: null, deadline_at: ago(1) };

  expect(stillnessOf(run({ state: "waiting", ...old }), NOW)).toBe("waiting");
  expect(stillnessOf(run({ state: "failed", ...old }), NOW)).toBe("over");
});

test("a run that no worker takes is marked, whatever lease it had before", () => {
  const pending = run({ state: "pending", state_since: ago(45), last_event: null, lease_until: ago(44) });

  expect(stillnessOf(pending, NOW)).toBe("slow");
  expect(whyMarked(pending, NOW)).toBe("no worker has taken it");
});

test("the server's clock is known from a run's age", () => {
  expect(skewOf({ created_at: ago(600), age_s: 600 }, NOW - 5_000)).toBe(5_000);
});
