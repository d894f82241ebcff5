import type { Query } from "../client/api";
import type { ExecutionState, RunOrder } from "../client/rest";

export const LIVE_STATES = ["pending", "starting", "running", "waiting", "completing", "cancelling"] as const;
export const END_STATES = ["completed", "failed", "timeout", "dead", "cancelled"] as const;
const STATES: readonly ExecutionState[] = [...LIVE_STATES, ...END_STATES];

/** Which runs are shown, and in which order. `live` is null for both those that are over and those that are not. */
export interface RunFilters {
  readonly states: readonly ExecutionState[];
  readonly live: boolean | null;
  readonly agent: string;
  readonly userId: string;
  readonly order: RunOrder;
}

export function isLiveState(state: ExecutionState): boolean {
  return (LIVE_STATES as readonly string[]).includes(state);
}

/** What an address asks for: live runs, stuck first, unless it says otherwise. What it should not say is passed over. */
export function filtersOf(query: URLSearchParams): RunFilters {
  const wanted = (query.get("state") ?? "").split(",");
  const states = STATES.filter((state) => wanted.includes(state));
  const live = states.length > 0 ? null : liveOf(query.get("live"));
  const order = mayOrder({ states, live }) && query.get("order") !== "newest" ? "stuck" : "newest";
  return { states, live, agent: query.get("agent") ?? "", userId: query.get("user") ?? "", order };
}

function liveOf(word: string | null): boolean | null {
  return word === "all" ? null : word !== "false";
}

/** Whether there is a choice of order: only what is live can be stuck. */
export function mayOrder(filters: Pick<RunFilters, "states" | "live">): boolean {
  return filters.states.length > 0 ? filters.states.every(isLiveState) : filters.live === true;
}

/** The query of the address that asks for these; what goes without saying is left out. */
export function queryOf(filters: RunFilters): Record<string, string> {
  const { states, live, agent, userId, order } = filters;
  return {
    ...(states.length === 0 ? {} : { state: states.join(",") }),
    ...(states.length > 0 || live === true ? {} : { live: live === null ? "all" : "false" }),
    ...(agent === "" ? {} : { agent }),
    ...(userId === "" ? {} : { user: userId }),
    ...(order === "newest" && mayOrder(filters) ? { order } : {}),
  };
}

/** The same as the server's route takes it. */
export function routeQuery(filters: RunFilters, limit: number, cursor: string | null): Query {
  const { states, live, agent, userId, order } = filters;
  return { state: states, live, agent, user_id: userId, order, limit, cursor };
}

/** With the state when it was not asked for, without it when it was; what is live and what is over are not mixed. */
export function toggled(filters: RunFilters, state: ExecutionState): RunFilters {
  const has = filters.states.includes(state);
  const alike = filters.states.filter((one) => isLiveState(one) === isLiveState(state));
  const states = has ? alike.filter((one) => one !== state) : [...alike, state];
  return again({ ...filters, states, live: states.length > 0 ? null : isLiveState(state) });
}

/** Every run, those that are not over, or those that are. */
export function withLive(filters: RunFilters, live: boolean | null): RunFilters {
  return again({ ...filters, states: [], live });
}

function again(filters: RunFilters): RunFilters {
  return filtersOf(new URLSearchParams(queryOf({ ...filters, order: "stuck" })));
}

/** The id of a run somewhere in a text that was pasted; null when there is none. */
export function runIdIn(text: string): string | null {
  return /(?:[a-z][a-z0-9_]{0,30}_)?run_[0-7][0-9a-hjkmnp-tv-z]{25}/.exec(text.trim().toLowerCase())?.[0] ?? null;
}
