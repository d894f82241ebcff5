import { expect, test } from "vitest";
import { shortened } from "../../src/console/shortened";

test("an id is told by its kind and its end, with its label", () => {
  expect(shortened("user_01kb2v3w4x5y6z7a8b9c0d1e2f")).toBe("user_…0d1e2f");
  expect(shortened("test_run_01kb2v3w4x5y6z7a8b9c0d1e2f")).toBe("test_run_…0d1e2f");
});

test("other words stay as they are", () => {
  expect(shortened("setup")).toBe("setup");
  expect(shortened("worker-13817")).toBe("worker-13817");
});
