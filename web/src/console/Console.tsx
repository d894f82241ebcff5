import "../styles/console.css";
import { useEffect, useRef } from "react";
import { useParts } from "../app/parts";
import { paths } from "../app/routes";
import { Page } from "../ui/Page";
import { SECTIONS } from "./sections";

/** What an operator sees of everything: only sections for which the person has the permission are offered. */
export default function Console(props: {
  readonly section: string;
  readonly id: string | null;
  readonly query: URLSearchParams;
}) {
  const { may } = useParts();
  const section = SECTIONS.find((one) => one.name === props.section);
  if (section === undefined) {
    return (
      <Page title="Console" isWide>
        <Ways section={props.section} />
        <p className="empty">There is no such section.</p>
      </Page>
    );
  }
  return (
    <Page title={section.title} note={section.note} isWide>
      <Ways section={section.name} />
      {may(section.permission) ? (
        <section.Panel id={props.id} query={props.query} />
      ) : (
        <p className="callout callout-warn" role="alert">
          This needs the permission <code>{section.permission}</code>, which you do not have. Whoever administers your
          organisation can give it to you.
        </p>
      )}
    </Page>
  );
}

function Ways({ section }: { readonly section: string }) {
  const { may } = useParts();
  const place = useRef<HTMLElement>(null);
  // On a narrow page the ways are scrolled sideways: the present one is in sight.
  useEffect(() => {
    const here = place.current?.querySelector(`[href="${paths.console(section)}"]`);
    if (here instanceof HTMLElement && place.current !== null) place.current.scrollLeft = here.offsetLeft - 40;
  }, [section]);
  const offered = SECTIONS.filter((one) => may(one.permission));
  if (offered.length === 0) return null;
  return (
    <nav className="ways" aria-label="Console" ref={place}>
      {offered.map((one) => (
        <a key={one.name} href={paths.console(one.name)} aria-current={one.name === section ? "page" : undefined}>
          {one.way}
        </a>
      ))}
    </nav>
  );
}
