import "../styles/console.css";
import { useParts } from "../app/parts";
import { paths } from "../app/routes";
import { Page } from "../ui/Page";
import { Ways } from "../ui/Ways";
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
        <ConsoleWays section={props.section} />
        <p className="empty">There is no such section.</p>
      </Page>
    );
  }
  return (
    <Page title={section.title} note={section.note} isWide>
      <ConsoleWays section={section.name} />
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

function ConsoleWays({ section }: { readonly section: string }) {
  const { may } = useParts();
  const offered = SECTIONS.filter((one) => may(one.permission));
  if (offered.length === 0) return null;
  const ways = offered.map((one) => ({ path: paths.console(one.name), title: one.way }));
  return <Ways label="Console" ways={ways} here={paths.console(section)} />;
}
