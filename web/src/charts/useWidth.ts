import { type RefObject, useEffect, useRef, useState } from "react";

/** An element, and how wide it is now. */
export function useWidth(): [RefObject<HTMLDivElement | null>, number] {
  const place = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(600);
  useEffect(() => {
    const element = place.current;
    if (element === null) return;
    const watching = new ResizeObserver((entries) => {
      const found = entries[0]?.contentRect.width;
      if (found !== undefined && found > 0) setWidth(Math.round(found));
    });
    watching.observe(element);
    return () => watching.disconnect();
  }, []);
  return [place, width];
}
