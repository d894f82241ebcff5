import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type Follower, Following } from "../src/client/follow";
import { BrowserSession } from "../src/client/session";
import { EventStreams } from "../src/client/streams";
import { FakeBrowser, FakeEventSource, json, pass, person, refused } from "./support/browser";
import { log, of, streamOpened, THREAD } from "./support/story";

const REFRESH = "POST /v1/browser-session/refresh";

let browser: FakeBrowser;
let sources: FakeEventSource[];
let streams: EventStreams;
let told: string[];
let opened: number;
let following: Following;

beforeEach(async () => {
  vi.useFakeTimers();
  browser = new FakeBrowser();
  browser.server.on("GET /v1/browser-session", () => json(person({ expires_in: 30 })));
  browser.server.on(REFRESH, () => json(person()));
  const session = new BrowserSession(browser.tab());
  await session.open();
  sources = [];
  told = [];
  opened = 0;
  const make = (path: string): EventSource => {
    const source = new FakeEventSource(path);
    sources.push(source);
    return source as unknown as EventSource;
  };
  streams = new EventStreams(
    make,
    session,
    () => {
      opened += 1;
    },
    () => 1,
  );
  const follower: Follower = {
    opened: (stream) => told.push(`opened ${stream.from_seq}`),
    events: (events) => told.push(events.map(({ seq }) => seq).join(",")),
    closed: ({ error }) => told.push(`closed ${error.code}`),
  };
  following = new Following(THREAD, follower, 4, 7);
  streams.open([following]);
});

afterEach(() => {
  streams.close();
  vi.useRealTimers();
});

const source = (at = sources.length - 1): FakeEventSource => {
  const found = sources[at];
  if (found === undefined) throw new Error(`there is no source ${at}`);
  return found;
};
const open = (): number => sources.filter((one) => one.readyState !== EventSource.CLOSED).length;
const closed = (code: string, retryable = false) => ({
  error: { code, message: code, retryable, details: {}, request_id: null },
});
const event = (seq: number) => log([of().delta("x")], seq - 1)[0];

test("a cut that the browser mends by itself is left to the browser", async () => {
  source().opens();
  source().says(streamOpened({ from_seq: 5 }), "stream_opened");
  source().says(event(5));
  source().stumbles();
  await pass(60_000);
  source().opens();
  source().says(streamOpened({ from_seq: 6 }), "stream_opened");
  source().says(event(6));

  expect(sources).toHaveLength(1);
  expect(opened).toBe(2);
  expect(told).toEqual(["opened 5", "5", "opened 6", "6"]);
});

test("after a refusal the session is refreshed, and the stream goes on behind what was seen", async () => {
  source().says(streamOpened({ from_seq: 5, epoch: 8 }), "stream_opened");
  source().says(event(5));
  source().fails();
  await pass(1_999);
  expect(sources).toHaveLength(1);
  await pass(1);

  expect(browser.server.count(REFRESH)).toBe(1);
  expect(source().path).toBe(`/v1/threads/${THREAD}/events?after=5&epoch=8`);
  expect(open()).toBe(1);
});

test("refusals one after the other are asked for ever more seldom", async () => {
  const counts = [];
  for (let minute = 0; minute < 10; minute += 1) {
    for (let second = 0; second < 60; second += 1) {
      if (source().readyState !== EventSource.CLOSED) source().fails();
      await pass(1_000);
    }
    counts.push(sources.length);
  }

  expect(sources.length).toBeLessThan(18);
  expect(sources.length).toBeGreaterThan(8);
  await pass(60_000);
  expect(source().readyState).not.toBe(EventSource.CLOSED);
  source().says(streamOpened(), "stream_opened");
  const before = sources.length;
  source().fails();
  await pass(2_000);
  expect(sources, "after a success as in the beginning").toHaveLength(before + 1);
});

test.for([
  ["token_expired", true],
  ["session_revoked", false],
  ["slow_consumer", true],
  ["rate_limited", true],
] as const)("a stream that was closed because of %s goes on after a refresh", async ([code, retryable]) => {
  source().says(closed(code, retryable), "stream_closed");
  expect(open()).toBe(0);
  await pass(2_000);

  expect(browser.server.count(REFRESH)).toBe(1);
  expect(open()).toBe(1);
  expect(told).toEqual([]);
});

test("a stream that is closed for good is told of, and not asked for again", async () => {
  source().says(closed("not_found"), "stream_closed");
  await pass(60_000);

  expect(told).toEqual(["closed not_found"]);
  expect(sources).toHaveLength(1);
  expect(open()).toBe(0);
});

test("a session that is over ends the stream; a server that is not there does not", async () => {
  browser.server.isReachable = false;
  source().fails();
  await pass(10_000);
  expect(sources).toHaveLength(1);
  browser.server.isReachable = true;
  await pass(30_000);
  expect(sources).toHaveLength(2);

  browser.server.on("GET /v1/browser-session", () => refused(401, "x"));
  browser.server.on(REFRESH, () => refused(401, "x"));
  source().fails();
  await pass(3_600_000);
  expect(sources).toHaveLength(2);
});

test.for(["token_expired", "not_found"])("what is left while it waits is not followed again: %s", async (code) => {
  source().says(closed(code, code === "token_expired"), "stream_closed");
  streams.leave(following);
  await pass(60_000);

  expect(open()).toBe(0);
  expect(sources).toHaveLength(1);
});

test("nor is anything when sockets have taken over meanwhile", async () => {
  browser.server.on(REFRESH, async () => {
    streams.close();
    return json(person());
  });
  source().says(closed("token_expired", true), "stream_closed");
  await pass(60_000);

  expect(sources).toHaveLength(1);
  expect(streams.isOn).toBe(false);
});

test("after a gap the stream is opened again", () => {
  source().says(event(5));
  source().says(event(8));

  expect(sources).toHaveLength(2);
  expect(source().path).toContain("after=5");
  expect(open()).toBe(1);
  expect(told).toEqual(["5"]);
});

test("what cannot be read is passed over", () => {
  for (const nonsense of ["{", "3", "[]", "null"]) {
    source().says(nonsense);
    source().says(nonsense, "stream_opened");
  }

  expect(told).toEqual([]);
  expect(open()).toBe(1);
});
