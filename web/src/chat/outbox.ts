import type { Api } from "../client/api";
import { Backoff } from "../client/backoff";
import { Store } from "../client/emitter";
import { type ApiError, asApiError, isRecord } from "../client/errors";
import type { AcceptedAnswer, OnBusy, OnPendingApproval } from "../client/rest";

/** A message on its way. Its `clientMessageId` makes sending it again harmless: the server takes it once. */
export interface Outgoing {
  readonly clientMessageId: string;
  readonly threadId: string | null;
  readonly text: string;
  readonly agent: string | null;
  readonly onBusy: OnBusy;
  readonly onPendingApproval: OnPendingApproval;
  readonly writtenAt: number;
  readonly state: "waiting" | "refused";
  readonly refusal: { readonly code: string; readonly message: string } | null;
}

export type Draft = Pick<Outgoing, "threadId" | "text" | "agent" | "onBusy" | "onPendingApproval">;

const LOCK = "cloche.outbox";

/** What an outbox needs of the browser. */
export interface OutboxWorld {
  readonly storage: Pick<Storage, "getItem" | "setItem" | "removeItem"> | null;
  readonly locks: LockManager | undefined;
  readonly isOnline: () => boolean;
}

/**
 * Messages that the server has not taken yet, in the order in which they were written. They outlive a lost connection,
 * a reload and a closed tab; one tab at a time sends them.
 */
export class Outbox {
  readonly messages: Store<readonly Outgoing[]>;
  private readonly key: string;
  private readonly backoff = new Backoff(500, 15_000);
  private readonly onTaken = new Set<(message: Outgoing, answer: AcceptedAnswer) => void>();
  private isSending = false;
  private isAskedAgain = false;
  /** What the storage did not take is in this tab alone; nor did it always let go of what is over. */
  private readonly unkept = new Map<string, Outgoing>();
  private readonly gone = new Set<string>();
  private timer: ReturnType<typeof setTimeout> | undefined;
  private isClosed = true;

  constructor(
    private readonly api: Api,
    userId: string,
    private readonly world: OutboxWorld,
  ) {
    this.key = `cloche.outbox.${userId}`;
    this.messages = new Store(this.read());
  }

  /** What waits is sent from now on, until `close`. */
  open(): void {
    this.isClosed = false;
    addEventListener("storage", this.onStorage);
    addEventListener("online", this.onOnline);
    void this.flush();
  }

  close(): void {
    this.isClosed = true;
    clearTimeout(this.timer);
    removeEventListener("storage", this.onStorage);
    removeEventListener("online", this.onOnline);
  }

  /** Nothing of this person is left in the browser. */
  forget(): void {
    this.write([]);
  }

  /** Calls back when the server has taken a message. */
  whenTaken(callback: (message: Outgoing, answer: AcceptedAnswer) => void): () => void {
    this.onTaken.add(callback);
    return () => this.onTaken.delete(callback);
  }

  /** The message will be sent; it is in the browser's storage before this returns. */
  put(draft: Draft): Outgoing {
    const message: Outgoing = {
      ...draft,
      clientMessageId: crypto.randomUUID(),
      writtenAt: Date.now(),
      state: "waiting",
      refusal: null,
    };
    this.write([...this.read(), message]);
    void this.flush();
    return message;
  }

  /** The refused message is sent once more, as it is or changed. */
  again(clientMessageId: string, change: Partial<Draft> = {}): void {
    this.write(
      this.read().map((one) =>
        one.clientMessageId === clientMessageId
          ? // Another body under the same id would be another message.
            { ...one, ...change, clientMessageId: crypto.randomUUID(), state: "waiting" as const, refusal: null }
          : one,
      ),
    );
    void this.flush();
  }

  discard(clientMessageId: string): void {
    this.write(this.read().filter((one) => one.clientMessageId !== clientMessageId));
  }

  /** Tries now, as when the connection is back. */
  readonly onOnline = (): void => {
    this.backoff.reset();
    void this.flush();
  };

  private async flush(): Promise<void> {
    if (this.isSending) this.isAskedAgain = true;
    if (this.isSending || this.isClosed || !this.world.isOnline()) return;
    this.isSending = true;
    this.isAskedAgain = false;
    clearTimeout(this.timer);
    try {
      const { locks } = this.world;
      if (locks === undefined) await this.sendAll();
      else await locks.request(LOCK, () => this.sendAll());
    } finally {
      this.isSending = false;
    }
    // Somebody may have written between the last look and the end of the lock.
    if (this.isAskedAgain && this.messages.get().some((one) => one.state === "waiting")) await this.flush();
  }

  private async sendAll(): Promise<void> {
    for (;;) {
      const next = this.read().find((one) => one.state === "waiting");
      if (next === undefined || this.isClosed) return;
      try {
        const answer = await this.send(next);
        this.discard(next.clientMessageId);
        this.backoff.reset();
        for (const callback of [...this.onTaken]) callback(next, answer);
      } catch (thrown) {
        const error = asApiError(thrown);
        if (error.status === 401) return;
        if (mayPass(error)) {
          const wait = this.backoff.next((error.retryAfterS ?? 0) * 1000);
          this.timer = setTimeout(() => void this.flush(), wait);
          return;
        }
        this.refuse(next.clientMessageId, error);
      }
    }
  }

  private async send(message: Outgoing): Promise<AcceptedAnswer> {
    const path = message.threadId === null ? "/v1/messages" : `/v1/threads/${message.threadId}/messages`;
    return await this.api.post<AcceptedAnswer>(path, {
      text: message.text,
      client_message_id: message.clientMessageId,
      on_busy: message.onBusy,
      on_pending_approval: message.onPendingApproval,
      ...(message.agent === null ? {} : { agent: message.agent }),
    });
  }

  private refuse(clientMessageId: string, error: ApiError): void {
    const refusal = { code: error.code, message: error.message };
    this.write(
      this.read().map((one) =>
        one.clientMessageId === clientMessageId ? { ...one, state: "refused" as const, refusal } : one,
      ),
    );
  }

  private read(): readonly Outgoing[] {
    const stored = this.stored().filter((one) => !this.unkept.has(one.clientMessageId));
    return [...stored, ...this.unkept.values()].sort((one, other) => one.writtenAt - other.writtenAt);
  }

  private stored(): readonly Outgoing[] {
    try {
      const found: unknown = JSON.parse(this.world.storage?.getItem(this.key) ?? "[]");
      if (!Array.isArray(found)) return [];
      return (found.filter(isRecord) as unknown as Outgoing[]).filter((one) => !this.gone.has(one.clientMessageId));
    } catch {
      return [];
    }
  }

  private write(messages: readonly Outgoing[]): void {
    this.unkept.clear();
    try {
      if (messages.length === 0) this.world.storage?.removeItem(this.key);
      else this.world.storage?.setItem(this.key, JSON.stringify(messages));
    } catch {
      // A full or forbidden storage keeps what it has.
    }
    const ids = new Set(messages.map((one) => one.clientMessageId));
    const stored = new Map<string, string>();
    for (const one of this.stored()) {
      if (ids.has(one.clientMessageId)) stored.set(one.clientMessageId, JSON.stringify(one));
      else this.gone.add(one.clientMessageId);
    }
    for (const one of messages)
      if (stored.get(one.clientMessageId) !== JSON.stringify(one)) this.unkept.set(one.clientMessageId, one);
    this.messages.set(messages);
  }

  private readonly onStorage = (event: StorageEvent): void => {
    if (event.key !== this.key) return;
    this.messages.set(this.read());
    void this.flush();
  };
}

/** Whether waiting may help: the server was not reached, is overloaded or goes away; a refusal for a reason stays one. */
function mayPass(error: ApiError): boolean {
  if (error.status === 0) return error.code === "offline";
  if (error.code === "thread_busy" || error.code === "approval_pending") return false;
  return error.retryable || error.status >= 500;
}

export function outboxWorld(): OutboxWorld {
  let storage: Storage | null = null;
  try {
    storage = localStorage;
    storage.getItem("cloche.outbox");
  } catch {
    storage = null;
  }
  return { storage, locks: navigator.locks, isOnline: () => navigator.onLine };
}
