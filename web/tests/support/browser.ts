import { vi } from "vitest";
import type { BrowserSessionAnswer } from "../../src/client/rest";
import type { Surroundings } from "../../src/client/session";

/** What was asked of the server. */
export interface Asked {
  readonly method: string;
  readonly path: string;
  readonly headers: Record<string, string>;
  readonly body: unknown;
  readonly init: RequestInit;
}

type Answering = (asked: Asked) => Response | Promise<Response>;

export function json(body: unknown, status = 200): Response {
  return new Response(body === null ? "" : JSON.stringify(body), { status });
}

export function refused(status: number, code: string, more: { retryable?: boolean; details?: object } = {}): Response {
  const error = { code, message: `It is ${code}.`, retryable: false, details: {}, request_id: "request_1", ...more };
  return json({ error }, status);
}

/** A server behind `fetch`: what it answers is said for each route; what nobody said is a failure of the test. */
export class FakeServer {
  readonly asked: Asked[] = [];
  isReachable = true;
  private readonly routes = new Map<string, Answering>();

  /** From now on the route, `GET /v1/threads`, answers so; a query does not count. */
  on(route: string, answer: Answering): void {
    this.routes.set(route, answer);
  }

  count(route: string): number {
    return this.of(route).length;
  }

  of(route: string): Asked[] {
    return this.asked.filter((asked) => routeOf(asked) === route);
  }

  readonly fetch = (async (input: RequestInfo | URL, init: RequestInit = {}) => {
    const asked: Asked = {
      method: init.method ?? "GET",
      path: String(input),
      headers: { ...(init.headers as Record<string, string>) },
      body: typeof init.body === "string" ? (JSON.parse(init.body) as unknown) : null,
      init,
    };
    this.asked.push(asked);
    if (!this.isReachable) throw new TypeError("Failed to fetch");
    const answer = this.routes.get(routeOf(asked));
    if (answer === undefined) throw new Error(`nothing was said about ${routeOf(asked)}`);
    return await answer(asked);
  }) as typeof fetch;
}

function routeOf({ method, path }: Asked): string {
  return `${method} ${path.split("?")[0]}`;
}

/** Locks that the tabs of one browser share: one holder at a time, in the order of asking. */
export class FakeLocks {
  private last: Promise<unknown> = Promise.resolve();
  held = 0;

  readonly request = ((_name: string, work: () => Promise<unknown>) => {
    const turn = this.last.then(async () => {
      this.held += 1;
      try {
        return await work();
      } finally {
        this.held -= 1;
      }
    });
    this.last = turn.catch(() => undefined);
    return turn;
  }) as LockManager["request"];

  query(): Promise<LockManagerSnapshot> {
    return Promise.resolve({});
  }
}

/** The channel of one browser; each tab has its own end, and hears the others. */
export class FakeChannel {
  private readonly ends: FakeChannelEnd[] = [];

  end(): BroadcastChannel {
    const end = new FakeChannelEnd(this.ends);
    this.ends.push(end);
    return end as unknown as BroadcastChannel;
  }
}

class FakeChannelEnd extends EventTarget {
  constructor(private readonly ends: readonly FakeChannelEnd[]) {
    super();
  }

  postMessage(data: unknown): void {
    for (const end of this.ends) {
      if (end !== this) queueMicrotask(() => end.dispatchEvent(new MessageEvent("message", { data })));
    }
  }
}

/** A browser's storage. What is written into it is kept for the test to look at, also after it was removed. */
export class FakeStorage {
  readonly kept = new Map<string, string>();
  readonly written: string[] = [];
  isFull = false;
  isForbidden = false;

  readonly getItem = (key: string): string | null => {
    this.look();
    return this.kept.get(key) ?? null;
  };

  readonly setItem = (key: string, value: string): void => {
    this.look();
    if (this.isFull) throw new DOMException("full", "QuotaExceededError");
    this.written.push(value);
    this.kept.set(key, value);
  };

  readonly removeItem = (key: string): void => {
    this.look();
    this.kept.delete(key);
  };

  private look(): void {
    if (this.isForbidden) throw new DOMException("forbidden", "SecurityError");
  }
}

export class FakeSocket extends EventTarget {
  readonly said: Record<string, unknown>[] = [];
  readyState: number = WebSocket.CONNECTING;
  closedWith: number | undefined;

  constructor(readonly protocols: readonly string[]) {
    super();
  }

  send(text: string): void {
    if (this.readyState !== WebSocket.OPEN) throw new DOMException("not open", "InvalidStateError");
    this.said.push(JSON.parse(text) as Record<string, unknown>);
  }

  /** As a browser does: the end of the line is told later, once the other side has said so. */
  close(code?: number): void {
    this.closedWith = code ?? 1005;
    this.readyState = WebSocket.CLOSING;
  }

  // What the other side does

  hears(frame: unknown): void {
    this.readyState = WebSocket.OPEN;
    const data = typeof frame === "string" ? frame : JSON.stringify(frame);
    this.dispatchEvent(new MessageEvent("message", { data }));
  }

  ready(): void {
    this.hears({
      notice: "connection_ready",
      websocket_id: "websocket_1",
      user_id: "user_1",
      heartbeat_s: 20,
      limits: {},
    });
  }

  ends(code: number, reason = ""): void {
    this.readyState = WebSocket.CLOSED;
    this.dispatchEvent(Object.assign(new Event("close"), { code, reason }));
  }

  /** What was asked of the server, without what the answers are told apart by. */
  get operations(): Record<string, unknown>[] {
    return this.said.map(({ ref: _ref, ...operation }) => operation);
  }
}

export class FakeEventSource extends EventTarget {
  static readonly CONNECTING = 0;
  static readonly OPEN = 1;
  static readonly CLOSED = 2;
  readyState: number = FakeEventSource.CONNECTING;

  constructor(readonly path: string) {
    super();
  }

  close(): void {
    this.readyState = FakeEventSource.CLOSED;
  }

  // What the other side does

  opens(): void {
    this.readyState = FakeEventSource.OPEN;
    this.dispatchEvent(new Event("open"));
  }

  says(data: unknown, type = "message"): void {
    const text = typeof data === "string" ? data : JSON.stringify(data);
    this.dispatchEvent(new MessageEvent(type, { data: text }));
  }

  /** The browser gives up, as after a refusal. */
  fails(): void {
    this.readyState = FakeEventSource.CLOSED;
    this.dispatchEvent(new Event("error"));
  }

  /** The line was cut, and the browser comes back by itself. */
  stumbles(): void {
    this.readyState = FakeEventSource.CONNECTING;
    this.dispatchEvent(new Event("error"));
  }
}

// What is missing in the environment of the tests is in every browser.
if (!("EventSource" in globalThis)) Object.assign(globalThis, { EventSource: FakeEventSource });

export function person(change: Partial<BrowserSessionAnswer> = {}, name = "ann"): BrowserSessionAnswer {
  return {
    user: {
      id: `user_${name}`,
      tenant_id: "tenant_1",
      email: `${name}@example.org`,
      name,
      role: "member",
      status: "active",
      created_at: "2031-01-01T00:00:00Z",
    },
    session_id: `session_${name}`,
    permissions: [],
    csrf_token: `csrf-${name}`,
    expires_in: 600,
    ...change,
  };
}

/** A browser with its server: each `tab` of it has its own end of the channel. */
export class FakeBrowser {
  readonly server = new FakeServer();
  readonly locks = new FakeLocks();
  readonly channel = new FakeChannel();

  tab(less: Partial<Surroundings> = {}): Surroundings {
    return {
      fetch: this.server.fetch,
      locks: this.locks as unknown as LockManager,
      channel: this.channel.end(),
      ...less,
    };
  }
}

/** So much time passes, and whatever follows from it happens. */
export async function pass(ms = 0): Promise<void> {
  await vi.advanceTimersByTimeAsync(ms);
}

/** The page is looked at, or is behind another one. */
export function look(isVisible: boolean): void {
  const state = isVisible ? "visible" : "hidden";
  Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}
