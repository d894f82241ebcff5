import { expect, test } from "vitest";
import { Backoff } from "../src/client/backoff";

test("waits double, spread over their upper half, up to a bound", () => {
  const least = new Backoff(100, 1_000, () => 0);
  const most = new Backoff(100, 1_000, () => 1);

  expect([1, 2, 3, 4, 5, 6].map(() => least.next())).toEqual([50, 100, 200, 400, 500, 500]);
  expect([1, 2, 3, 4, 5, 6].map(() => most.next())).toEqual([100, 200, 400, 800, 1_000, 1_000]);
});

test("a success begins anew, and the server's own word counts", () => {
  const backoff = new Backoff(100, 1_000, () => 1);
  backoff.next();
  backoff.next();
  backoff.reset();

  expect(backoff.next()).toBe(100);
  expect(backoff.next(5_000)).toBe(5_000);
});
