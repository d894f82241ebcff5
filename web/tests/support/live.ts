import { Api } from "../../src/client/api";
import { type Link, LiveConnection } from "../../src/client/connection";
import type { Follower } from "../../src/client/follow";
import type { Event, StreamClosed, StreamOpened } from "../../src/client/live";
import { BrowserSession } from "../../src/client/session";
import { FakeBrowser, FakeEventSource, FakeSocket, json, pass, person } from "./browser";
import { log, of } from "./story";

export const TICKETS = "POST /v1/ws-tickets";

/** A page of somebody who is signed in, with its one live connection and everything that this connection makes. */
export class LivePage {
  readonly browser = new FakeBrowser();
  readonly session = new BrowserSession(this.browser.tab());
  readonly api = new Api(this.session, this.browser.server.fetch);
  readonly sockets: FakeSocket[] = [];
  readonly sources: FakeEventSource[] = [];
  readonly links: Link[] = [];
  isOnline = true;
  /** What stands for chance in pauses. */
  chance = 1;
  readonly live = new LiveConnection(this.api, this.session, {
    socket: (protocols) => {
      const socket = new FakeSocket(protocols);
      this.sockets.push(socket);
      return socket as unknown as WebSocket;
    },
    events: (path) => {
      const source = new FakeEventSource(path);
      this.sources.push(source);
      return source as unknown as EventSource;
    },
    isOnline: () => this.isOnline,
    random: () => this.chance,
  });

  async signIn(): Promise<void> {
    const { server } = this.browser;
    server.on("GET /v1/browser-session", () => json(person()));
    server.on(TICKETS, () => json({ ticket: `t${server.count(TICKETS)}` }));
    await this.session.open();
    this.live.link.subscribe(() => this.links.push(this.live.link.get()));
  }

  /** There is a connection, and operations are taken. */
  async connect(): Promise<void> {
    this.live.open();
    await pass();
    this.socket().ready();
  }

  /** Three sockets did not open, as behind a proxy that lets none through. */
  async connectInVain(): Promise<void> {
    this.live.open();
    await pass();
    for (let times = 0; times < 3; times += 1) {
      this.socket().ends(1006);
      await pass(2_000);
    }
  }

  /** The last socket, or one of those before. */
  socket(at = this.sockets.length - 1): FakeSocket {
    const found = this.sockets[at];
    if (found === undefined) throw new Error(`there is no socket ${at}`);
    return found;
  }

  /** What the last socket was asked for, besides to watch. */
  asked(): Record<string, unknown>[] {
    return this.socket().operations.filter((one) => one["op"] !== "watch");
  }
}

/** Somebody who follows, and remembers what was told. */
export class Told implements Follower {
  readonly all: string[] = [];
  opened(opened: StreamOpened): void {
    this.all.push(`opened ${opened.from_seq} ${opened.recovered ? "recovered" : "lost"}`);
  }
  events(events: readonly Event[]): void {
    this.all.push(events.map((event) => event.seq).join(","));
  }
  closed(closed: StreamClosed): void {
    this.all.push(`closed ${closed.error.code}`);
  }
}

/** So many events after a position. */
export const events = (after: number, count: number): Event[] =>
  log(
    Array.from({ length: count }, () => of().delta("x")),
    after,
  );

export const frame = (after: number, count: number) => ({ events: events(after, count) });
