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
  private isLost = false;

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
    this.isLost = false;
    this.follower.opened(opened);
  }

  /**
   * The events that are new go to the follower. False when one is missing before them, and the stream must be opened
   * again: until it is, nothing goes to the follower.
   */
  take(events: readonly Event[]): boolean {
    if (this.isLost) return true;
    const fresh: Event[] = [];
    let { position } = this;
    for (const event of events) {
      if (event.seq <= position) continue;
      if (event.seq !== position + 1) {
        this.isLost = true;
        break;
      }
      position = event.seq;
      fresh.push(event);
    }
    this.position = position;
    if (fresh.length > 0) this.follower.events(fresh);
    return !this.isLost;
  }
}
