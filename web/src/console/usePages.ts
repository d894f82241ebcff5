import { useCallback, useState } from "react";
import { usePolled } from "../ui/usePolled";

interface PageOf<T> {
  readonly items: readonly T[];
  readonly next_cursor: string | null;
}

interface Pages<T> {
  readonly items: readonly T[];
  readonly hasMore: boolean;
}

/** A list of the server in pages, as many as were asked for. Whoever calls keeps the same `get` until the question changes. */
export function usePages<T>(get: (cursor: string | null, signal: AbortSignal) => Promise<PageOf<T>>) {
  const [wanted, setWanted] = useState({ get, pages: 1 });
  const pages = wanted.get === get ? wanted.pages : 1;
  const read = useCallback(
    async (signal: AbortSignal): Promise<Pages<T>> => {
      const items: T[] = [];
      let cursor: string | null = null;
      for (let page = 0; page < pages; page += 1) {
        const found: PageOf<T> = await get(cursor, signal);
        items.push(...found.items);
        cursor = found.next_cursor;
        if (cursor === null) break;
      }
      return { items, hasMore: cursor !== null };
    },
    [get, pages],
  );
  const polled = usePolled(read);
  return { ...polled, more: () => setWanted({ get, pages: pages + 1 }) };
}
