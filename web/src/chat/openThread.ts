import type { Api } from "../client/api";
import type { LiveConnection } from "../client/connection";
import { Store } from "../client/emitter";
import { type ApiError, asApiError } from "../client/errors";
import type { Event, StreamClosed, StreamOpened } from "../client/live";
import type { ApprovalAnswer, MessageAnswer, MessagePage, RunAnswer, RunPage, ThreadAnswer } from "../client/rest";
import { runEvents } from "../client/runEvents";
import { emptyThread, type ThreadView } from "../view/model";
import {
  threadAfter,
  threadCancelling,
  threadOpened,
  threadWithMessages,
  threadWithRunEvents,
  threadWithRuns,
} from "../view/thread";

const PAGE = 100;
/** Events that are asked for when a thread is opened: what is older is shown by its messages, and on demand in full. */
const MOST_EVENTS = 2_000;
const HIDDEN_MS = 250;

export type Phase =
  | { readonly name: "opening" }
  | { readonly name: "ready" }
  | { readonly name: "gone"; readonly why: string }
  | { readonly name: "failed"; readonly error: ApiError };

/** What a reconnection brought: nothing was missed, so many events were caught up on, or history was trimmed. */
export interface News {
  readonly kind: "nothing_missed" | "caught_up" | "trimmed";
  readonly events: number;
  readonly at: number;
}

/** One thread that is open on the page: its view, kept up to date, and what a person does with it. */
export class OpenThread {
  readonly view: Store<ThreadView>;
  readonly phase = new Store<Phase>({ name: "opening" });
  readonly news = new Store<News | null>(null);
  readonly thread = new Store<ThreadAnswer | null>(null);
  readonly isLoadingEarlier = new Store(false);
  private stopFollowing: (() => void) | null = null;
  private cursor: string | null = null;
  private runsCursor: string | null = null;
  private runsReach = 0;
  private runs: readonly RunAnswer[] = [];
  private waiting: Event[] = [];
  private isScheduled = false;
  private hasOpened = false;
  private isClosed = false;

  constructor(
    private readonly api: Api,
    private readonly live: LiveConnection,
    readonly threadId: string,
  ) {
    this.view = new Store(emptyThread(threadId));
  }

  async open(): Promise<void> {
    this.phase.set({ name: "opening" });
    await this.load();
  }

  private async load(): Promise<void> {
    try {
      const [thread, messages, runs] = await Promise.all([
        this.api.get<ThreadAnswer>(`/v1/threads/${this.threadId}`),
        this.api.get<MessagePage>(`/v1/threads/${this.threadId}/messages`, { limit: PAGE }),
        this.api.get<RunPage>("/v1/runs", { thread_id: this.threadId, limit: PAGE }),
      ]);
      if (this.isClosed) return;
      this.runs = [];
      this.reached(runs);
      this.begin(thread, messages, runs.items);
    } catch (thrown) {
      const error = asApiError(thrown);
      if (this.isClosed) return;
      if (error.status === 404 || error.status === 400) this.phase.set({ name: "gone", why: error.message });
      // Where a snapshot is shown already, it stands.
      else if (!this.hasOpened) this.phase.set({ name: "failed", error });
    }
  }

  close(): void {
    this.isClosed = true;
    this.stopFollowing?.();
    this.stopFollowing = null;
  }

  /** The messages before the first one shown are shown, too. */
  async loadEarlier(): Promise<void> {
    if (this.cursor === null || this.isLoadingEarlier.get()) return;
    this.isLoadingEarlier.set(true);
    try {
      const page = await this.api.get<MessagePage>(`/v1/threads/${this.threadId}/messages`, {
        limit: PAGE,
        cursor: this.cursor,
      });
      this.cursor = page.next_cursor;
      const hasMore = page.next_cursor !== null;
      this.view.update((view) => threadWithRuns(threadWithMessages(view, page.items, hasMore), this.runs));
      await this.explain(page.items[page.items.length - 1]?.seq ?? 0);
    } finally {
      this.isLoadingEarlier.set(false);
    }
  }

  /** Everything that a run did is shown, where only its messages were. */
  async loadRun(runId: string): Promise<void> {
    const events = await runEvents(this.api, runId);
    this.view.update((view) => threadWithRunEvents(view, runId, events));
  }

  async cancel(runId: string): Promise<void> {
    this.view.update((view) => threadCancelling(view, runId));
    await this.api.post(`/v1/runs/${runId}/cancel`, {});
  }

  async decide(
    approvalId: string,
    decision: "approve" | "deny",
    edited: Readonly<Record<string, unknown>> | null,
  ): Promise<ApprovalAnswer> {
    const body = { decision, ...(edited === null ? {} : { arguments: edited }) };
    return await this.api.post<ApprovalAnswer>(`/v1/approvals/${approvalId}/decide`, body);
  }

  private begin(thread: ThreadAnswer, messages: MessagePage, runs: readonly RunAnswer[]): void {
    this.thread.set(thread);
    this.cursor = messages.next_cursor;
    const start = startOf(thread, messages.items, runs);
    const told = messages.items.filter((message) => message.seq <= start);
    let view = threadWithMessages(emptyThread(this.threadId), told, messages.next_cursor !== null);
    view = threadWithRuns({ ...view, title: thread.title, position: start }, runs);
    this.waiting = [];
    this.view.set(view);
    this.phase.set({ name: "ready" });
    this.hasOpened = false;
    this.stopFollowing = this.live.follow(
      this.threadId,
      {
        opened: (opened) => this.opened(opened),
        events: (events) => this.heard(events),
        closed: (closed) => this.ended(closed),
      },
      start,
      thread.epoch,
    );
  }

  private opened(opened: StreamOpened): void {
    this.flush();
    const missed = opened.head_seq - this.view.get().position;
    if (this.hasOpened || !opened.recovered) {
      const kind = opened.recovered ? (missed > 0 ? "caught_up" : "nothing_missed") : "trimmed";
      if (this.hasOpened) this.news.set({ kind, events: Math.max(0, missed), at: Date.now() });
    }
    this.view.update((view) => threadWithRuns(threadOpened(view, opened), this.runs));
    // What happened to messages and runs in the history that is gone is asked for; the snapshot is shown meanwhile.
    if (this.hasOpened && !opened.recovered) void this.load();
    this.hasOpened = true;
  }

  private heard(events: readonly Event[]): void {
    for (const event of events) this.waiting.push(event);
    if (this.isScheduled) return;
    this.isScheduled = true;
    // At most once a frame, however fast the words come; a page that nobody sees paints no frames.
    if (document.visibilityState === "visible") requestAnimationFrame(() => this.flush());
    else setTimeout(() => this.flush(), HIDDEN_MS);
  }

  private flush(): void {
    this.isScheduled = false;
    const events = this.waiting;
    if (events.length === 0 || this.isClosed) return;
    this.waiting = [];
    this.view.update((view) => threadAfter(view, events));
  }

  private ended(closed: StreamClosed): void {
    this.flush();
    this.phase.set({ name: "gone", why: closed.error.message });
  }

  /** How the runs of the messages ended, back to the oldest message. */
  private async explain(oldestSeq: number): Promise<void> {
    while (this.runsCursor !== null && this.runsReach > oldestSeq) {
      const page = await this.api.get<RunPage>("/v1/runs", {
        thread_id: this.threadId,
        limit: PAGE,
        cursor: this.runsCursor,
      });
      this.reached(page);
      this.view.update((view) => threadWithRuns(view, page.items));
    }
  }

  private reached(page: RunPage): void {
    this.runsCursor = page.next_cursor;
    this.runs = [...this.runs, ...page.items];
    this.runsReach = page.items[page.items.length - 1]?.first_seq ?? 0;
  }
}

/** The position after which events are asked for: a whole number of runs, all live ones among them, and no more than can be shown at once. */
export function startOf(
  thread: Pick<ThreadAnswer, "head_seq" | "first_seq">,
  messages: readonly Pick<MessageAnswer, "role" | "seq">[],
  runs: readonly Pick<RunAnswer, "state" | "first_seq">[],
): number {
  const over = new Set(["completed", "failed", "timeout", "dead", "cancelled"]);
  const live = runs.filter((run) => !over.has(run.state)).map((run) => run.first_seq - 1);
  const reach = Math.max(thread.first_seq - 1, thread.head_seq - MOST_EVENTS);
  const starts = messages
    .filter((message) => message.role === "user")
    .map((message) => message.seq - 1)
    .filter((seq) => seq >= reach);
  // A thread that was begun just now has all of its events still before it.
  if (messages.length === 0 && thread.first_seq === 1 && thread.head_seq <= MOST_EVENTS) return 0;
  return Math.max(thread.first_seq - 1, Math.min(thread.head_seq, ...starts, ...live));
}
