import { useEffect, useState } from "react";
import { useParts } from "../app/parts";
import { Store } from "../client/emitter";
import { Icon } from "../ui/Icon";
import { several } from "../ui/time";
import { useNow, useStore } from "../ui/useStore";
import type { News, OpenThread } from "./openThread";

const NEWS_MS = 6_000;
const NO_NEWS = new Store<News | null>(null);

/** Whether what the page shows is what the server knows; and after a cut, what it missed. */
export function LinkState({ open }: { readonly open?: OpenThread }) {
  const { live } = useParts();
  const link = useStore(live.link);
  const news = useStore(open?.news ?? NO_NEWS);
  const [hidden, setHidden] = useState(0);
  const now = useNow(1_000, link.state === "waiting");
  useEffect(() => {
    if (news === null) return;
    const timer = setTimeout(() => setHidden(news.at), NEWS_MS);
    return () => clearTimeout(timer);
  }, [news]);
  if (link.state === "open") {
    const told = news !== null && news.at > hidden ? newsText(news) : "";
    return (
      <span className="link-state" role="status">
        {told !== "" && <span className={news?.kind === "trimmed" ? "chip chip-warn" : "chip chip-done"}>{told}</span>}
        {told === "" && link.by === "streams" && (
          <span className="chip" title="This network does not let WebSockets through; events come over plain HTTP.">
            over HTTP
          </span>
        )}
      </span>
    );
  }
  return (
    <span className="link-state" role="status">
      <span className="chip chip-warn">
        <Icon name="offline" size={14} />
        {link.state === "offline" && "Offline. What you send waits here."}
        {link.state === "connecting" && "Connecting…"}
        {link.state === "stopped" && `Not connected: ${link.why}`}
        {link.state === "waiting" &&
          `No connection. Next try in ${Math.max(0, Math.ceil((link.until - now) / 1000))} s`}
      </span>
      {(link.state === "waiting" || link.state === "stopped") && (
        <button type="button" className="link-button" onClick={() => live.retry()}>
          Try now
        </button>
      )}
    </span>
  );
}

function newsText(news: News): string {
  switch (news.kind) {
    case "nothing_missed":
      return "Reconnected, nothing missed";
    case "caught_up":
      return `Reconnected, caught up on ${several(news.events, "event")}`;
    case "trimmed":
      return "History was trimmed; showing the current state";
  }
}
