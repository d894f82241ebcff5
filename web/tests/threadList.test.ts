import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type ListedThread, listed, ThreadList } from "../src/chat/threadList";
import type { ThreadAnswer } from "../src/client/rest";
import { json, look, pass, refused } from "./support/browser";
import { LivePage } from "./support/live";
import { AT } from "./support/story";

let page: LivePage;
let list: ThreadList;
let stored: ThreadAnswer[];

beforeEach(async () => {
  vi.useFakeTimers();
  page = new LivePage();
  await page.signIn();
  stored = [];
  const { server } = page.browser;
  server.on("GET /v1/approvals", () => json({ items: [{}, {}], next_cursor: null }));
  // A page is of two threads, to have several of them.
  server.on("GET /v1/threads", ({ path }) => {
    const query = new URLSearchParams(path.split("?")[1]);
    const from = Number(query.get("cursor") ?? 0);
    const rows = stored.filter((one) => (one.archived_at !== null) === (query.get("archived") === "true"));
    const sorted = rows.toSorted((one, other) => (one.updated_at < other.updated_at ? 1 : -1));
    return json({ items: sorted.slice(from, from + 2), next_cursor: sorted.length > from + 2 ? `${from + 2}` : null });
  });
  list = new ThreadList(page.api, page.live);
});

afterEach(() => {
  list.close();
  page.live.close();
  vi.useRealTimers();
});

const time = (minute: number): string => new Date(Date.parse(AT) + minute * 60_000).toISOString();

const thread = (id: string, minute: number, more: Partial<ThreadAnswer> = {}): ThreadAnswer => ({
  id,
  title: `title of ${id}`,
  status: "idle",
  metadata: {},
  epoch: 1,
  first_seq: 1,
  head_seq: 0,
  read_seq: 0,
  unread: false,
  created_at: AT,
  updated_at: time(minute),
  archived_at: null,
  branched_from: null,
  ...more,
});

const state = (id: string, minute: number, more: object = {}) => ({
  thread_id: id,
  title: `title of ${id}`,
  status: "idle",
  head_seq: 1,
  read_seq: 0,
  unread: false,
  updated_at: time(minute),
  archived: false,
  deleted: false,
  ...more,
});

const tell = (...threads: object[]): void => page.socket().hears({ notice: "threads_changed", threads });
const ids = (): string[] => list.shown.get().threads.map(({ id }) => id);
const of = (id: string): ListedThread | undefined => list.shown.get().threads.find((one) => one.id === id);

async function opened(...threads: ThreadAnswer[]): Promise<void> {
  stored = threads;
  list.open();
  await page.connect();
  await pass();
}

test("the last changed threads are shown first, with how many approvals are open", async () => {
  expect(list.shown.get().isLoading).toBe(true);
  await opened(thread("a", 1), thread("b", 3), thread("c", 2));

  expect(ids()).toEqual(["b", "c"]);
  expect(list.shown.get()).toMatchObject({ isLoading: false, isComplete: false, error: null });
  expect(list.approvals.get()).toBe(2);
  expect(page.browser.server.of("GET /v1/threads")[0]?.path).toBe("/v1/threads?limit=50&archived=false");
});

test("further pages go on where the last one ended, until there are no more", async () => {
  await opened(...[1, 2, 3, 4, 5].map((minute) => thread(`t${minute}`, minute)));
  await list.more();
  expect(ids()).toEqual(["t5", "t4", "t3", "t2"]);
  await list.more();
  expect(ids()).toEqual(["t5", "t4", "t3", "t2", "t1"]);
  expect(list.shown.get().isComplete).toBe(true);

  const asked = page.browser.server.count("GET /v1/threads");
  await list.more();
  expect(page.browser.server.count("GET /v1/threads")).toBe(asked);
});

test("looking again keeps the pages that were loaded, and goes on behind them", async () => {
  await opened(...[1, 2, 3, 4, 5].map((minute) => thread(`t${minute}`, minute)));
  await list.more();
  stored.push(thread("new", 9));

  await list.look();

  expect(ids()).toEqual(["new", "t5", "t4", "t3", "t2"]);
  await list.more();
  expect(ids()).toEqual(["new", "t5", "t4", "t3", "t2", "t1"]);
});

test("what is gone from a list of one page is gone", async () => {
  await opened(thread("a", 1), thread("b", 2));
  stored = [thread("b", 2)];

  await list.look();

  expect(ids()).toEqual(["b"]);
});

test("what changes is told, and shown at once and in its place", async () => {
  await opened(thread("a", 1), thread("b", 2, { branched_from: { thread_id: "x", message_id: "m" } }));

  tell(state("a", 5, { status: "running", title: "renamed", unread: true }), state("new", 4));
  expect(ids()).toEqual(["a", "new", "b"]);
  expect(of("a")).toEqual({
    id: "a",
    title: "renamed",
    status: "running",
    isUnread: true,
    updatedAt: time(5),
    isBranch: false,
  });
  tell(state("b", 6));
  expect(of("b")?.isBranch).toBe(true);
  tell(state("b", 7, { archived: true }), state("a", 7, { deleted: true }));
  expect(ids()).toEqual(["new"]);
  page.socket().hears({ notice: "approvals_changed", pending: 7 });
  expect(list.approvals.get()).toBe(7);
});

test("the archive shows what is archived, and only that", async () => {
  list = new ThreadList(page.api, page.live, true);
  await opened(thread("a", 1), thread("b", 2, { archived_at: AT }));
  expect(ids()).toEqual(["b"]);

  tell(state("a", 3, { archived: true }), state("b", 3, { archived: false }));

  expect(ids()).toEqual(["a"]);
});

test("what is told while the list is asked for counts more than the answer, which may be older", async () => {
  await opened(thread("a", 1, { status: "running" }));
  let answer: () => void = () => undefined;
  page.browser.server.on("GET /v1/threads", async () => {
    await new Promise<void>((resolve) => {
      answer = resolve;
    });
    return json({ items: [thread("a", 1, { status: "running" })], next_cursor: null });
  });
  const looking = list.look();
  await pass();
  tell(state("a", 2, { status: "idle" }));
  answer();
  await looking;
  expect(of("a")?.status).toBe("idle");

  const again = list.look();
  await pass();
  answer();
  await again;
  expect(of("a")?.status, "what was told before is in the answer").toBe("running");
});

test("after each connection the list is asked for again", async () => {
  await opened(thread("a", 1));
  stored = [thread("a", 1), thread("b", 2)];
  page.socket().ends(1006);
  await pass(500);
  page.socket().ready();
  await pass();

  expect(ids()).toEqual(["b", "a"]);
});

test("over event streams nobody tells, so the list is looked at while somebody looks at it", async () => {
  list.open();
  await page.connectInVain();
  const before = page.browser.server.count("GET /v1/threads");
  await pass(45_000);
  expect(page.browser.server.count("GET /v1/threads") - before).toBe(3);
  look(false);
  await pass(45_000);
  look(true);
  expect(page.browser.server.count("GET /v1/threads") - before).toBe(3);

  list.close();
  await pass(45_000);
  expect(page.browser.server.count("GET /v1/threads") - before).toBe(3);
});

test("a list that cannot be had says why, and keeps what it showed", async () => {
  await opened(thread("a", 1), thread("b", 2), thread("c", 3));
  const working = page.browser.server;
  working.isReachable = false;
  await list.look();
  expect(list.shown.get()).toMatchObject({ error: { code: "offline" }, isLoading: false });
  await list.more();
  expect(list.shown.get()).toMatchObject({ error: { code: "offline" }, isLoading: false });
  expect(ids()).toEqual(["c", "b"]);

  working.isReachable = true;
  working.on("GET /v1/approvals", () => refused(503, "unavailable"));
  await list.look();
  expect(list.shown.get().error?.code).toBe("unavailable");
});

test("what a person has just done is shown at once", async () => {
  await opened(thread("a", 1), thread("b", 2));

  list.change("a", { title: "mine" });
  expect(of("a")?.title).toBe("mine");
  list.change("a", null);
  list.change("x", { title: "nobody's" });
  expect(ids()).toEqual(["b"]);
  list.add(listed(thread("a", 5, { unread: true })));
  list.add(listed(thread("b", 6)));
  expect(ids()).toEqual(["b", "a"]);
  expect(of("a")?.isUnread).toBe(true);
});

test("threads of the same moment stand in the same order each time", async () => {
  await opened(thread("b", 1), thread("a", 1));
  expect(ids()).toEqual(["b", "a"]);

  list.change("a", { title: "x" });
  tell(state("c", 1));

  expect(ids()).toEqual(["c", "b", "a"]);
});
