import type { Api } from "../client/api";
import type { LiveConnection } from "../client/connection";
import { Store } from "../client/emitter";
import { type ApiError, asApiError } from "../client/errors";
import type { ThreadAnswer, ThreadPage, ThreadStatus } from "../client/rest";
import type { Notice } from "../client/socket";

const PAGE = 50;
/** How often the list is looked at where nobody tells of changes: over event streams, or an older server. */
const LOOK_MS = 15_000;

export interface ListedThread {
  readonly id: string;
  readonly title: string;
  readonly status: ThreadStatus;
  readonly isUnread: boolean;
  readonly updatedAt: string;
  readonly isBranch: boolean;
}

export interface ThreadsShown {
  readonly threads: readonly ListedThread[];
  readonly isComplete: boolean;
  readonly isLoading: boolean;
  readonly error: ApiError | null;
}

interface ChangedThread {
  readonly thread_id: string;
  readonly title: string;
  readonly status: ThreadStatus;
  readonly unread: boolean;
  readonly updated_at: string;
  readonly archived: boolean;
  readonly deleted: boolean;
}

/** The person's threads, the last changed first, as they are now. */
export class ThreadList {
  readonly shown = new Store<ThreadsShown>({ threads: [], isComplete: false, isLoading: true, error: null });
  readonly approvals = new Store<number>(0);
  private cursor: string | null = null;
  private stop: (() => void)[] = [];
  private timer: ReturnType<typeof setInterval> | undefined;
  private looks = 0;
  /** What was told while the server was being asked: its answer may be older. */
  private meanwhile: readonly ChangedThread[] = [];

  constructor(
    private readonly api: Api,
    private readonly live: LiveConnection,
    private readonly isArchive = false,
  ) {}

  open(): void {
    this.stop = [this.live.listen((notice) => this.told(notice))];
    this.timer = setInterval(() => {
      const link = this.live.link.get();
      if (link.state === "open" && link.by === "streams" && document.visibilityState === "visible") void this.look();
    }, LOOK_MS);
    void this.look();
  }

  close(): void {
    for (const stop of this.stop) stop();
    clearInterval(this.timer);
  }

  /** The first page is what the server says now. */
  async look(): Promise<void> {
    this.looks += 1;
    try {
      const [page, approvals] = await Promise.all([
        this.api.get<ThreadPage>("/v1/threads", { limit: PAGE, archived: this.isArchive }),
        this.api.get<{ items: unknown[] }>("/v1/approvals", { limit: 100 }),
      ]);
      this.approvals.set(approvals.items.length);
      const fresh = page.items.map(listed);
      const known = this.shown.get().threads;
      const oldest = fresh[fresh.length - 1];
      // Pages that were loaded before stay: what they hold is older than everything on the first one.
      const kept =
        page.next_cursor === null || oldest === undefined ? [] : known.filter((one) => isBefore(one, oldest));
      if (kept.length === 0) this.cursor = page.next_cursor;
      this.shown.set({
        threads: ordered([...fresh, ...kept]),
        isComplete: this.cursor === null,
        isLoading: false,
        error: null,
      });
      this.changed(this.meanwhile);
    } catch (thrown) {
      this.shown.update((shown) => ({ ...shown, isLoading: false, error: asApiError(thrown) }));
    } finally {
      this.looks -= 1;
      if (this.looks === 0) this.meanwhile = [];
    }
  }

  async more(): Promise<void> {
    if (this.cursor === null || this.shown.get().isLoading) return;
    this.shown.update((shown) => ({ ...shown, isLoading: true }));
    try {
      const page = await this.api.get<ThreadPage>("/v1/threads", {
        limit: PAGE,
        cursor: this.cursor,
        archived: this.isArchive,
      });
      this.cursor = page.next_cursor;
      this.shown.update((shown) => ({
        threads: ordered([...shown.threads, ...page.items.map(listed)]),
        isComplete: page.next_cursor === null,
        isLoading: false,
        error: null,
      }));
    } catch (thrown) {
      this.shown.update((shown) => ({ ...shown, isLoading: false, error: asApiError(thrown) }));
    }
  }

  /** What the person has just done with a thread is shown at once; the server's word follows. */
  change(threadId: string, change: Partial<ListedThread> | null): void {
    this.shown.update((shown) => ({
      ...shown,
      threads:
        change === null
          ? shown.threads.filter((one) => one.id !== threadId)
          : shown.threads.map((one) => (one.id === threadId ? { ...one, ...change } : one)),
    }));
  }

  add(thread: ListedThread): void {
    this.shown.update((shown) => ({ ...shown, threads: ordered([thread, ...shown.threads]) }));
  }

  private told(notice: Notice): void {
    switch (notice.notice) {
      case "connection_ready":
        void this.look();
        break;
      case "threads_changed":
        this.heard((notice as unknown as { threads: readonly ChangedThread[] }).threads);
        break;
      case "approvals_changed":
        this.approvals.set((notice as unknown as { pending: number }).pending);
        break;
    }
  }

  private heard(threads: readonly ChangedThread[]): void {
    if (this.looks > 0) this.meanwhile = [...this.meanwhile, ...threads];
    this.changed(threads);
  }

  private changed(threads: readonly ChangedThread[]): void {
    if (threads.length === 0) return;
    this.shown.update((shown) => {
      const byId = new Map(shown.threads.map((one) => [one.id, one]));
      for (const one of threads) {
        if (one.deleted || one.archived !== this.isArchive) {
          byId.delete(one.thread_id);
          continue;
        }
        byId.set(one.thread_id, {
          id: one.thread_id,
          title: one.title,
          status: one.status,
          isUnread: one.unread,
          updatedAt: one.updated_at,
          isBranch: byId.get(one.thread_id)?.isBranch ?? false,
        });
      }
      return { ...shown, threads: ordered([...byId.values()]) };
    });
  }
}

export function listed(thread: ThreadAnswer): ListedThread {
  const more = thread as ThreadAnswer & { unread?: boolean; branched_from?: unknown };
  return {
    id: thread.id,
    title: thread.title,
    status: thread.status,
    isUnread: more.unread ?? false,
    updatedAt: thread.updated_at,
    isBranch: more.branched_from != null,
  };
}

function isBefore(one: ListedThread, other: ListedThread): boolean {
  return one.updatedAt === other.updatedAt ? one.id < other.id : one.updatedAt < other.updatedAt;
}

function ordered(threads: readonly ListedThread[]): ListedThread[] {
  const byId = new Map<string, ListedThread>();
  for (const thread of threads) if (!byId.has(thread.id)) byId.set(thread.id, thread);
  return [...byId.values()].sort((one, other) => (isBefore(one, other) ? 1 : -1));
}
