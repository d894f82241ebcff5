import { isRecord } from "./errors";
import type { Following } from "./follow";
import type { Event, StreamClosed, StreamOpened } from "./live";
import type { BrowserSession } from "./session";

interface Open {
  source: EventSource;
  timer: ReturnType<typeof setTimeout> | undefined;
}

const AGAIN_MS = 2_000;

/** Event streams over plain HTTP, one for each followed thread: what is left where sockets do not pass. */
export class EventStreams {
  isOn = false;
  private readonly streams = new Map<Following, Open>();

  constructor(
    private readonly make: (path: string) => EventSource,
    private readonly session: BrowserSession,
    private readonly onOpen: () => void,
  ) {}

  open(followed: readonly Following[]): void {
    this.isOn = true;
    for (const following of followed) this.follow(following);
  }

  follow(following: Following): void {
    this.leave(following);
    const { threadId, position, epoch } = following;
    const query = new URLSearchParams({ after: String(position), ...(epoch === null ? {} : { epoch: String(epoch) }) });
    const source = this.make(`/v1/threads/${threadId}/events?${query.toString()}`);
    this.streams.set(following, { source, timer: undefined });
    source.addEventListener("open", () => this.onOpen());
    source.addEventListener("stream_opened", (event) => {
      const opened = parsed(event.data);
      if (isRecord(opened)) following.opened(opened as unknown as StreamOpened);
    });
    source.addEventListener("stream_closed", (event) => {
      const closed = parsed(event.data);
      this.leave(following);
      if (isRecord(closed)) void this.ended(following, closed as unknown as StreamClosed);
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

  private again(following: Following): void {
    const open = this.streams.get(following);
    if (open === undefined) return;
    open.timer = setTimeout(() => {
      void this.session.refresh().then(
        (goesOn) => {
          if (goesOn && this.streams.get(following) === open) this.follow(following);
        },
        () => {
          if (this.streams.get(following) === open) this.again(following);
        },
      );
    }, AGAIN_MS);
  }

  private async ended(following: Following, closed: StreamClosed): Promise<void> {
    const code = closed.error.code;
    if (code === "token_expired" || code === "session_revoked") {
      if (await this.session.refresh()) this.follow(following);
    } else {
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
