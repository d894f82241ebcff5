import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { json, look, pass, person, refused } from "./support/browser";
import { events, frame, LivePage, TICKETS, Told } from "./support/live";
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

// The line ends

test.for([1000, 1001, 1005, 1006, 1011, 1012, 1013, 4000, 4408, 4409, 4410, 4429, 4453, 4499])(
  "after %d the connection comes back, after a pause that differs from client to client",
  async (code) => {
    await page.connect();
    page.chance = 0;
    page.socket().ends(code, "why");
    expect(page.live.link.get()).toMatchObject({ state: "waiting", why: "why", until: Date.now() + 250 });
    await pass(249);
    expect(page.sockets).toHaveLength(1);
    await pass(1);
    expect(page.sockets).toHaveLength(2);

    page.socket().ends(4000);
    page.chance = 1;
    page.socket().ends(4000);
    expect(page.live.link.get()).toMatchObject({ until: Date.now() + 500 });
  },
);

test.for([1002, 1003, 1008, 1009, 4500, 4503, 4504, 4509, 4513, 4999])(
  "after %d it does not come back",
  async (code) => {
    await page.connect();
    page.socket().ends(code, code === 4503 ? "you may not" : "");

    await pass(3_600_000);

    expect(page.sockets).toHaveLength(1);
    expect(page.live.link.get()).toEqual({ state: "stopped", why: code === 4503 ? "you may not" : `code ${code}` });
  },
);

test.for([4401, 4501, 4502])(
  "after %d the session is refreshed, and the connection comes back at once",
  async (code) => {
    page.browser.server.on("POST /v1/browser-session/refresh", () => json(person()));
    await page.connect();
    page.browser.server.on("GET /v1/browser-session", () => json(person({ expires_in: 1 })));
    page.socket().ends(code);
    await pass(0);

    expect(page.browser.server.count("POST /v1/browser-session/refresh")).toBe(1);
    expect(page.sockets).toHaveLength(2);
  },
);

test("a session that is over ends the connection for good", async () => {
  await page.connect();
  page.browser.server.on("GET /v1/browser-session", () => refused(401, "x"));
  page.browser.server.on("POST /v1/browser-session/refresh", () => refused(401, "x"));
  page.socket().ends(4502);

  await pass(3_600_000);

  expect(page.sockets).toHaveLength(1);
});

test("a refresh that fails is tried again with the connection", async () => {
  await page.connect();
  page.browser.server.isReachable = false;
  page.socket().ends(4401);
  await pass(0);
  expect(page.live.link.get()).toMatchObject({ state: "waiting", why: "The server cannot be reached." });

  page.browser.server.isReachable = true;
  await pass(60_000);
  expect(page.sockets.length).toBeGreaterThan(1);
});

test("a server that takes a ticket and refuses the connection each time is not asked all the time", async () => {
  page.live.open();
  await pass();
  for (let times = 0; times < 6; times += 1) {
    page.socket().ends(4401);
    await pass(0);
  }

  expect(page.sockets).toHaveLength(1);
  await pass(500);
  expect(page.sockets).toHaveLength(2);
});

test("a person who asks meanwhile does not make two connections of one", async () => {
  await page.connect();
  let free: () => void = () => undefined;
  page.browser.server.on("GET /v1/browser-session", async () => {
    await new Promise<void>((resolve) => {
      free = resolve;
    });
    return json(person());
  });
  page.socket().ends(4401);
  page.live.retry();
  await pass();
  expect(page.sockets).toHaveLength(2);
  page.socket().ready();
  free();
  await pass(5_000);

  expect(page.sockets).toHaveLength(2);
  expect(page.live.link.get()).toEqual({ state: "open", by: "socket" });
});

test("the pauses grow while the server is not there, and begin anew once it was", async () => {
  await page.connect();
  page.browser.server.isReachable = false;
  page.socket().ends(1006);
  const waits: number[] = [];
  for (let times = 0; times < 8; times += 1) {
    const link = page.live.link.get();
    const wait = link.state === "waiting" ? link.until - Date.now() : 0;
    waits.push(wait);
    await pass(wait);
  }
  expect(waits).toEqual([500, 1_000, 2_000, 4_000, 8_000, 16_000, 20_000, 20_000]);

  page.browser.server.isReachable = true;
  await pass(20_000);
  page.socket().ready();
  page.socket().ends(1006);
  expect(page.live.link.get()).toMatchObject({ until: Date.now() + 500 });
});

test("a person can have it tried at once", async () => {
  await page.connect();
  page.browser.server.isReachable = false;
  page.socket().ends(1006);
  await pass(30_000);
  page.browser.server.isReachable = true;

  page.live.retry();
  await pass(0);
  page.socket().ready();
  page.live.retry();
  await pass(20_000);

  expect(page.live.link.get()).toEqual({ state: "open", by: "socket" });
  expect(page.sockets).toHaveLength(2);
});

test("a ticket that is refused for good stops it; the server's word on when to come back counts", async () => {
  page.browser.server.on(TICKETS, () =>
    refused(429, "rate_limited", { retryable: true, details: { retry_after_s: 30 } }),
  );
  page.live.open();
  await pass();
  expect(page.live.link.get()).toMatchObject({
    state: "waiting",
    until: Date.now() + 30_000,
    why: "It is rate_limited.",
  });

  page.browser.server.on(TICKETS, () => refused(403, "permission_denied"));
  await pass(30_000);
  expect(page.live.link.get()).toEqual({ state: "stopped", why: "It is permission_denied." });
  await pass(3_600_000);
  expect(page.browser.server.count(TICKETS)).toBe(2);
});

test("who is not signed in any more is not told of a connection that failed", async () => {
  page.browser.server.on(TICKETS, () => refused(401, "x"));
  page.browser.server.on("GET /v1/browser-session", () => refused(401, "x"));
  page.browser.server.on("POST /v1/browser-session/refresh", () => refused(401, "x"));
  page.live.open();
  await pass(3_600_000);

  expect(page.links).toEqual([{ state: "connecting" }]);
  expect(page.browser.server.count(TICKETS)).toBe(1);
});

// The line dies in silence

test("after silence the line is tried, and an answer is enough", async () => {
  await page.connect();
  for (let times = 0; times < 4; times += 1) {
    await pass(25_000);
    expect(page.asked()).toHaveLength(times + 1);
    expect(page.asked()[times]).toEqual({ op: "ping" });
    page.socket().hears({ ref: "2", ok: true, at: "now" });
  }
  expect(page.sockets).toHaveLength(1);
});

test("a line that does not answer is dead, and another one is made at once", async () => {
  await page.connect();
  await pass(25_000);
  await pass(7_900);
  expect(page.sockets).toHaveLength(1);

  await pass(200);

  expect(page.socket(0).closedWith).toBe(1000);
  expect(page.sockets).toHaveLength(2);
  page.socket(0).hears(frame(0, 1));
  page.socket(0).ends(1006);
  await pass(60_000);
  expect(page.sockets.filter((one) => one.readyState <= WebSocket.OPEN).length).toBeLessThanOrEqual(1);
});

test("a line that opens and says nothing is let go, whatever the browser says of it", async () => {
  page.live.open();
  await pass();
  page.socket().readyState = WebSocket.OPEN;

  await pass(10_000);
  expect(page.socket(0).closedWith).toBe(1000);
  await pass(500);

  expect(page.sockets).toHaveLength(2);
});

test("without a network it waits for one", async () => {
  await page.connect();
  page.isOnline = false;
  dispatchEvent(new Event("offline"));
  await pass(1_500);
  expect(page.live.link.get()).toEqual({ state: "offline" });
  await pass(3_600_000);
  expect(page.sockets).toHaveLength(1);

  page.isOnline = true;
  dispatchEvent(new Event("online"));
  await pass();
  page.socket().ready();
  expect(page.live.link.get()).toEqual({ state: "open", by: "socket" });
});

test("a network that only seemed to be gone changes nothing", async () => {
  await page.connect();
  dispatchEvent(new Event("offline"));
  page.socket().hears({ ref: "2", ok: true });
  await pass(20_000);

  expect(page.sockets).toHaveLength(1);
  expect(page.links).toEqual([{ state: "connecting" }, { state: "open", by: "socket" }]);
});

test("a page that begins without a network says so, and begins when there is one", async () => {
  page.isOnline = false;
  page.live.open();
  await pass();
  expect(page.live.link.get()).toEqual({ state: "offline" });
  page.isOnline = true;
  dispatchEvent(new Event("online"));
  await pass();
  expect(page.sockets).toHaveLength(1);
});

test("a page that is looked at again tries its line, or does not wait any longer", async () => {
  await page.connect();
  look(false);
  expect(page.asked()).toEqual([]);
  look(true);
  expect(page.asked()).toEqual([{ op: "ping" }]);
  await pass(3_001);
  expect(page.sockets).toHaveLength(2);

  page.browser.server.isReachable = false;
  page.socket().ends(1006);
  await pass(60_000);
  page.browser.server.isReachable = true;
  look(true);
  await pass();
  expect(page.sockets).toHaveLength(3);
});

test("what is closed stays closed", async () => {
  await page.connect();
  page.live.follow(THREAD, new Told());
  page.live.close();
  expect(page.socket().closedWith).toBe(1000);
  page.socket().ends(1006);
  for (const kind of ["online", "offline"]) dispatchEvent(new Event(kind));
  look(true);
  page.live.retry();
  await pass(3_600_000);

  expect(page.sockets).toHaveLength(1);
  page.live.open();
  await pass();
  expect(page.sockets, "until it is opened again").toHaveLength(2);
});

test("a connection that is closed while its ticket is on the way is not made", async () => {
  page.live.open();
  page.live.close();
  await pass(60_000);

  expect(page.sockets).toHaveLength(0);
});

// Where sockets do not pass

test("after three sockets that never opened, events come as event streams", async () => {
  const told = new Told();
  page.live.follow(THREAD, told, 4, 7);
  await page.connectInVain();

  expect(page.sockets).toHaveLength(3);
  expect(page.sources.map(({ path }) => path)).toEqual([`/v1/threads/${THREAD}/events?after=4&epoch=7`]);
  page.sources[0]?.opens();
  expect(page.live.link.get()).toEqual({ state: "open", by: "streams" });
  page.sources[0]?.says(streamOpened({ from_seq: 5 }), "stream_opened");
  for (const event of events(4, 2)) page.sources[0]?.says(event);
  expect(told.all).toEqual(["opened 5 recovered", "5", "6"]);
});

test("a socket that was open once is not given up for event streams", async () => {
  page.live.follow(THREAD, new Told());
  await page.connect();
  for (let times = 0; times < 4; times += 1) {
    page.socket().ends(1006);
    await pass(500);
    page.socket().ends(1006);
    await pass(1_000);
    page.socket().ready();
  }
  await pass(1_000);

  expect(page.sources).toEqual([]);
});

test("sockets are tried now and then, without a disturbance, and take over when they pass", async () => {
  const told = new Told();
  page.live.follow(THREAD, told, 4, 7);
  await page.connectInVain();
  page.sources[0]?.opens();
  page.sources[0]?.says(streamOpened({ from_seq: 5, epoch: 7 }), "stream_opened");
  page.sources[0]?.says(events(4, 1)[0]);
  page.links.length = 0;
  await pass(120_000);
  expect(page.sockets).toHaveLength(4);
  page.socket().ends(1006);
  expect(page.sources).toHaveLength(1);
  await pass(120_000);
  expect(page.links).toEqual([]);

  page.socket().ready();

  expect(page.live.link.get()).toEqual({ state: "open", by: "socket" });
  expect(page.sources[0]?.readyState).toBe(EventSource.CLOSED);
  expect(page.asked()).toEqual([{ op: "subscribe", thread_id: THREAD, after: 5, epoch: 7 }]);
});

test("what is followed and left over event streams has its stream, once, and no longer", async () => {
  await page.connectInVain();
  expect(page.live.link.get()).toEqual({ state: "open", by: "streams" });
  const stop = page.live.follow(THREAD, new Told());
  page.live.follow(THREAD, new Told());
  page.live.follow("thread_2", new Told());
  page.live.follow("thread_3", new Told())();
  stop();
  expect(page.sources.map((one) => one.readyState !== EventSource.CLOSED)).toEqual([false, true, true, false]);

  page.live.close();
  expect(page.sources.every((one) => one.readyState === EventSource.CLOSED)).toBe(true);
});
