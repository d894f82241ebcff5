import { useEffect, useRef } from "react";

export interface WayTo {
  readonly path: string;
  readonly title: string;
}

/** The ways between the sections of a page. */
export function Ways(props: { readonly label: string; readonly ways: readonly WayTo[]; readonly here: string }) {
  const { label, ways, here } = props;
  const place = useRef<HTMLElement>(null);
  // On a narrow page the ways are scrolled sideways: the present one is in sight.
  useEffect(() => {
    const current = place.current?.querySelector(`[href="${here}"]`);
    if (current instanceof HTMLElement && place.current !== null) place.current.scrollLeft = current.offsetLeft - 40;
  }, [here]);
  return (
    <nav className="ways" aria-label={label} ref={place}>
      {ways.map((one) => (
        <a key={one.path} href={one.path} aria-current={one.path === here ? "page" : undefined}>
          {one.title}
        </a>
      ))}
    </nav>
  );
}
