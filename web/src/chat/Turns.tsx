import { useVirtualizer } from "@tanstack/react-virtual";
import { type ReactNode, useCallback, useEffect, useLayoutEffect, useRef, useState } from "react";
import { Icon } from "../ui/Icon";
import type { ThreadView, Turn } from "../view/model";
import { type TurnActions, TurnView } from "./TurnView";

const NEAR_END_PX = 80;
/** Turns above the screen below which earlier ones are asked for. */
const NEAR_START = 5;

/**
 * The turns of a thread, of which only those near the screen are drawn. Whoever reads the end stays at the end while an
 * answer grows; whoever reads something else stays there.
 */
export function Turns(props: {
  readonly view: ThreadView;
  readonly actions: TurnActions;
  readonly onEarlier: () => void;
  readonly children: ReactNode;
}) {
  const { view, actions, onEarlier, children } = props;
  const { turns, hasEarlier } = view;
  const scroller = useRef<HTMLDivElement>(null);
  const end = useRef<HTMLDivElement>(null);
  const [isAtEnd, setAtEnd] = useState(true);
  const virtualizer = useVirtualizer({
    count: turns.length,
    getScrollElement: () => scroller.current,
    getItemKey: useCallback((index: number) => keyOf(turns, index), [turns]),
    estimateSize: () => 220,
    anchorTo: "end",
    followOnAppend: true,
    scrollEndThreshold: NEAR_END_PX,
    overscan: 3,
    paddingStart: 16,
    // Places and heights are written as they are measured, without drawing anything again.
    directDomUpdates: true,
  });
  useLayoutEffect(() => {
    virtualizer.scrollToEnd();
  }, [virtualizer]);
  const lastKey = turns[turns.length - 1]?.key;
  const items = virtualizer.getVirtualItems();
  const isNearStart = (items[0]?.index ?? 0) < NEAR_START;
  useEffect(() => {
    if (isNearStart && hasEarlier && turns.length > 0) onEarlier();
  }, [isNearStart, hasEarlier, onEarlier, turns.length]);
  useEffect(() => {
    // Asking an element where it is makes the browser lay everything out; here it tells by itself.
    // A slow browser tells of several changes at once: the last one is how it is.
    const tell = (changes: readonly IntersectionObserverEntry[]): void =>
      setAtEnd(changes.at(-1)?.isIntersecting ?? true);
    const watching = new IntersectionObserver(tell, { root: scroller.current, rootMargin: `${NEAR_END_PX}px` });
    if (end.current !== null) watching.observe(end.current);
    return () => watching.disconnect();
  }, []);
  return (
    <div className="turns-frame">
      <div className="turns" ref={scroller} tabIndex={0} role="region" aria-label="Conversation">
        <div className="turns-whole" ref={virtualizer.containerRef}>
          {items.map((item) => {
            const turn = turns[item.index];
            if (turn === undefined) return null;
            return (
              <div key={item.key} ref={virtualizer.measureElement} data-index={item.index} className="turn-place">
                <TurnView turn={turn} actions={actions} isLast={turn.key === lastKey} />
              </div>
            );
          })}
        </div>
        {children}
        <div ref={end} className="turns-end" />
      </div>
      {!isAtEnd && (
        <button type="button" className="button to-end" onClick={() => virtualizer.scrollToEnd({ behavior: "smooth" })}>
          <Icon name="down" size={15} /> To the newest
        </button>
      )}
    </div>
  );
}

function keyOf(turns: readonly Turn[], index: number): string {
  return turns[index]?.key ?? String(index);
}
