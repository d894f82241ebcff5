import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { OpenThread, startOf } from "../src/chat/openThread";
import { ReadMark } from "../src/chat/readMark";
import type { Event } from "../src/client/live";
import type { MessageAnswer, RunAnswer, ThreadAnswer } from "../src/client/rest";
import { runEvents } from "../src/client/runEvents";
import { answerText } from "../src/view/model";
import { json, look, pass, refused } from "./support/browser";
import { LivePage } from "./support/live";
import { AT, log, messageAnswer, of, runAnswer, streamOpened, THREAD } from "./support/story";

const PATH = `/v1/threads/${THREAD}`;
let page: LivePage;
let open: OpenThread;
let thread: ThreadAnswer;
let messages: MessageAnswer[];
let runs: RunAnswer[];

/** The newest first, from the cursor on; pages are of 100, as the page asks for. */
function paged<T>(rows: readonly T[], path: string): Response {
  const from = Number(new URLSearchParams(path.split("?")[1]).get("cursor") ?? 0);
  return json({ items: rows.slice(from, from + 100), next_cursor: rows.length > from + 100 ? `${from + 100}` : null });
}

beforeEach(async () => {
  vi.useFakeTimers();
  page = new LivePage();
  await page.signIn();
  thread = {
    id: THREAD,
    title: "a title",
    status: "idle",
    metadata: {},
    epoch: 3,
    first_seq: 1,
    head_seq: 0,
    read_seq: 0,
    unread: false,
    created_at: AT,
    updated_at: AT,
    archived_at: null,
    branched_from: null,
  };
  messages = [];
  runs = [];
  const { server } = page.browser;
  server.on(`GET ${PATH}`, () => json(thread));
  server.on(`GET ${PATH}/messages`, ({ path }) => paged(messages.toReversed(), path));
  server.on("GET /v1/runs", ({ path }) => paged(runs.toReversed(), path));
  server.on(`POST ${PATH}/read`, () => json(null));
  open = new OpenThread(page.api, page.live, THREAD);
});

afterEach(() => {
  open.close();
  page.live.close();
  vi.useRealTimers();
});

/** So many turns of 10 events each, of which every third one failed. */
function turns(count: number): void {
  for (let at = 0; at < count; at += 1) {
    const [id, seq] = [`run_${at}`, at * 10 + 1];
    messages.push(messageAnswer({ id: `q${at}`, seq, run_id: id, role: "user" }, `question ${at}`));
    messages.push(messageAnswer({ id: `a${at}`, seq: seq + 8, run_id: id, role: "assistant" }, `answer ${at}`));
    runs.push(runAnswer(id, { first_seq: seq, state: at % 3 === 0 ? "failed" : "completed" }));
  }
  thread = { ...thread, head_seq: count * 10 };
}

async function connected(): Promise<void> {
  await page.connect();
  await open.open();
  page.socket().hears(streamOpened({ from_seq: subscribed() + 1, head_seq: subscribed(), epoch: 3 }));
}

const subscribed = (): number => page.asked().findLast((one) => one["op"] === "subscribe")?.["after"] as number;
const hear = async (events: readonly Event[]): Promise<void> => {
  page.socket().hears({ events });
  await pass(300);
};
const states = () => open.view.get().turns.map(({ run }) => run?.state);

// Where it begins

const user = (...seqs: number[]) => seqs.map((seq) => ({ role: "user" as const, seq }));
const run = (state: RunAnswer["state"], first_seq: number) => ({ state, first_seq });

test.for([
  ["of an empty thread: the beginning", { head_seq: 0, first_seq: 1 }, [], [], 0],
  ["of a thread begun just now: all of it", { head_seq: 2, first_seq: 1 }, [], [], 0],
  ["of a short one: all of it", { head_seq: 30, first_seq: 1 }, user(11, 1), [], 0],
  [
    "of a long one: before a message, with what can be shown",
    { head_seq: 5_000, first_seq: 1 },
    user(4_900, 3_100, 3_001, 3_000),
    [],
    3_000,
  ],
  ["of one whose messages are all further back: its end", { head_seq: 5_000, first_seq: 1 }, user(2_000), [], 5_000],
  [
    "where a run works: before that run, however long it is",
    { head_seq: 9_000, first_seq: 1 },
    user(8_000, 100),
    [run("running", 100)],
    99,
  ],
  [
    "where several do: before the first of them",
    { head_seq: 300, first_seq: 1 },
    user(200, 100),
    [run("pending", 200), run("waiting", 100)],
    99,
  ],
  [
    "where none does any more: where they do not count",
    { head_seq: 3_000, first_seq: 1 },
    user(2_000),
    [run("dead", 5), run("timeout", 5), run("cancelled", 5)],
    1_999,
  ],
  ["of a trimmed one: not before what is kept", { head_seq: 1_000, first_seq: 500 }, user(900, 400), [], 899],
  ["of a trimmed one without messages: its end", { head_seq: 1_000, first_seq: 500 }, [], [], 1_000],
  [
    "of a trimmed one whose run began before: what is kept",
    { head_seq: 1_000, first_seq: 500 },
    user(900),
    [run("running", 400)],
    499,
  ],
] as const)("events are asked for from a whole run on: %s", ([, head, told, live, start]) => {
  expect(startOf(head, told, live)).toBe(start);
});

test("a thread is shown with its messages, and followed from there", async () => {
  turns(3);
  await connected();

  expect(open.phase.get()).toEqual({ name: "ready" });
  expect(open.thread.get()).toEqual(thread);
  expect(page.asked()).toEqual([{ op: "subscribe", thread_id: THREAD, after: 0, epoch: 3 }]);
  expect(open.view.get()).toMatchObject({ title: "a title", position: 0, turns: [], hasEarlier: false });
});

test("of a long thread the newest messages are shown at once, and how their runs ended", async () => {
  turns(300);
  await connected();
  const { turns: shown, hasEarlier } = open.view.get();

  // The first 100 messages of the page are those of 50 turns, all of whose events are asked for.
  expect(subscribed()).toBe(2_500);
  expect(shown).toEqual([]);
  expect(hasEarlier).toBe(true);
  await open.loadEarlier();
  expect(open.view.get().turns).toHaveLength(50);
  expect(states().slice(0, 4)).toEqual(["completed", "failed", "completed", "completed"]);
});

test("earlier pages say how their runs ended, wherever those were asked for", async () => {
  turns(300);
  await connected();
  while (open.view.get().hasEarlier) await open.loadEarlier();

  expect(states()).toEqual(Array.from({ length: 250 }, (_, at) => (at % 3 === 0 ? "failed" : "completed")));
  const asked = page.browser.server.asked.length;
  await open.loadEarlier();
  expect(page.browser.server.asked, "there is nothing before the beginning").toHaveLength(asked);
});

test("earlier messages are asked for once at a time", async () => {
  turns(300);
  await connected();
  const asked = page.browser.server.count(`GET ${PATH}/messages`);

  await Promise.all([open.loadEarlier(), open.loadEarlier()]);

  expect(page.browser.server.count(`GET ${PATH}/messages`)).toBe(asked + 1);
  expect(open.isLoadingEarlier.get()).toBe(false);
});

test("earlier messages that cannot be had can be asked for again", async () => {
  turns(300);
  await connected();
  page.browser.server.isReachable = false;
  await expect(open.loadEarlier()).rejects.toMatchObject({ code: "offline" });
  page.browser.server.isReachable = true;
  await open.loadEarlier();

  expect(open.view.get().turns).toHaveLength(50);
});

test("events are shown at most once a frame", async () => {
  await connected();
  let shown = 0;
  open.view.subscribe(() => {
    shown += 1;
  });
  const one = of("run_1");

  for (const event of log([one.created(), one.queued(), one.started(), one.delta("a"), one.delta("b")]))
    page.socket().hears({ events: [event] });
  expect(shown).toBe(0);
  await pass(20);

  expect(shown).toBe(1);
  expect(open.view.get().position).toBe(5);
});

test("a page that nobody sees shows events, too, though less often", async () => {
  await connected();
  look(false);
  page.socket().hears({ events: log([of().created()]) });
  await pass(250);
  look(true);

  expect(open.view.get().turns).toHaveLength(1);
});

test.for([
  [404, "gone"],
  [400, "gone"],
  [403, "failed"],
  [503, "failed"],
] as const)("a thread that answers %d is %s", async ([status, name]) => {
  page.browser.server.on(`GET ${PATH}`, () => refused(status, "x"));
  await open.open();

  expect(open.phase.get()).toMatchObject({ name });
});

test("a thread that is deleted meanwhile is gone", async () => {
  await connected();
  const error = { code: "not_found", message: "It is gone.", retryable: false, details: {}, request_id: null };
  page.socket().hears({ notice: "stream_closed", thread_id: THREAD, error });

  expect(open.phase.get()).toEqual({ name: "gone", why: "It is gone." });
});

test("a thread that is closed before it was there is not followed", async () => {
  await page.connect();
  const opening = open.open();
  open.close();
  await opening;

  expect(page.asked()).toEqual([]);
  expect(open.phase.get()).toEqual({ name: "opening" });
});

test("a thread that is closed is followed no more", async () => {
  await connected();
  page.socket().hears({ events: log([of().created()]) });
  open.close();
  await pass(300);

  expect(page.asked().at(-1)).toEqual({ op: "unsubscribe", thread_id: THREAD });
  expect(open.view.get().turns).toEqual([]);
});

// What a reconnection brought

async function reconnected(opened: Parameters<typeof streamOpened>[0]): Promise<void> {
  page.socket().ends(1006);
  await pass(500);
  page.socket().ready();
  page.socket().hears(streamOpened({ epoch: 3, ...opened }));
}

test("the first connection is no news, and each one after it says what it brought", async () => {
  await connected();
  expect(open.news.get()).toBeNull();
  await hear(log([of().created(), of().queued()]));

  await reconnected({ from_seq: 3, head_seq: 2 });
  expect(open.news.get()).toMatchObject({ kind: "nothing_missed", events: 0 });
  await reconnected({ from_seq: 3, head_seq: 9 });
  expect(open.news.get()).toMatchObject({ kind: "caught_up", events: 7, at: Date.now() });
});

test("what is heard but not yet shown is not counted as missed", async () => {
  await connected();
  page.socket().hears({ events: log([of().created(), of().queued()]) });
  page.socket().hears(streamOpened({ from_seq: 3, head_seq: 2 }));

  expect(open.news.get()).toMatchObject({ kind: "nothing_missed" });
});

function snapshot(seq: number) {
  const newest = messages.slice(-2);
  const parts = [{ type: "text" as const, text: "x" }];
  const told = newest.map(({ id, ...message }) => ({ ...message, parts, message_id: id, at: AT }));
  return { seq, title: "as it is now", status: "idle", messages: told, messages_cut: true, runs: [] };
}

test("where history was trimmed, that is said, and the thread is shown as it is now: how runs ended, and all pages", async () => {
  turns(10);
  await connected();
  turns(300);
  thread = { ...thread, first_seq: 2_991 };

  await reconnected({ recovered: false, from_seq: 3_001, head_seq: 3_000, snapshot: snapshot(3_000) });
  expect(open.news.get()).toMatchObject({ kind: "trimmed" });
  expect(open.view.get()).toMatchObject({ title: "as it is now", position: 3_000, hasEarlier: true });
  page.socket().hears({ events: log([of("run_x").created()], 3_000) });
  await pass(300);
  expect(open.view.get().position, "what is on its way comes again").toBe(2_990);

  expect(open.phase.get()).toEqual({ name: "ready" });
  expect(subscribed()).toBe(2_990);
  page.socket().hears(streamOpened({ from_seq: 2_991, head_seq: 3_000, epoch: 3 }));
  expect(open.news.get(), "that is no news").toMatchObject({ kind: "trimmed" });
  expect(states().slice(-3)).toEqual(["completed", "failed", "completed"]);
  const questions = open.view.get().turns.map((turn) => turn.question?.text);
  expect(questions).toEqual(Array.from({ length: 49 }, (_, at) => `question ${250 + at}`));
});

test("a snapshot stands where the rest cannot be had", async () => {
  turns(10);
  await connected();
  page.socket().ends(1006);
  await pass(500);
  page.browser.server.on(`GET ${PATH}`, () => refused(503, "unavailable"));
  page.socket().ready();
  page
    .socket()
    .hears(streamOpened({ recovered: false, from_seq: 101, head_seq: 100, epoch: 3, snapshot: snapshot(100) }));
  await pass();

  expect(open.phase.get()).toEqual({ name: "ready" });
  expect(open.view.get()).toMatchObject({ title: "as it is now", position: 100 });
});

test("an opening snapshot is not asked about again", async () => {
  turns(10);
  await page.connect();
  await open.open();
  const asked = page.browser.server.count(`GET ${PATH}`);
  page.socket().hears(streamOpened({ recovered: false, from_seq: 101, head_seq: 100, snapshot: snapshot(100) }));
  await pass();

  expect(page.browser.server.count(`GET ${PATH}`)).toBe(asked);
  expect(states()).toEqual(["failed"]);
  expect(open.news.get()).toBeNull();
});

// What a person does

test("a run is stopped: that is shown at once, and asked for", async () => {
  await connected();
  await hear(log([of().created(), of().queued(), of().started()]));
  page.browser.server.on("POST /v1/runs/run_1/cancel", () => json({ run_id: "run_1", state: "cancelling" }));

  const cancelling = open.cancel("run_1");
  expect(states()).toEqual(["cancelling"]);
  await cancelling;
  expect(page.browser.server.of("POST /v1/runs/run_1/cancel")[0]?.body).toEqual({});
});

test("an approval is decided, with other arguments only where there are some", async () => {
  page.browser.server.on("POST /v1/approvals/a1/decide", () => json({ id: "a1" }));

  expect(await open.decide("a1", "approve", { a: 2 })).toEqual({ id: "a1" });
  await open.decide("a1", "deny", null);

  expect(page.browser.server.of("POST /v1/approvals/a1/decide").map(({ body }) => body)).toEqual([
    { decision: "approve", arguments: { a: 2 } },
    { decision: "deny" },
  ]);
});

const one = of("run_2");
const story = log(
  [
    one.created("question"),
    one.queued(),
    one.started(),
    one.executing(),
    one.executed(),
    one.whole("answer"),
    one.completed(),
  ],
  20,
);

const streamed = (events: readonly Event[]): string =>
  [
    `event: stream_opened\ndata: ${JSON.stringify(streamOpened({ run_id: "run_2" }))}`,
    ": keep-alive",
    ...events.map((event) => `id: ${event.seq}\ndata: ${JSON.stringify(event)}`),
    "",
  ].join("\n\n");

test("all events of a run that has ended are read, and nothing else that its stream says", async () => {
  const other = log([of("run_9").delta("of another run")], 40);
  page.browser.server.on("GET /v1/runs/run_2/events", () => new Response(streamed([...story, ...other])));

  expect(await runEvents(page.api, "run_2")).toEqual(story);
});

test("a run of which only messages are shown is shown in full when a person asks", async () => {
  turns(300);
  await connected();
  await open.loadEarlier();
  const at = open.view.get().turns.findIndex((turn) => turn.run?.id === "run_220");
  const text = streamed(story).replaceAll('"run_2"', '"run_220"');
  page.browser.server.on("GET /v1/runs/run_220/events", () => new Response(text));

  await open.loadRun("run_220");

  const shown = open.view.get().turns[at]?.run;
  expect(shown).toMatchObject({ isPartial: false, state: "completed" });
  expect(shown?.items.map(({ kind }) => kind)).toEqual(["tool", "text"]);
  expect(shown && answerText(shown)).toBe("answer");
  page.browser.server.on("GET /v1/runs/run_1/events", () => refused(410, "position_lost"));
  await expect(open.loadRun("run_1")).rejects.toMatchObject({ code: "position_lost" });
});

// How far somebody has read

test("how far a person has read is told after a while, once for many events", async () => {
  await connected();
  const mark = new ReadMark(page.api, open);
  mark.open();
  await hear(log([of().created()]));
  await hear(log([of().queued(), of().started()], 1));
  expect(page.browser.server.count(`POST ${PATH}/read`)).toBe(0);
  await pass(800);

  expect(page.browser.server.of(`POST ${PATH}/read`).map(({ body }) => body)).toEqual([{ seq: 3 }]);
  await pass(60_000);
  expect(page.browser.server.count(`POST ${PATH}/read`)).toBe(1);
  mark.close();
  await hear(log([of().whole("x")], 3));
  await pass(60_000);
  expect(page.browser.server.count(`POST ${PATH}/read`)).toBe(1);
});

test("what comes while nobody looks is not read before somebody does", async () => {
  await connected();
  const mark = new ReadMark(page.api, open);
  mark.open();
  look(false);
  await hear(log([of().created()]));
  await pass(60_000);
  expect(page.browser.server.count(`POST ${PATH}/read`)).toBe(0);

  look(true);
  await pass(800);
  expect(page.browser.server.count(`POST ${PATH}/read`)).toBe(1);
  mark.close();
});

test("who leaves a thread has read what it showed, and a mark that was not set is set then", async () => {
  await connected();
  const mark = new ReadMark(page.api, open);
  mark.open();
  page.browser.server.isReachable = false;
  await hear(log([of().created()]));
  await pass(800);
  page.browser.server.isReachable = true;
  mark.close();
  await pass();
  expect(page.browser.server.of(`POST ${PATH}/read`).map(({ body }) => body)).toEqual([{ seq: 1 }, { seq: 1 }]);
  mark.close();
  await pass();
  expect(page.browser.server.count(`POST ${PATH}/read`), "once is enough").toBe(2);
});
