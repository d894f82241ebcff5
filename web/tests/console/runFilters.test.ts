import { expect, test } from "vitest";
import { queryText } from "../../src/client/api";
import { filtersOf, mayOrder, queryOf, routeQuery, runIdIn, toggled, withLive } from "../../src/console/runFilters";

const from = (text: string) => filtersOf(new URLSearchParams(text));
const LIVE = from("");

test("an address that asks for nothing shows live runs, stuck first", () => {
  expect(LIVE).toEqual({ states: [], live: true, agent: "", userId: "", order: "stuck" });
  expect(queryOf(LIVE)).toEqual({});
});

test("what an address asks for is the same after it was written again", () => {
  const addresses = [
    "",
    "live=false",
    "live=all&agent=gardener",
    "state=failed%2Cdead&user=user_1",
    "state=pending%2Crunning&order=newest",
    "order=newest",
  ];

  for (const address of addresses) expect(new URLSearchParams(queryOf(from(address))).toString()).toBe(address);
});

test("states that there are not, and an order that makes no sense, are passed over", () => {
  expect(from("state=asleep,failed").states).toEqual(["failed"]);
  expect(from("state=failed&order=stuck").order).toBe("newest");
  expect(from("live=false&order=stuck").order).toBe("newest");
  expect(from("live=all").live).toBeNull();
});

test("only what is live can be ordered by how stuck it is", () => {
  expect(mayOrder(LIVE)).toBe(true);
  expect(mayOrder(from("state=pending"))).toBe(true);
  expect(mayOrder(from("state=failed"))).toBe(false);
  expect(mayOrder(from("live=all"))).toBe(false);
});

test("the server is asked for each state by itself", () => {
  const query = routeQuery(from("state=failed,dead&agent=a"), 50, null);

  expect(queryText(query)).toBe("?state=failed&state=dead&agent=a&order=newest&limit=50");
  expect(queryText(routeQuery(LIVE, 50, "c1"))).toBe("?live=true&order=stuck&limit=50&cursor=c1");
});

test("a state is added and taken away, and live ones are not mixed with others", () => {
  const failed = toggled(LIVE, "failed");
  const both = toggled(failed, "dead");

  expect(failed).toEqual({ states: ["failed"], live: null, agent: "", userId: "", order: "newest" });
  expect(both.states).toEqual(["failed", "dead"]);
  expect(toggled(both, "running").states).toEqual(["running"]);
  expect(toggled(toggled(LIVE, "running"), "running")).toEqual(LIVE);
  expect(toggled(failed, "failed").live).toBe(false);
});

test("to show all drops the states, not the person", () => {
  expect(withLive(from("state=failed&user=user_1"), null)).toEqual({
    states: [],
    live: null,
    agent: "",
    userId: "user_1",
    order: "newest",
  });
});

test("a run's id is found in what was pasted, with its label", () => {
  const id = "run_01kb2v3w4x5y6z7a8b9c0d1e2f";

  expect(runIdIn(`  ${id}\n`)).toBe(id);
  expect(runIdIn(`run=test_${id}, thread=thread_01kb2v3w4x5y6z7a8b9c0d1e2f`)).toBe(`test_${id}`);
  expect(runIdIn(id.toUpperCase())).toBe(id);
  expect(runIdIn("thread_01kb2v3w4x5y6z7a8b9c0d1e2f")).toBeNull();
  expect(runIdIn("run_short")).toBeNull();
});
