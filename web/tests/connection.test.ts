import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Notice } from "../src/client/socket";
import { pass } from "./support/browser";
import { events, frame, LivePage, Told } from "./support/live";
import { streamOpened, THREAD } from "./support/story";

let page: LivePage;

beforeEach(async () => {
  vi.useFakeTimers();
  page = new LivePage();
  await page.signIn();
});

afterEach(() => {
  page.live.close();
  vi.useRealTimers();
});

const error = (code: string, retryable = false) => ({ code, message: code, retryable, details: {}, request_id: null });

test("a ticket is had for each connection, and is no part of any address", async () => {
  await page.connect();

  expect(page.socket().protocols).toEqual(["cloche.v1", "ticket.t1"]);
  expect(page.socket().operations).toEqual([{ op: "watch" }]);
  expect(page.links).toEqual([{ state: "connecting" }, { state: "open", by: "socket" }]);
  expect(page.browser.server.asked.every(({ path }) => !path.includes("ticket=") && !path.includes("t1"))).toBe(true);
  page.live.open();
  await pass();
  expect(page.sockets, "opening twice is opening once").toHaveLength(1);
});

test("a thread is followed after its position, and again after what was seen when the connection is back", async () => {
  await page.connect();
  const told = new Told();
  page.live.follow(THREAD, told, 4, 7);
  expect(page.asked()).toEqual([{ op: "subscribe", thread_id: THREAD, after: 4, epoch: 7 }]);
  page.socket().hears(streamOpened({ from_seq: 5, head_seq: 6, epoch: 7 }));
  page.socket().hears(frame(4, 2));

  page.socket().ends(1006);
  await pass(500);
  page.socket().ready();

  expect(page.asked()).toEqual([{ op: "subscribe", thread_id: THREAD, after: 6, epoch: 7 }]);
  expect(page.socket().operations[0]).toEqual({ op: "watch" });
  page.socket().hears(streamOpened({ from_seq: 7, epoch: 7 }));
  page.socket().hears(frame(6, 1));
  expect(told.all).toEqual(["opened 5 recovered", "5,6", "opened 7 recovered", "7"]);
});

test("a thread that is followed before the connection is there is followed when it is", async () => {
  page.live.open();
  const told = new Told();
  page.live.follow(THREAD, told);
  await pass();
  page.socket().ready();

  expect(page.asked()).toEqual([{ op: "subscribe", thread_id: THREAD, after: 0 }]);
});

test("where history is lost the stream goes on behind the snapshot, in its epoch", async () => {
  await page.connect();
  const told = new Told();
  page.live.follow(THREAD, told, 4, 7);
  page.socket().hears(streamOpened({ from_seq: 100, recovered: false, epoch: 8 }));
  page.socket().hears(frame(99, 2));
  expect(told.all).toEqual(["opened 100 lost", "100,101"]);

  page.socket().ends(1012);
  await pass(500);
  page.socket().ready();
  expect(page.asked()).toEqual([{ op: "subscribe", thread_id: THREAD, after: 101, epoch: 8 }]);
});

test("an event that came already does not come again, also in the middle of a frame", async () => {
  await page.connect();
  const told = new Told();
  page.live.follow(THREAD, told, 4);
  page.socket().hears(frame(4, 3));
  page.socket().hears(frame(5, 4));
  page.socket().hears(frame(2, 2));
  page.socket().hears({ events: [...events(9, 1), ...events(9, 2)] });

  expect(told.all).toEqual(["5,6,7", "8,9", "10,11"]);
});

test("after a gap the stream is opened again, once, and nothing goes on before it is", async () => {
  await page.connect();
  const told = new Told();
  page.live.follow(THREAD, told, 4);

  page.socket().hears({ events: [...events(4, 1), ...events(6, 1)] });
  page.socket().hears(frame(7, 1));
  page.socket().hears(frame(8, 1));

  expect(told.all).toEqual(["5"]);
  expect(page.asked().slice(1)).toEqual([{ op: "subscribe", thread_id: THREAD, after: 5 }]);
  page.socket().hears(streamOpened({ from_seq: 6 }));
  page.socket().hears(frame(5, 4));
  expect(told.all).toEqual(["5", "opened 6 recovered", "6,7,8,9"]);
});

test("what is followed no more is not told of, and the server is told so", async () => {
  await page.connect();
  const told = new Told();
  const stop = page.live.follow(THREAD, told, 4);
  stop();
  stop();
  page.socket().hears(frame(4, 1));

  expect(told.all).toEqual([]);
  expect(page.asked().slice(1)).toEqual([{ op: "unsubscribe", thread_id: THREAD }]);
});

test("who follows a thread anew takes the place of who did before", async () => {
  await page.connect();
  const [before, now] = [new Told(), new Told()];
  const stop = page.live.follow(THREAD, before, 0);
  page.live.follow(THREAD, now, 2);
  stop();
  page.socket().hears(frame(2, 1));

  expect([before.all, now.all]).toEqual([[], ["3"]]);
  expect(page.asked().filter((one) => one["op"] === "unsubscribe")).toEqual([]);
});

test("a thread that may not be followed is told of as closed, and not asked for again", async () => {
  await page.connect();
  const told = new Told();
  const notices: Notice[] = [];
  page.live.listen((notice) => notices.push(notice));
  page.live.follow(THREAD, told);
  const { ref } = page.socket().said.find((one) => one["op"] === "subscribe") as { ref: string };
  page.socket().hears({ ref: "9 thread_other", ok: false, error: error("not_found") });
  page.socket().hears({ ref: "x", ok: false, error: error("not_found") });
  expect(told.all).toEqual([]);

  page.socket().hears({ ref, ok: false, error: error("not_found") });
  expect(told.all).toEqual(["closed not_found"]);
  expect(notices).toHaveLength(1);
  page.socket().ends(1006);
  await pass(500);
  page.socket().ready();
  expect(page.asked()).toEqual([]);
});

test("a thread that cannot be followed just now is followed a little later", async () => {
  await page.connect();
  const told = new Told();
  const stop = page.live.follow(THREAD, told);
  const { ref } = page.socket().said.find((one) => one["op"] === "subscribe") as { ref: string };

  page.socket().hears({ ref, ok: false, error: error("rate_limited", true) });
  await pass(1_900);
  expect(page.asked()).toHaveLength(1);
  await pass(200);
  expect(told.all).toEqual([]);
  expect(page.asked()).toHaveLength(2);

  page.socket().hears({ ref, ok: false, error: error("rate_limited", true) });
  stop();
  await pass(5_000);
  expect(page.asked().map((one) => one["op"])).toEqual(["subscribe", "subscribe", "unsubscribe"]);
});

test("a thread that is followed no more, by the server's word, is closed", async () => {
  await page.connect();
  const told = new Told();
  page.live.follow(THREAD, told);

  page.socket().hears({ notice: "stream_closed", thread_id: THREAD, error: error("permission_denied") });
  page.socket().hears(frame(0, 1));

  expect(told.all).toEqual(["closed permission_denied"]);
});

test("everything else that the server says goes to who listens, until they do not", async () => {
  await page.connect();
  const heard: string[] = [];
  const stop = page.live.listen((notice) => heard.push(notice.notice));

  page.socket().hears({ notice: "threads_changed", threads: [] });
  for (const nonsense of ["{", "3", "null", "[]", '{"ok":true,"ref":"1"}', '{"ok":false}', "{}"])
    page.socket().hears(nonsense);
  page.socket().hears({ notice: "from_a_later_server" });
  stop();
  page.socket().hears({ notice: "threads_changed", threads: [] });

  expect(heard).toEqual(["threads_changed", "from_a_later_server"]);
});
