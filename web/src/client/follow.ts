import type { Event, StreamClosed, StreamOpened } from "./live";

/** What somebody who follows a thread is told, in order and without a gap. */
export interface Follower {
  /** Where the stream stands: exactly what was missed follows, or a snapshot stands for what is gone. */
  opened(opened: StreamOpened): void;
  events(events: readonly Event[]): void;
  /** The thread is followed no more: it was deleted, or may not be read. */
  closed(closed: StreamClosed): void;
}

/** One followed thread: where it stands, and the guard that lets through each event once and in its order. */
export class Following {
  position: number;
  epoch: number | null;

  constructor(
    readonly threadId: string,
    readonly follower: Follower,
    position: number | null = null,
    epoch: number | null = null,
  ) {
    this.position = position ?? 0;
    this.epoch = epoch;
  }

  opened(opened: StreamOpened): void {
    this.position = opened.from_seq - 1;
    this.epoch = opened.epoch;
    this.follower.opened(opened);
  }

  /** The events that are new; false when one is missing before them, and the stream must be opened again. */
  take(events: readonly Event[]): boolean {
    const fresh = events.filter((event) => event.seq > this.position);
    if (fresh.length === 0) return true;
    const first = fresh[0];
    if (first === undefined || first.seq !== this.position + 1) return false;
    this.position = fresh[fresh.length - 1]?.seq ?? this.position;
    this.follower.events(fresh);
    return true;
  }
}
