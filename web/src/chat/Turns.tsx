import { useVirtualizer } from "@tanstack/react-virtual";
import { type ReactNode, useCallback, useEffect, useLayoutEffect, useRef, useState } from "react";
import { Icon } from "../ui/Icon";
import type { ThreadView, Turn } from "../view/model";
import { type TurnActions, TurnView } from "./TurnView";

const NEAR_END_PX = 80;
const NEAR_START_PX = 600;

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
  });
  useLayoutEffect(() => {
    virtualizer.scrollToEnd();
  }, [virtualizer]);
  const onScroll = (): void => {
    const element = scroller.current;
    if (element === null) return;
    setAtEnd(element.scrollHeight - element.scrollTop - element.clientHeight <= NEAR_END_PX);
    if (element.scrollTop < NEAR_START_PX && hasEarlier) onEarlier();
  };
  const lastKey = turns[turns.length - 1]?.key;
  useEffect(() => {
    // A first page that does not fill the screen cannot be scrolled to ask for more.
    const element = scroller.current;
    if (element !== null && turns.length > 0 && hasEarlier && element.scrollHeight <= element.clientHeight) onEarlier();
  }, [hasEarlier, onEarlier, turns.length]);
  return (
    <div className="turns-frame">
      <div className="turns" ref={scroller} onScroll={onScroll} tabIndex={0} role="region" aria-label="Conversation">
        <div className="turns-whole" style={{ height: virtualizer.getTotalSize() }}>
          {virtualizer.getVirtualItems().map((item) => {
            const turn = turns[item.index];
            if (turn === undefined) return null;
            return (
              <div
                key={item.key}
                ref={virtualizer.measureElement}
                data-index={item.index}
                className="turn-place"
                style={{ transform: `translateY(${item.start}px)` }}
              >
                <TurnView turn={turn} actions={actions} isLast={turn.key === lastKey} />
              </div>
            );
          })}
        </div>
        {children}
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
