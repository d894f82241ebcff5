import { useEffect, useState, useSyncExternalStore } from "react";
import type { Store } from "../client/emitter";

/** The store's value, and a new drawing whenever it changes. */
export function useStore<T>(store: Store<T>): T {
  return useSyncExternalStore(store.subscribe, store.get);
}

/** A plain value (text, number, yes or no) that follows from the store's; a new drawing only when that one changes. */
export function useFromStore<T, V extends string | number | boolean | null>(store: Store<T>, value: (from: T) => V): V {
  return useSyncExternalStore(store.subscribe, () => value(store.get()));
}

/** The time now, again and again with this pause while `isOn`; the page is drawn anew each time. */
export function useNow(everyMs: number, isOn = true): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    if (!isOn) return;
    setNow(Date.now());
    const timer = setInterval(() => setNow(Date.now()), everyMs);
    return () => clearInterval(timer);
  }, [everyMs, isOn]);
  return now;
}
