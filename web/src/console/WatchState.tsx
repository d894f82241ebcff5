import { Icon } from "../ui/Icon";
import { duration } from "../ui/time";
import { useNow } from "../ui/useStore";
import { setPaused, type Watching } from "./watching";

const WORDS: Readonly<Record<Watching, string>> = {
  live: "Live",
  paused: "Paused",
  away: "Paused while you are elsewhere",
};

/** Whether what is shown goes on by itself, from when it is, and the way to hold it or let it go. */
export function WatchState(props: { readonly watching: Watching; readonly readAt: number }) {
  const { watching, readAt } = props;
  const now = useNow(1_000);
  const age = now - readAt;
  return (
    <span className="watch">
      <span className={`mark ${watching === "live" ? "mark-running" : ""}`} />
      <span className="hint">
        {WORDS[watching]}
        {readAt > 0 && (watching !== "live" || age > 10_000) && `, as of ${duration(age)} ago`}
      </span>
      <button type="button" className="button" onClick={() => setPaused(watching !== "paused")}>
        <Icon name={watching === "paused" ? "play" : "stop"} size={14} />
        {watching === "paused" ? "Go on" : "Pause"}
      </button>
    </span>
  );
}
