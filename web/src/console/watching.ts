import { useSyncExternalStore } from "react";
import { Store } from "../client/emitter";
import { useStore } from "../ui/useStore";

const isPaused = new Store(false);

function subscribe(listener: () => void): () => void {
  document.addEventListener("visibilitychange", listener);
  addEventListener("focus", listener);
  addEventListener("blur", listener);
  return () => {
    document.removeEventListener("visibilitychange", listener);
    removeEventListener("focus", listener);
    removeEventListener("blur", listener);
  };
}

function isLookedAt(): boolean {
  return document.visibilityState === "visible" && document.hasFocus();
}

/** `paused` by the person; `away` while the window is not the one that is looked at. */
export type Watching = "live" | "paused" | "away";

/** Whether the console reads again and again now. */
export function useWatching(): Watching {
  const isSeen = useSyncExternalStore(subscribe, isLookedAt);
  if (useStore(isPaused)) return "paused";
  return isSeen ? "live" : "away";
}

export function setPaused(wanted: boolean): void {
  isPaused.set(wanted);
}

/** The pause between two readings, or null while nothing is read. */
export function pauseOf(watching: Watching, everyMs: number): number | null {
  return watching === "live" ? everyMs : null;
}
