import type { Api } from "../client/api";
import type { MemberEventAnswer, MemberEventPage, RunStoryAnswer } from "../client/rest";

/** A run as an operator sees it: how it stands, and the events that its log has. */
export interface StoryOfRun {
  readonly story: RunStoryAnswer;
  readonly events: readonly MemberEventAnswer[];
  readonly isTrimmed: boolean;
  readonly isCut: boolean;
}

const PAGE = 100;
const MOST_EVENTS = 20_000;

/** Reads a run again and again: of its events only those that are new. One reader is for one run. */
export class StoryReader {
  private events: readonly MemberEventAnswer[] = [];
  private isTrimmed = false;

  constructor(
    private readonly api: Api,
    private readonly runId: string,
  ) {}

  readonly read = async (signal: AbortSignal): Promise<StoryOfRun> => {
    const path = `/v1/admin/runs/${encodeURIComponent(this.runId)}`;
    const story = await this.api.get<RunStoryAnswer>(path, {}, signal);
    let after: number | null = this.events[this.events.length - 1]?.seq ?? 0;
    while (after !== null && this.events.length < MOST_EVENTS) {
      const page: MemberEventPage = await this.api.get(`${path}/events`, { after, limit: PAGE }, signal);
      if (after === 0) this.isTrimmed = page.trimmed;
      if (page.items.length > 0) this.events = [...this.events, ...page.items];
      after = page.next_after;
    }
    return { story, events: this.events, isTrimmed: this.isTrimmed, isCut: after !== null };
  };
}
