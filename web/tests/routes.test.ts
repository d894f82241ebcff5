import { afterEach, expect, test, vi } from "vitest";
import { go, move, paths, routeOf, takeSetUpSecret } from "../src/app/routes";

afterEach(() => {
  history.replaceState(null, "", "#");
});

test.for([
  ["", { page: "chat", threadId: null }],
  ["#", { page: "chat", threadId: null }],
  ["#/", { page: "chat", threadId: null }],
  ["#/t/thread_1", { page: "chat", threadId: "thread_1" }],
  ["#t/thread_1", { page: "chat", threadId: "thread_1" }],
  ["#/t/", { page: "chat", threadId: null }],
  ["#/t/a%2Fb", { page: "chat", threadId: "a/b" }],
  ["#/t/%E0%A4%A", { page: "chat", threadId: "%E0%A4%A" }],
  ["#/t/thread_1?x=1", { page: "chat", threadId: "thread_1" }],
  ["#/approvals", { page: "approvals" }],
  ["#/archive", { page: "archive" }],
  ["#/settings", { page: "settings", section: "profile" }],
  ["#/settings/keys", { page: "settings", section: "keys" }],
  ["#/nowhere/at/all", { page: "chat", threadId: null }],
  ["#/__proto__", { page: "chat", threadId: null }],
] as const)("%s leads where it says", ([hash, route]) => {
  expect(routeOf(hash)).toEqual(route);
});

test("the console has sections, what is looked at, and how", () => {
  expect(routeOf("#/console")).toMatchObject({ page: "console", section: "runs", id: null });
  const route = routeOf("#/console/users/user_1?state=failed&q=a%26b");

  expect(route).toMatchObject({ page: "console", section: "users", id: "user_1" });
  expect(route.page === "console" && [...route.query]).toEqual([
    ["state", "failed"],
    ["q", "a&b"],
  ]);
});

test.for(["thread_1", "a/b", "ü?#%", "a b"])("a path to a thread leads to it: %s", (id) => {
  expect(routeOf(paths.thread(id))).toEqual({ page: "chat", threadId: id });
});

test("every other path leads where it says, too", () => {
  expect(routeOf(paths.fresh)).toEqual({ page: "chat", threadId: null });
  expect([routeOf(paths.approvals).page, routeOf(paths.archive).page]).toEqual(["approvals", "archive"]);
  expect(routeOf(paths.settings())).toEqual({ page: "settings", section: "profile" });
  expect(routeOf(paths.settings("keys"))).toEqual({ page: "settings", section: "keys" });
  expect(routeOf(paths.console())).toMatchObject({ section: "runs", id: null });
  const found = routeOf(paths.console("users", "a/b", { q: "what? & who#" }));
  expect(found).toMatchObject({ section: "users", id: "a/b" });
  expect(found.page === "console" && found.query.get("q")).toBe("what? & who#");
});

test("going somewhere is a step that can be taken back, moving is none, and both are told", () => {
  const told = vi.fn();
  addEventListener("hashchange", told);
  go("#/archive");
  expect(location.hash).toBe("#/archive");
  told.mockClear();
  const steps = history.length;

  move("#/approvals");

  expect([location.hash, history.length]).toEqual(["#/approvals", steps]);
  expect(told).toHaveBeenCalledOnce();
  removeEventListener("hashchange", told);
});

test("the secret of a set-up link is taken, and the address does not keep it", () => {
  history.replaceState(null, "", "#setup=a%2Bb");

  expect(takeSetUpSecret()).toBe("a+b");

  expect(location.href).not.toContain("setup");
  expect(takeSetUpSecret()).toBeNull();
  for (const hash of ["#setup=", "#/setup=x", "#/t/setup=x"]) {
    history.replaceState(null, "", hash);
    expect(takeSetUpSecret()).toBeNull();
  }
});
