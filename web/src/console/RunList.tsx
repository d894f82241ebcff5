import { useCallback, useMemo, useState } from "react";
import { useParts } from "../app/parts";
import { move, paths } from "../app/routes";
import type { MemberRunAnswer, MemberRunPage } from "../client/rest";
import { Trouble } from "../ui/Trouble";
import { usePolled } from "../ui/usePolled";
import { RunFilterBar } from "./RunFilterBar";
import { RunTable } from "./RunTable";
import { filtersOf, queryOf, type RunFilters, routeQuery } from "./runFilters";
import { skewOf } from "./stillness";
import { WatchState } from "./WatchState";
import { pauseOf, useWatching } from "./watching";

const EVERY_MS = 2_000;
const PAGE = 50;

interface Found {
  readonly items: readonly MemberRunAnswer[];
  readonly live: Readonly<Record<string, number>>;
  readonly hasMore: boolean;
}

/** Runs by state, agent and person, which are in the address; live ones first by how long nothing happened to them. */
export function RunList({ query }: { readonly query: URLSearchParams }) {
  const { api } = useParts();
  const address = query.toString();
  const filters = useMemo(() => filtersOf(new URLSearchParams(address)), [address]);
  const watching = useWatching();
  const [pages, setPages] = useState(1);
  const read = useCallback(
    async (signal: AbortSignal): Promise<Found> => {
      const items = new Map<string, MemberRunAnswer>();
      let cursor: string | null = null;
      let live: Record<string, number> = {};
      for (let page = 0; page < pages; page += 1) {
        const found: MemberRunPage = await api.get("/v1/admin/runs", routeQuery(filters, PAGE, cursor), signal);
        // A run to which something happens between two pages may come again: its first place is kept.
        for (const item of found.items) if (!items.has(item.id)) items.set(item.id, item);
        if (page === 0) live = found.live;
        cursor = found.next_cursor;
        if (cursor === null) break;
      }
      return { items: [...items.values()], live, hasMore: cursor !== null };
    },
    [api, filters, pages],
  );
  const { value, error, readAt, isOther, again } = usePolled(read, pauseOf(watching, EVERY_MS));
  const change = (wanted: RunFilters): void => {
    setPages(1);
    move(paths.console("runs", null, queryOf(wanted)));
  };
  const first = value?.items[0];
  const skew = first === undefined ? 0 : skewOf(first, readAt);
  return (
    <>
      <RunFilterBar filters={filters} live={value?.live ?? {}} runs={value?.items ?? []} onChange={change}>
        <WatchState watching={watching} readAt={readAt} />
      </RunFilterBar>
      <Trouble error={error} onAgain={again} />
      {value === null && error === null && <p className="page-note">Looking…</p>}
      {value !== null && (
        <div className={isOther ? "other" : undefined} aria-busy={isOther}>
          {value.items.length === 0 ? (
            <p className="empty">{nothing(filters)}</p>
          ) : (
            <RunTable runs={value.items} skew={skew} onUser={(userId) => change({ ...filters, userId })} />
          )}
          {value.hasMore && (
            <button type="button" className="button" onClick={() => setPages(pages + 1)}>
              Show more
            </button>
          )}
        </div>
      )}
    </>
  );
}

function nothing(filters: RunFilters): string {
  if (filters.agent !== "" || filters.userId !== "") return "No such run.";
  return filters.live === true ? "Nothing runs now, and nothing waits." : "There are no such runs.";
}
