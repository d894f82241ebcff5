import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Api } from "../src/client/api";
import { BrowserSession } from "../src/client/session";
import { FakeBrowser, json, pass, person, refused } from "./support/browser";

const ROUTE = "/v1/browser-session";
let browser: FakeBrowser;

beforeEach(() => {
  vi.useFakeTimers();
  browser = new FakeBrowser();
});

afterEach(() => {
  vi.useRealTimers();
  localStorage.clear();
  sessionStorage.clear();
});

/** Somebody is signed in, in so many tabs, each of which knows it. */
async function signedIn(tabs = 1, who = person()): Promise<BrowserSession[]> {
  browser.server.on(`GET ${ROUTE}`, () => json(who));
  browser.server.on(`POST ${ROUTE}/refresh`, () => json(who));
  const sessions = Array.from({ length: tabs }, () => new BrowserSession(browser.tab()));
  for (const session of sessions) await session.open();
  browser.server.asked.length = 0;
  return sessions;
}

const stateOf = (session: BrowserSession) => session.session.get();

test("who is signed in is found out after a reload", async () => {
  browser.server.on(`GET ${ROUTE}`, () => json(person()));
  const session = new BrowserSession(browser.tab());
  expect(stateOf(session)).toEqual({ state: "opening" });

  await session.open();

  expect(stateOf(session)).toEqual({ state: "signed_in", who: person() });
  expect(session.who?.user.id).toBe("user_ann");
  expect(browser.server.asked[0]?.init).toMatchObject({
    credentials: "same-origin",
    cache: "no-store",
    redirect: "error",
  });
});

test("a session whose access has ended goes on", async () => {
  browser.server.on(`GET ${ROUTE}`, () => refused(401, "not_authenticated"));
  browser.server.on(`POST ${ROUTE}/refresh`, () => json(person()));
  const session = new BrowserSession(browser.tab());

  await session.open();

  expect(stateOf(session)).toMatchObject({ state: "signed_in" });
});

test("nobody is signed in who has no session, and nothing is said about an end", async () => {
  browser.server.on(`GET ${ROUTE}`, () => refused(401, "not_authenticated"));
  browser.server.on(`POST ${ROUTE}/refresh`, () => refused(401, "not_authenticated"));
  const session = new BrowserSession(browser.tab());

  await session.open();

  expect(stateOf(session)).toEqual({ state: "signed_out", reason: "not_yet" });
});

test("a server that is not there is told of, and is not taken for the end of the session", async () => {
  browser.server.isReachable = false;
  const session = new BrowserSession(browser.tab());

  await session.open();

  expect(stateOf(session)).toMatchObject({ state: "unreachable", error: { code: "offline", retryable: true } });
});

test("a server that fails in the middle of finding out is told of", async () => {
  let asked = 0;
  browser.server.on(`GET ${ROUTE}`, () =>
    ++asked === 1 ? refused(401, "not_authenticated") : refused(503, "unavailable"),
  );
  const session = new BrowserSession(browser.tab());

  await expect(session.open()).rejects.toMatchObject({ code: "unavailable" });

  expect(stateOf(session)).toMatchObject({ state: "unreachable", error: { code: "unavailable" } });
});

test("many who ask at once refresh once", async () => {
  const [session] = await signedIn(1, person({ expires_in: 30 }));

  const found = await Promise.all(Array.from({ length: 20 }, () => session?.refresh()));

  expect(found.every((one) => one === true)).toBe(true);
  expect(browser.server.count(`POST ${ROUTE}/refresh`)).toBe(1);
});

test("two tabs that ask at once refresh once: the second one finds what the first one did", async () => {
  const [one, other] = await signedIn(2, person({ expires_in: 30 }));
  let isFresh = false;
  browser.server.on(`GET ${ROUTE}`, () => json(person({ expires_in: isFresh ? 600 : 30 })));
  browser.server.on(`POST ${ROUTE}/refresh`, async () => {
    expect(browser.locks.held).toBe(1);
    isFresh = true;
    return json(person());
  });

  expect(await Promise.all([one?.refresh(), other?.refresh()])).toEqual([true, true]);

  expect(browser.server.count(`POST ${ROUTE}/refresh`)).toBe(1);
});

test("a browser without locks and channels refreshes, too", async () => {
  browser.server.on(`GET ${ROUTE}`, () => json(person({ expires_in: 30 })));
  browser.server.on(`POST ${ROUTE}/refresh`, () => json(person()));
  const session = new BrowserSession(browser.tab({ locks: undefined, channel: undefined }));
  await session.open();

  expect(await session.refresh()).toBe(true);

  expect(browser.server.count(`POST ${ROUTE}/refresh`)).toBe(1);
});

test("a session that is over is over, for everybody who waits for it", async () => {
  const [session] = await signedIn(1, person({ expires_in: 30 }));
  browser.server.on(`POST ${ROUTE}/refresh`, () => refused(401, "session_revoked"));

  expect(await Promise.all([session?.refresh(), session?.refresh()])).toEqual([false, false]);

  expect(session && stateOf(session)).toEqual({ state: "signed_out", reason: "ended" });
});

test("a refresh that does not reach the server leaves the session as it is", async () => {
  const [session] = await signedIn();
  browser.server.isReachable = false;

  await expect(session?.refresh()).rejects.toMatchObject({ code: "offline" });

  expect(session?.who?.user.id).toBe("user_ann");
});

test("the session is refreshed a minute before its access ends, and again and again", async () => {
  await signedIn(1, person({ expires_in: 600 }));
  browser.server.on(`GET ${ROUTE}`, () => json(person({ expires_in: 60 })));

  await pass(539_000);
  expect(browser.server.asked).toEqual([]);
  await pass(2_000);
  expect(browser.server.count(`POST ${ROUTE}/refresh`)).toBe(1);
  await pass(540_000);
  expect(browser.server.count(`POST ${ROUTE}/refresh`)).toBe(2);
});

test("access that is short is not refreshed all the time", async () => {
  await signedIn(1, person({ expires_in: 40 }));

  await pass(60_000);

  expect(browser.server.count(`POST ${ROUTE}/refresh`)).toBeLessThanOrEqual(3);
  expect(browser.server.count(`POST ${ROUTE}/refresh`)).toBeGreaterThan(0);
});

test("access of many weeks does not make a timer that ends at once", async () => {
  await signedIn(1, person({ expires_in: 90 * 24 * 3_600 }));

  await pass(60_000);

  expect(browser.server.asked).toEqual([]);
});

test("signing in asks whether the browser keeps it", async () => {
  let isKept = false;
  browser.server.on(`POST ${ROUTE}`, () => json(person()));
  browser.server.on(`GET ${ROUTE}`, () => (isKept ? json(person()) : refused(401, "not_authenticated")));
  const session = new BrowserSession(browser.tab());

  await expect(session.signIn({ email: "ann@example.org", password: "secret" })).rejects.toMatchObject({
    code: "cookies_refused",
    message: expect.stringContaining("https"),
  });
  expect(session.who).toBeNull();

  isKept = true;
  await session.signIn({ email: "ann@example.org", password: "secret" });
  expect(session.who?.user.id).toBe("user_ann");
  expect(browser.server.of(`POST ${ROUTE}`)[1]?.body).toEqual({ email: "ann@example.org", password: "secret" });
});

test("a wrong password is told of, and nobody is signed in", async () => {
  browser.server.on(`POST ${ROUTE}`, () => refused(401, "not_authenticated"));
  const session = new BrowserSession(browser.tab());

  await expect(session.signIn({ email: "ann@example.org", password: "x" })).rejects.toMatchObject({ status: 401 });

  expect(session.who).toBeNull();
});

test("whoever sets up the server is signed in", async () => {
  browser.server.on(`POST ${ROUTE}/setup`, () => json(person()));
  browser.server.on(`GET ${ROUTE}`, () => json(person()));
  const session = new BrowserSession(browser.tab());

  await session.setUp({ secret: "s", email: "ann@example.org", password: "p" } as never);

  expect(session.who?.user.id).toBe("user_ann");
});

test("who signs out is signed out in every tab", async () => {
  const [one, other] = await signedIn(2);
  browser.server.on(`DELETE ${ROUTE}`, () => json(null));

  await one?.signOut();
  await pass();

  expect(one && stateOf(one)).toEqual({ state: "signed_out", reason: "here" });
  expect(other && stateOf(other)).toEqual({ state: "signed_out", reason: "elsewhere" });
  expect(browser.server.of(`DELETE ${ROUTE}`)[0]?.headers["x-csrf-token"]).toBe("csrf-ann");
  await pass(3_600_000);
  expect(browser.server.asked, "no timer goes on").toHaveLength(1);
});

test("who is not signed in any more can sign out; who does not reach the server is told so", async () => {
  const [one, other] = await signedIn(2);
  browser.server.on(`DELETE ${ROUTE}`, () => refused(503, "unavailable"));
  await expect(one?.signOut()).rejects.toMatchObject({ code: "unavailable" });
  expect(one?.who).not.toBeNull();

  browser.server.on(`DELETE ${ROUTE}`, () => refused(401, "not_authenticated"));
  await other?.signOut();
  expect(other?.who).toBeNull();
});

test("somebody else who signs in in another tab is who is signed in in this one, too", async () => {
  const [one, other] = await signedIn(2);
  browser.server.on(`POST ${ROUTE}`, () => json(person({}, "bob")));
  browser.server.on(`GET ${ROUTE}`, () => json(person({}, "bob")));

  await one?.signIn({ email: "bob@example.org", password: "p" });
  await pass();

  expect(other?.who).toMatchObject({ user: { id: "user_bob" }, csrf_token: "csrf-bob" });
});

// Calls as the person who is signed in

test("a change carries the CSRF token, and a question does not", async () => {
  const [session] = await signedIn();
  browser.server.on("GET /v1/threads", () => json({ items: [] }));
  browser.server.on("PATCH /v1/threads/t", () => json({}));
  browser.server.on("DELETE /v1/threads/t", () => json(null));
  const api = new Api(session as BrowserSession, browser.server.fetch);

  await api.get("/v1/threads", {
    limit: 2,
    archived: false,
    kind: ["a", "b"],
    none: null,
    empty: "",
    missing: undefined,
  });
  await api.patch("/v1/threads/t", { title: "x" });
  expect(await api.delete("/v1/threads/t")).toBeNull();

  const [asked, changed, deleted] = browser.server.asked;
  expect(asked?.path).toBe("/v1/threads?limit=2&archived=false&kind=a&kind=b");
  expect(asked?.headers).toEqual({});
  expect(changed?.headers).toEqual({ "x-csrf-token": "csrf-ann", "content-type": "application/json" });
  expect(deleted?.headers).toEqual({ "x-csrf-token": "csrf-ann" });
});

test("a call whose access has ended is made once more after a refresh, and many of them refresh once", async () => {
  const [session] = await signedIn(1, person({ expires_in: 30 }));
  let isFresh = false;
  browser.server.on(`POST ${ROUTE}/refresh`, () => {
    isFresh = true;
    return json(person({ csrf_token: "csrf-2" }));
  });
  browser.server.on("POST /v1/messages", () => (isFresh ? json({ seq: 1 }) : refused(401, "token_expired")));
  const api = new Api(session as BrowserSession, browser.server.fetch);

  const found = await Promise.all([1, 2, 3].map((text) => api.post("/v1/messages", { text })));

  expect(found).toEqual([{ seq: 1 }, { seq: 1 }, { seq: 1 }]);
  expect(browser.server.count(`POST ${ROUTE}/refresh`)).toBe(1);
  expect(
    browser.server
      .of("POST /v1/messages")
      .slice(3)
      .every((one) => one.headers["x-csrf-token"] === "csrf-2"),
  ).toBe(true);
});

test("a call is made twice at most, and not again when the session is over", async () => {
  const [session] = await signedIn();
  browser.server.on("GET /v1/me", () => refused(401, "token_expired"));
  const api = new Api(session as BrowserSession, browser.server.fetch);
  await expect(api.get("/v1/me")).rejects.toMatchObject({ code: "token_expired" });
  expect(browser.server.count("GET /v1/me")).toBe(2);

  browser.server.on(`GET ${ROUTE}`, () => refused(401, "x"));
  browser.server.on(`POST ${ROUTE}/refresh`, () => refused(401, "x"));
  await expect(api.get("/v1/me")).rejects.toMatchObject({ code: "token_expired" });
  expect(browser.server.count("GET /v1/me")).toBe(3);
  expect(session?.who).toBeNull();
});

test("a CSRF token that is another one by now is asked for, and the call is made once more", async () => {
  const [session] = await signedIn();
  browser.server.on(`GET ${ROUTE}`, () => json(person({ csrf_token: "csrf-2" })));
  browser.server.on("POST /v1/messages", ({ headers }) =>
    headers["x-csrf-token"] === "csrf-2" ? json({ seq: 1 }) : refused(403, "csrf_refused"),
  );
  const api = new Api(session as BrowserSession, browser.server.fetch);

  expect(await api.post("/v1/messages", {})).toEqual({ seq: 1 });

  expect(browser.server.count("POST /v1/messages")).toBe(2);
});

test("any other refusal is the caller's, at once", async () => {
  const [session] = await signedIn();
  browser.server.on("POST /v1/messages", () =>
    refused(409, "thread_busy", { details: { place: "text", retry_after_s: 3 } }),
  );
  const api = new Api(session as BrowserSession, browser.server.fetch);

  await expect(api.post("/v1/messages", {})).rejects.toMatchObject({
    code: "thread_busy",
    status: 409,
    place: "text",
    retryAfterS: 3,
  });

  expect(browser.server.count("POST /v1/messages")).toBe(1);
});

test("what is no answer of Cloche is told as that; a success that is no JSON, too", async () => {
  const [session] = await signedIn();
  const api = new Api(session as BrowserSession, browser.server.fetch);
  browser.server.on("GET /v1/me", () => new Response("<html>Bad gateway</html>", { status: 502 }));
  await expect(api.get("/v1/me")).rejects.toMatchObject({ code: "bad_answer", retryable: true, status: 502 });
  browser.server.on("GET /v1/me", () => new Response("<html>Sign in to the hotel</html>"));
  await expect(api.get("/v1/me")).rejects.toMatchObject({ code: "bad_answer" });
  browser.server.on("GET /v1/me", () => json({ error: { code: 3 } }, 404));
  await expect(api.get("/v1/me")).rejects.toMatchObject({ code: "bad_answer", retryable: false });
});

test("a call that was given up is given up, and is no error of the server", async () => {
  const [session] = await signedIn();
  const api = new Api(session as BrowserSession, (_input, init) => {
    const signal = init?.signal as AbortSignal;
    return new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  });
  const given = new AbortController();

  const call = api.get("/v1/threads", {}, given.signal);
  given.abort();

  await expect(call).rejects.toMatchObject({ name: "AbortError" });
});

test("nothing of a session is where a script could find it later", async () => {
  const written = vi.spyOn(Storage.prototype, "setItem");
  const [one] = await signedIn(2);
  browser.server.on("POST /v1/messages", () => json({}));
  await new Api(one as BrowserSession, browser.server.fetch).post("/v1/messages", { text: "x" });
  await one?.refresh();

  expect(written).not.toHaveBeenCalled();
  expect(localStorage.length + sessionStorage.length).toBe(0);
  expect(document.cookie).toBe("");
  for (const asked of browser.server.asked) expect(asked.path).not.toMatch(/csrf|token|session_/);
});
