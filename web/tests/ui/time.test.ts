import { expect, test } from "vitest";
import { shortDuration } from "../../src/ui/time";

test("a duration on an axis is short and in the unit that fits", () => {
  const shown = [0, 1, 500, 30_000, 90_000, 900_000, 5_400_000, 86_400_000, 7 * 86_400_000].map(shortDuration);

  expect(shown).toEqual(["0", "1 ms", "500 ms", "30 s", "1.5 min", "15 min", "1.5 h", "1 d", "7 d"]);
});
