import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type Draft, Outbox, type OutboxWorld, type Outgoing } from "../src/chat/outbox";
import { Api } from "../src/client/api";
import type { AcceptedAnswer } from "../src/client/rest";
import { BrowserSession } from "../src/client/session";
import { FakeBrowser, FakeLocks, FakeStorage, json, pass, person, refused } from "./support/browser";

const NEW = "POST /v1/messages";
const TO = "POST /v1/threads/thread_1/messages";
const accepted: AcceptedAnswer = { thread_id: "thread_1", message_id: "m", run_id: "r", seq: 1, replayed: false };

let browser: FakeBrowser;
let storage: FakeStorage;
let locks: FakeLocks;
let isOnline: boolean;
const boxes: Outbox[] = [];

beforeEach(() => {
  vi.useFakeTimers();
  browser = new FakeBrowser();
  storage = new FakeStorage();
  locks = new FakeLocks();
  isOnline = true;
  browser.server.on("GET /v1/browser-session", () => json(person()));
  browser.server.on(NEW, () => json(accepted));
  browser.server.on(TO, () => json(accepted));
});

afterEach(() => {
  for (const box of boxes.splice(0)) box.close();
  vi.useRealTimers();
});

async function outbox(user = "user_ann", less: Partial<OutboxWorld> = {}): Promise<Outbox> {
  const session = new BrowserSession(browser.tab());
  await session.open();
  const world = { storage, locks: locks as unknown as LockManager, isOnline: () => isOnline, ...less };
  const box = new Outbox(new Api(session, browser.server.fetch), user, world);
  boxes.push(box);
  return box;
}

async function opened(user?: string, less?: Partial<OutboxWorld>): Promise<Outbox> {
  const box = await outbox(user, less);
  box.open();
  await pass();
  return box;
}

const draft = (text: string, change: Partial<Draft> = {}): Draft => ({
  threadId: "thread_1",
  text,
  agent: null,
  onBusy: "enqueue",
  onPendingApproval: "reject",
  ...change,
});

const sent = (route = TO): string[] => browser.server.of(route).map(({ body }) => (body as { text: string }).text);
const idsSent = (): string[] =>
  browser.server.of(TO).map(({ body }) => (body as { client_message_id: string }).client_message_id);
const texts = (box: Outbox): string[] => box.messages.get().map((one) => one.text);

test("a message is sent with everything that was said about it, and is gone when it was taken", async () => {
  const box = await opened();
  const taken: [Outgoing, AcceptedAnswer][] = [];
  const stop = box.whenTaken((...one) => taken.push(one));

  const message = box.put(draft("hi", { agent: "a", onBusy: "interrupt", onPendingApproval: "enqueue" }));
  expect(storage.kept.get("cloche.outbox.user_ann"), "before anything else").toContain('"hi"');
  await pass();

  expect(browser.server.of(TO)[0]?.body).toEqual({
    text: "hi",
    client_message_id: message.clientMessageId,
    on_busy: "interrupt",
    on_pending_approval: "enqueue",
    agent: "a",
  });
  expect(taken).toEqual([[message, accepted]]);
  expect(box.messages.get()).toEqual([]);
  expect(storage.kept.size).toBe(0);
  stop();
  box.put(draft("again", { threadId: null }));
  await pass();
  expect(sent(NEW)).toEqual(["again"]);
  expect(browser.server.of(NEW)[0]?.body).not.toHaveProperty("agent");
  expect(taken).toHaveLength(1);
});

test("messages are sent one after the other, in the order in which they were written", async () => {
  const box = await opened();
  let free: () => void = () => undefined;
  browser.server.on(TO, async () => {
    await new Promise<void>((resolve) => {
      free = resolve;
    });
    return json(accepted);
  });

  for (const text of ["one", "two", "three"]) box.put(draft(text));
  await pass();
  expect(sent()).toEqual(["one"]);
  for (let times = 0; times < 3; times += 1) {
    free();
    await pass();
  }

  expect(sent()).toEqual(["one", "two", "three"]);
  expect(texts(box)).toEqual([]);
});

test("what is written at the very moment at which the sending ends is sent, too", async () => {
  let then: () => void = () => undefined;
  const late = async (name: string, work: () => Promise<unknown>): Promise<void> => {
    await locks.request(name, work as () => Promise<unknown>);
    // The work is done, and the lock is not yet given back.
    then();
    then = () => undefined;
  };
  const box = await outbox("user_ann", { locks: { request: late } as unknown as LockManager });
  then = () => box.put(draft("late"));

  box.open();
  await pass();

  expect(sent()).toEqual(["late"]);
  expect(texts(box)).toEqual([]);
});

test("without a network messages wait, and are sent when it is back", async () => {
  isOnline = false;
  const box = await opened();
  box.put(draft("one"));
  box.put(draft("two"));
  await pass(60_000);
  expect(sent()).toEqual([]);
  expect(texts(box)).toEqual(["one", "two"]);

  isOnline = true;
  dispatchEvent(new Event("online"));
  await pass();

  expect(sent()).toEqual(["one", "two"]);
});

test("messages outlive a reload", async () => {
  isOnline = false;
  const before = await opened();
  before.put(draft("one"));
  before.close();

  isOnline = true;
  const after = await outbox();
  expect(texts(after)).toEqual(["one"]);
  expect(sent()).toEqual([]);
  after.open();
  await pass();

  expect(sent()).toEqual(["one"]);
});

test("a message whose answer was lost is sent again under the same id", async () => {
  const box = await opened();
  let tries = 0;
  browser.server.on(TO, () => {
    tries += 1;
    if (tries < 3) throw new TypeError("the line was cut");
    return json({ ...accepted, replayed: true });
  });

  box.put(draft("once"));
  await pass(60_000);

  expect(sent()).toEqual(["once", "once", "once"]);
  expect(new Set(idsSent()).size).toBe(1);
  expect(texts(box)).toEqual([]);
});

test.for([
  ["the server cannot be reached", 0, "", {}],
  ["the server is overloaded", 503, "draining", { retryable: true }],
  ["something between answers", 502, "", {}],
  ["there were too many", 429, "rate_limited", { retryable: true, details: { retry_after_s: 7 } }],
] as const)("a message waits while %s, and those after it", async ([, status, code, more]) => {
  const box = await opened();
  browser.server.isReachable = status !== 0;
  browser.server.on(TO, () =>
    code === "" ? new Response("no", { status: status || 500 }) : refused(status, code, more),
  );
  box.put(draft("one"));
  box.put(draft("two"));
  await pass(1);
  const first = browser.server.count(TO);
  expect(new Set(browser.server.of(TO).map(({ body }) => (body as { text: string }).text))).toEqual(new Set(["one"]));
  await pass(status === 429 ? 6_900 : 200);
  expect(browser.server.count(TO), "not at once").toBe(first);

  browser.server.isReachable = true;
  browser.server.on(TO, () => json(accepted));
  await pass(20_000);

  expect(texts(box)).toEqual([]);
  expect(sent().slice(-2)).toEqual(["one", "two"]);
});

test("the pauses grow, and end with the first success", async () => {
  const box = await opened();
  browser.server.isReachable = false;
  box.put(draft("one"));
  await pass(300_000);
  const tries = browser.server.count(TO);
  expect(tries).toBeGreaterThan(15);
  expect(tries).toBeLessThan(60);

  browser.server.isReachable = true;
  dispatchEvent(new Event("online"));
  await pass();
  expect(texts(box)).toEqual([]);
});

test.for([
  [409, "thread_busy", true],
  [409, "approval_pending", true],
  [409, "idempotency_mismatch", false],
  [400, "invalid_input", false],
  [404, "not_found", false],
  [403, "permission_denied", false],
  [413, "payload_too_large", false],
] as const)(
  "a refusal is kept with its reason, and does not hold up the others: %d %s",
  async ([status, code, retryable]) => {
    const box = await opened();
    browser.server.on(TO, ({ body }) =>
      (body as { text: string }).text === "bad" ? refused(status, code, { retryable }) : json(accepted),
    );

    box.put(draft("bad"));
    box.put(draft("good"));
    await pass(60_000);

    expect(sent()).toEqual(["bad", "good"]);
    expect(box.messages.get()).toMatchObject([
      { text: "bad", state: "refused", refusal: { code, message: `It is ${code}.` } },
    ]);
    expect(storage.kept.get("cloche.outbox.user_ann")).toContain(code);
  },
);

test("a refused message can be changed and sent as another one, or be thrown away", async () => {
  const box = await opened();
  browser.server.on(TO, ({ body }) =>
    (body as { text: string }).text.startsWith("bad") ? refused(400, "invalid_input") : json(accepted),
  );
  const one = box.put(draft("bad 1"));
  const two = box.put(draft("bad 2"));
  await pass();

  box.discard(two.clientMessageId);
  box.again(one.clientMessageId, { text: "good", onBusy: "interrupt" });
  await pass();

  expect(sent()).toEqual(["bad 1", "bad 2", "good"]);
  expect(idsSent()[2]).not.toBe(one.clientMessageId);
  expect(browser.server.of(TO)[2]?.body).toMatchObject({ on_busy: "interrupt" });
  expect(texts(box)).toEqual([]);
});

test("two tabs send each message once, and each shows what waits", async () => {
  isOnline = false;
  const one = await opened();
  const other = await opened();
  one.put(draft("first"));
  await pass(1);
  dispatchEvent(Object.assign(new Event("storage"), { key: "cloche.outbox.user_ann" }));
  expect(texts(other)).toEqual(["first"]);
  other.put(draft("second"));
  expect(JSON.parse(storage.kept.get("cloche.outbox.user_ann") ?? "[]")).toHaveLength(2);

  isOnline = true;
  dispatchEvent(new Event("online"));
  await pass();

  expect(sent()).toEqual(["first", "second"]);
  dispatchEvent(Object.assign(new Event("storage"), { key: "cloche.outbox.user_ann" }));
  dispatchEvent(Object.assign(new Event("storage"), { key: "something else" }));
  expect([texts(one), texts(other)]).toEqual([[], []]);
});

test("a full storage does not lose a message: this tab sends it, in its order", async () => {
  isOnline = false;
  const box = await opened();
  box.put(draft("kept"));
  await pass(1);
  storage.isFull = true;
  box.put(draft("not kept"));
  expect(texts(box)).toEqual(["kept", "not kept"]);
  expect(storage.kept.get("cloche.outbox.user_ann")).not.toContain("not kept");

  isOnline = true;
  dispatchEvent(new Event("online"));
  await pass(60_000);

  expect(sent()).toEqual(["kept", "not kept"]);
  expect(texts(box)).toEqual([]);
});

test("what only this tab has does not push out what another tab wrote", async () => {
  isOnline = false;
  const full = await opened();
  const other = await opened();
  storage.isFull = true;
  full.put(draft("only here"));
  storage.isFull = false;
  await pass(1);
  other.put(draft("of the other"));
  other.close();

  full.discard(full.messages.get()[0]?.clientMessageId ?? "");
  dispatchEvent(Object.assign(new Event("storage"), { key: "cloche.outbox.user_ann" }));

  expect(texts(full)).toEqual(["of the other"]);
  expect(storage.kept.get("cloche.outbox.user_ann")).toContain("of the other");
});

test("a message that the storage does not let go of is not sent for ever", async () => {
  isOnline = false;
  const box = await opened();
  box.put(draft("one"));
  box.put(draft("two"));
  await pass(1);
  storage.isFull = true;

  isOnline = true;
  dispatchEvent(new Event("online"));
  await pass(60_000);

  expect(sent()).toEqual(["one", "two"]);
  expect(texts(box)).toEqual([]);
});

test.for([
  ["there is none", { storage: null }],
  ["it is forbidden", {}],
] as const)("without a storage messages are kept by this tab: %s", async ([, less]) => {
  storage.isForbidden = true;
  isOnline = false;
  const box = await opened("user_ann", less);
  box.put(draft("one"));
  box.put(draft("two"));
  expect(texts(box)).toEqual(["one", "two"]);

  isOnline = true;
  dispatchEvent(new Event("online"));
  await pass();

  expect(sent()).toEqual(["one", "two"]);
  box.forget();
  expect(texts(box)).toEqual([]);
});

test.for(["{", "3", "null", '{"a":1}', '[1,null,"x"]'])(
  "a storage with something else in it holds nothing: %s",
  async (text) => {
    storage.kept.set("cloche.outbox.user_ann", text);

    expect(texts(await opened())).toEqual([]);
  },
);

test("another person's messages are neither read nor sent nor cleared", async () => {
  isOnline = false;
  const ann = await opened();
  ann.put(draft("of Ann"));
  ann.close();

  isOnline = true;
  const bob = await opened("user_bob");
  bob.put(draft("of Bob"));
  await pass();
  bob.forget();

  expect(sent()).toEqual(["of Bob"]);
  expect([...storage.kept.keys()]).toEqual(["cloche.outbox.user_ann"]);
});

test("nothing of a person is left when it is to be forgotten", async () => {
  isOnline = false;
  const box = await opened();
  box.put(draft("one"));

  box.forget();

  expect(storage.kept.size).toBe(0);
  expect(texts(box)).toEqual([]);
});

test("nothing is sent by a tab that is closed, or by somebody whose session is over", async () => {
  const box = await opened();
  browser.server.on("GET /v1/browser-session", () => refused(401, "x"));
  browser.server.on("POST /v1/browser-session/refresh", () => refused(401, "x"));
  browser.server.on(TO, () => refused(401, "not_authenticated"));
  box.put(draft("one"));
  await pass(60_000);
  expect(browser.server.count(TO)).toBe(1);
  expect(box.messages.get()).toMatchObject([{ text: "one", state: "waiting" }]);

  box.close();
  box.put(draft("two"));
  dispatchEvent(new Event("online"));
  await pass(60_000);
  expect(browser.server.count(TO)).toBe(1);
});

test("a browser without locks sends, too", async () => {
  const box = await opened("user_ann", { locks: undefined });

  box.put(draft("one"));
  await pass();

  expect(sent()).toEqual(["one"]);
});
