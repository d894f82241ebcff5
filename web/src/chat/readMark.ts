import type { Api } from "../client/api";
import type { OpenThread } from "./openThread";

const PAUSE_MS = 800;

/** Tells the server how far the person has read: as far as the page shows, while somebody looks at it. */
export class ReadMark {
  private told = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private stop: (() => void) | null = null;

  constructor(
    private readonly api: Api,
    private readonly open_: OpenThread,
  ) {}

  open(): void {
    this.stop = this.open_.view.subscribe(this.soon);
    document.addEventListener("visibilitychange", this.soon);
    this.soon();
  }

  close(): void {
    this.stop?.();
    document.removeEventListener("visibilitychange", this.soon);
    clearTimeout(this.timer);
    void this.tell();
  }

  private readonly soon = (): void => {
    if (this.timer !== undefined) return;
    this.timer = setTimeout(() => {
      this.timer = undefined;
      void this.tell();
    }, PAUSE_MS);
  };

  private async tell(): Promise<void> {
    const { position } = this.open_.view.get();
    if (position <= this.told || document.visibilityState !== "visible") return;
    const before = this.told;
    this.told = position;
    try {
      await this.api.post(`/v1/threads/${this.open_.threadId}/read`, { seq: position });
    } catch {
      // A mark that was not set is set with the next event, or when the thread is opened again.
      this.told = before;
    }
  }
}
