import type { Api } from "./api";
import { Backoff } from "./backoff";
import { Store } from "./emitter";
import { asApiError } from "./errors";
import { type Follower, Following } from "./follow";
import type { ConnectionReady, StreamClosed, StreamOpened } from "./live";
import type { TicketAnswer } from "./rest";
import type { BrowserSession } from "./session";
import { type Frame, type Notice, readFrame, verdictOf } from "./socket";
import { EventStreams } from "./streams";

const SUBPROTOCOL = "cloche.v1";
/** What a browser tells where the line ended without a word. */
const NO_CLOSE_FRAME = 1006;
/** Silence after which the connection is tried, and how long an answer may take then. */
const QUIET_MS = 25_000;
const ANSWER_MS = 8_000;
const OPEN_MS = 10_000;
/** Sockets that fail before they ever opened, after which event streams over HTTP take their place. */
const FAILURES_BEFORE_STREAMS = 3;
const SOCKET_AGAIN_MS = 120_000;
/** Until a thread that could not be followed just now is tried again. */
const SUBSCRIBE_AGAIN_MS = 2_000;

export type Link =
  | { readonly state: "connecting" }
  | { readonly state: "open"; readonly by: "socket" | "streams" }
  | { readonly state: "waiting"; readonly until: number; readonly why: string }
  | { readonly state: "offline" }
  | { readonly state: "stopped"; readonly why: string };

/** What a page needs of the world for a live connection, so that a test can bring its own. */
export interface Wires {
  readonly socket: (protocols: string[]) => WebSocket;
  readonly events: (path: string) => EventSource;
  readonly isOnline: () => boolean;
  readonly random: () => number;
}

export function wires(): Wires {
  return {
    socket: (protocols) => new WebSocket(new URL("/v1/ws", location.href.replace(/^http/, "ws")), protocols),
    events: (path) => new EventSource(path),
    isOnline: () => navigator.onLine,
    random: Math.random,
  };
}

/**
 * The page's one live connection. It comes back by itself with the positions of what it follows, obeys close codes,
 * notices a line that died in silence, and falls back to event streams where sockets do not pass.
 */
export class LiveConnection {
  readonly link = new Store<Link>({ state: "connecting" });
  private readonly followed = new Map<string, Following>();
  private readonly onNotice = new Set<(notice: Notice) => void>();
  private readonly backoff: Backoff;
  private readonly streams: EventStreams;
  private socket: WebSocket | null = null;
  private isReady = false;
  private failures = 0;
  private refs = 0;
  private generation = 0;
  private timers = new Set<ReturnType<typeof setTimeout>>();
  private quiet: ReturnType<typeof setTimeout> | undefined;
  private isClosed = true;

  constructor(
    private readonly api: Api,
    private readonly session: BrowserSession,
    private readonly around: Wires = wires(),
  ) {
    this.backoff = new Backoff(500, 20_000, around.random);
    const opened = (): void => this.link.set({ state: "open", by: "streams" });
    this.streams = new EventStreams(around.events, session, opened, around.random);
  }

  /** The connection is kept from now on, until `close`. */
  open(): void {
    if (!this.isClosed) return;
    this.isClosed = false;
    addEventListener("online", this.onOnline);
    addEventListener("offline", this.onOffline);
    document.addEventListener("visibilitychange", this.onVisible);
    void this.connect();
  }

  close(): void {
    this.isClosed = true;
    this.generation += 1;
    removeEventListener("online", this.onOnline);
    removeEventListener("offline", this.onOffline);
    document.removeEventListener("visibilitychange", this.onVisible);
    this.forgetTimers();
    this.streams.close();
    this.dropSocket();
  }

  /** The thread is followed after that position until the returned function is called. */
  follow(
    threadId: string,
    follower: Follower,
    position: number | null = null,
    epoch: number | null = null,
  ): () => void {
    const following = new Following(threadId, follower, position, epoch);
    const before = this.followed.get(threadId);
    if (before !== undefined) this.streams.leave(before);
    this.followed.set(threadId, following);
    if (this.isReady) this.subscribe(following);
    else if (this.streams.isOn) this.streams.follow(following);
    return () => {
      if (this.followed.get(threadId) !== following) return;
      this.followed.delete(threadId);
      this.streams.leave(following);
      if (this.isReady) this.say({ op: "unsubscribe", thread_id: threadId });
    };
  }

  /** Calls back with everything that the server says besides events, and after each (re)connection. */
  listen(callback: (notice: Notice) => void): () => void {
    this.onNotice.add(callback);
    return () => this.onNotice.delete(callback);
  }

  /** Tries at once, as when a person asks for it. */
  retry(): void {
    if (this.isReady || this.isClosed) return;
    this.backoff.reset();
    this.forgetTimers();
    this.dropSocket();
    void this.connect();
  }

  private async connect(): Promise<void> {
    const generation = ++this.generation;
    if (!this.around.isOnline()) {
      this.link.set({ state: "offline" });
      return;
    }
    if (!this.streams.isOn) this.link.set({ state: "connecting" });
    let ticket: string;
    try {
      ticket = (await this.api.post<TicketAnswer>("/v1/ws-tickets")).ticket;
    } catch (thrown) {
      const error = asApiError(thrown);
      if (generation !== this.generation || this.session.who === null) return;
      if (error.retryable || error.status === 0 || error.status >= 500) this.comeBack(error.message, error.retryAfterS);
      else this.link.set({ state: "stopped", why: error.message });
      return;
    }
    if (generation !== this.generation) return;
    this.openSocket(ticket, generation);
  }

  private openSocket(ticket: string, generation: number): void {
    const socket = this.around.socket([SUBPROTOCOL, `ticket.${ticket}`]);
    this.socket = socket;
    // A browser may take minutes to say that a line is dead; it is let go at once.
    const patience = this.later(OPEN_MS, () => {
      if (generation === this.generation && !this.isReady) void this.lost(NO_CLOSE_FRAME, "no answer");
    });
    socket.addEventListener("message", (message: MessageEvent<unknown>) => {
      if (generation !== this.generation || typeof message.data !== "string") return;
      this.heard();
      this.receive(readFrame(message.data));
    });
    socket.addEventListener("close", (event) => {
      clearTimeout(patience);
      if (generation === this.generation) void this.lost(event.code, event.reason);
    });
  }

  private receive(frame: Frame): void {
    switch (frame.kind) {
      case "events": {
        const threadId = frame.events[0]?.thread_id;
        const following = threadId === undefined ? undefined : this.followed.get(threadId);
        // A gap cannot come from this server; should one come all the same, the stream is opened again, not guessed.
        if (following !== undefined && !following.take(frame.events)) this.subscribe(following);
        break;
      }
      case "notice":
        this.told(frame.notice);
        break;
      case "answer":
        if (frame.refused !== null) this.refusedSubscription(frame.ref, frame.refused.error);
        break;
      case "unknown":
        break;
    }
  }

  private told(notice: Notice): void {
    switch (notice.notice) {
      case "connection_ready":
        this.ready(notice as ConnectionReady);
        break;
      case "stream_opened": {
        const opened = notice as StreamOpened;
        this.followed.get(opened.thread_id)?.opened(opened);
        break;
      }
      case "stream_closed": {
        const closed = notice as StreamClosed;
        const following = this.followed.get(closed.thread_id);
        this.followed.delete(closed.thread_id);
        following?.follower.closed(closed);
        break;
      }
    }
    for (const callback of [...this.onNotice]) callback(notice);
  }

  private ready(_ready: ConnectionReady): void {
    this.isReady = true;
    this.failures = 0;
    this.backoff.reset();
    this.streams.close();
    this.link.set({ state: "open", by: "socket" });
    this.say({ op: "watch" });
    for (const following of this.followed.values()) this.subscribe(following);
  }

  private subscribe(following: Following): void {
    const { threadId, position, epoch } = following;
    this.say({ op: "subscribe", thread_id: threadId, after: position, ...(epoch === null ? {} : { epoch }) }, threadId);
  }

  private refusedSubscription(ref: string, error: StreamClosed["error"]): void {
    const threadId = ref.split(" ")[1];
    const following = threadId === undefined ? undefined : this.followed.get(threadId);
    if (threadId === undefined || following === undefined) return;
    if (error.retryable) {
      this.later(SUBSCRIBE_AGAIN_MS, () => {
        if (this.isReady && this.followed.get(threadId) === following) this.subscribe(following);
      });
      return;
    }
    this.told({ notice: "stream_closed", thread_id: threadId, error } as StreamClosed);
  }

  private say(operation: Record<string, unknown>, about = ""): void {
    this.refs += 1;
    this.socket?.send(JSON.stringify({ ...operation, ref: about === "" ? `${this.refs}` : `${this.refs} ${about}` }));
  }

  private async lost(code: number, reason: string): Promise<void> {
    const wasReady = this.isReady;
    this.dropSocket();
    if (this.isClosed) return;
    if (!wasReady && code === NO_CLOSE_FRAME) this.failures += 1;
    const generation = this.generation;
    switch (verdictOf(code)) {
      case "sign_in":
      case "refresh":
        try {
          const goesOn = await this.session.refresh();
          // At once, but for a server that refuses what it has just given.
          if (goesOn && generation === this.generation) this.comeBack("", null, wasReady ? 0 : undefined);
        } catch (thrown) {
          if (generation === this.generation) this.comeBack(asApiError(thrown).message, null);
        }
        break;
      case "stop":
        this.link.set({ state: "stopped", why: reason === "" ? `code ${code}` : reason });
        break;
      case "come_back":
        if (this.failures >= FAILURES_BEFORE_STREAMS) this.takeStreams();
        else this.comeBack(reason, null);
        break;
    }
  }

  private takeStreams(): void {
    if (!this.streams.isOn) this.streams.open([...this.followed.values()]);
    if (this.followed.size === 0) this.link.set({ state: "open", by: "streams" });
    this.later(SOCKET_AGAIN_MS, () => void this.connect());
  }

  private comeBack(
    why: string,
    retryAfterS: number | null,
    waitMs = this.backoff.next((retryAfterS ?? 0) * 1000),
  ): void {
    if (this.isClosed) return;
    if (!this.around.isOnline()) {
      this.link.set({ state: "offline" });
      return;
    }
    if (this.streams.isOn) {
      this.later(SOCKET_AGAIN_MS, () => void this.connect());
      return;
    }
    this.link.set({ state: "waiting", until: Date.now() + waitMs, why });
    this.later(waitMs, () => void this.connect());
  }

  /** The line lives. After a while of silence it is asked to show it. */
  private heard(): void {
    clearTimeout(this.quiet);
    if (!this.isClosed) this.quiet = setTimeout(() => this.probe(ANSWER_MS), QUIET_MS);
  }

  private probe(patienceMs: number): void {
    if (!this.isReady) return;
    this.say({ op: "ping" });
    clearTimeout(this.quiet);
    this.quiet = setTimeout(() => {
      this.dropSocket();
      this.comeBack("no answer", null, 0);
    }, patienceMs);
  }

  private dropSocket(): void {
    clearTimeout(this.quiet);
    this.isReady = false;
    const socket = this.socket;
    this.socket = null;
    this.generation += 1;
    if (socket !== null && socket.readyState <= WebSocket.OPEN) socket.close(1000);
  }

  private later(ms: number, act: () => void): ReturnType<typeof setTimeout> {
    const timer = setTimeout(() => {
      this.timers.delete(timer);
      act();
    }, ms);
    this.timers.add(timer);
    return timer;
  }

  private forgetTimers(): void {
    for (const timer of this.timers) clearTimeout(timer);
    this.timers.clear();
    clearTimeout(this.quiet);
  }

  private readonly onOnline = (): void => this.retry();

  private readonly onOffline = (): void => {
    if (this.isReady) this.probe(1_500);
    else this.link.set({ state: "offline" });
  };

  private readonly onVisible = (): void => {
    if (document.visibilityState !== "visible") return;
    if (this.isReady) this.probe(3_000);
    else if (this.link.get().state === "waiting") this.retry();
  };
}
