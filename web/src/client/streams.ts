import { Backoff } from "./backoff";
import { isRecord } from "./errors";
import type { Following } from "./follow";
import type { Event, StreamClosed, StreamOpened } from "./live";
import type { BrowserSession } from "./session";

interface Open {
  readonly source: EventSource;
  /** Of all sources of the thread, one after the other. */
  readonly backoff: Backoff;
  timer: ReturnType<typeof setTimeout> | undefined;
}

const AGAIN_MS = 2_000;
const LONGEST_MS = 60_000;

/** Event streams over plain HTTP, one for each followed thread: what is left where sockets do not pass. */
export class EventStreams {
  isOn = false;
  private readonly streams = new Map<Following, Open>();

  constructor(
    private readonly make: (path: string) => EventSource,
    private readonly session: BrowserSession,
    private readonly onOpen: () => void,
    private readonly random: () => number = Math.random,
  ) {}

  open(followed: readonly Following[]): void {
    this.isOn = true;
    for (const following of followed) this.follow(following);
  }

  follow(following: Following): void {
    const backoff = this.streams.get(following)?.backoff ?? new Backoff(AGAIN_MS, LONGEST_MS, this.random);
    this.leave(following);
    const { threadId, position, epoch } = following;
    const query = new URLSearchParams({ after: String(position), ...(epoch === null ? {} : { epoch: String(epoch) }) });
    const source = this.make(`/v1/threads/${threadId}/events?${query.toString()}`);
    this.streams.set(following, { source, backoff, timer: undefined });
    source.addEventListener("open", () => this.onOpen());
    source.addEventListener("stream_opened", (event) => {
      const opened = parsed(event.data);
      backoff.reset();
      if (isRecord(opened)) following.opened(opened as unknown as StreamOpened);
    });
    source.addEventListener("stream_closed", (event) => {
      const closed = parsed(event.data);
      // Or the browser would come back by itself.
      source.close();
      if (isRecord(closed)) this.ended(following, closed as unknown as StreamClosed);
    });
    source.addEventListener("message", (event: MessageEvent<string>) => this.take(following, event.data));
    source.addEventListener("error", () => {
      // The browser comes back by itself after a cut; not after a refusal, such as an access token that has ended.
      if (source.readyState === EventSource.CLOSED) this.again(following);
    });
  }

  leave(following: Following): void {
    const open = this.streams.get(following);
    clearTimeout(open?.timer);
    open?.source.close();
    this.streams.delete(following);
  }

  close(): void {
    this.isOn = false;
    for (const following of [...this.streams.keys()]) this.leave(following);
  }

  private take(following: Following, data: string): void {
    const event = parsed(data);
    if (isRecord(event) && !following.take([event as unknown as Event])) this.follow(following);
  }

  /** The stream is opened again after a while, while it is still wanted and the session goes on. */
  private again(following: Following): void {
    const open = this.streams.get(following);
    if (open === undefined) return;
    clearTimeout(open.timer);
    open.timer = setTimeout(() => {
      void this.session.refresh().then(
        (goesOn) => {
          if (goesOn && this.streams.get(following) === open) this.follow(following);
        },
        () => {
          if (this.streams.get(following) === open) this.again(following);
        },
      );
    }, open.backoff.next());
  }

  private ended(following: Following, closed: StreamClosed): void {
    const { code, retryable } = closed.error;
    if (retryable || code === "session_revoked") {
      this.again(following);
    } else {
      this.leave(following);
      following.follower.closed(closed);
    }
  }
}

function parsed(data: unknown): unknown {
  try {
    return typeof data === "string" ? (JSON.parse(data) as unknown) : null;
  } catch {
    return null;
  }
}
