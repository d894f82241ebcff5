import type { MemberRunAnswer } from "../client/rest";
import { isLiveState } from "./runFilters";

const SLOW_MS = 30_000;
const STUCK_MS = 120_000;

export type Stillness = "over" | "moving" | "waiting" | "slow" | "stuck";

type Moving = Pick<
  MemberRunAnswer,
  "state" | "state_since" | "last_event" | "lease_until" | "deadline_at" | "created_at" | "age_s"
>;

/** How far the server's clock is ahead of this browser's, by an answer that was read then. */
export function skewOf(run: Pick<MemberRunAnswer, "created_at" | "age_s">, readAt: number): number {
  return Date.parse(run.created_at) + run.age_s * 1000 - readAt;
}

/** When something happened to the run last: an event of its own, or another state. */
export function movedAt(run: Pick<Moving, "state_since" | "last_event">): number {
  const since = Date.parse(run.state_since);
  return run.last_event === null ? since : Math.max(since, Date.parse(run.last_event.at));
}

/** Whether a run moves as it should. `now` is by the server's clock. Who waits for a person does not have to move. */
export function stillnessOf(run: Moving, now: number): Stillness {
  if (!isLiveState(run.state)) return "over";
  if (run.deadline_at !== null && Date.parse(run.deadline_at) < now && run.state !== "waiting") return "stuck";
  if (run.state === "waiting") return "waiting";
  if (run.lease_until !== null && run.state !== "pending" && Date.parse(run.lease_until) < now) return "stuck";
  const quiet = now - movedAt(run);
  if (quiet >= STUCK_MS) return "stuck";
  return quiet >= SLOW_MS ? "slow" : "moving";
}

/** Why a run is marked, in words; empty when it is not. */
export function whyMarked(run: Moving, now: number): string {
  if (!["slow", "stuck"].includes(stillnessOf(run, now))) return "";
  if (run.deadline_at !== null && Date.parse(run.deadline_at) < now) return "past its deadline";
  if (run.lease_until !== null && run.state !== "pending" && Date.parse(run.lease_until) < now)
    return "its worker's lease is over";
  return run.state === "pending" ? "no worker has taken it" : "nothing happens";
}
