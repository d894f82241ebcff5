import type { Api } from "./api";
import { isRecord } from "./errors";
import type { Event } from "./live";

/** All events of a run that has ended, in order; rejects with an `ApiError` when the log no longer reaches back to it. */
export async function runEvents(api: Api, runId: string): Promise<Event[]> {
  const text = await api.text(`/v1/runs/${runId}/events`);
  const events: Event[] = [];
  for (const block of text.split("\n\n")) {
    const lines = block.split("\n");
    // Only the events themselves have no name of their own on the stream.
    if (lines.some((line) => line.startsWith("event:"))) continue;
    const data = lines.find((line) => line.startsWith("data:"));
    const event: unknown = data === undefined ? null : JSON.parse(data.slice("data:".length));
    if (isRecord(event) && event["run_id"] === runId) events.push(event as unknown as Event);
  }
  return events;
}
