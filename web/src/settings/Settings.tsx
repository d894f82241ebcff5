import "../styles/console.css";
import type { ComponentType } from "react";
import { paths } from "../app/routes";
import { Page } from "../ui/Page";
import { Ways } from "../ui/Ways";
import { Export } from "./Export";
import { OwnUsage } from "./OwnUsage";
import { Password } from "./Password";
import { Profile } from "./Profile";
import { Sessions } from "./Sessions";

interface Section {
  readonly name: string;
  readonly title: string;
  readonly note: string;
  readonly Panel: ComponentType;
}

const SECTIONS: readonly Section[] = [
  { name: "profile", title: "Profile", note: "Who you are here, and how the page looks.", Panel: Profile },
  { name: "password", title: "Password", note: "Change it whenever somebody else may know it.", Panel: Password },
  { name: "sessions", title: "Sessions", note: "Where you are signed in.", Panel: Sessions },
  { name: "usage", title: "Usage", note: "What your runs used, by UTC day.", Panel: OwnUsage },
  { name: "data", title: "Your data", note: "Take it with you.", Panel: Export },
];

const WAYS = SECTIONS.map((one) => ({ path: paths.settings(one.name), title: one.title }));

/** What a person sees and changes of their own account. */
export default function Settings(props: { readonly section: string }) {
  const section = SECTIONS.find((one) => one.name === props.section);
  return (
    <Page title={section?.title ?? "Settings"} {...(section === undefined ? {} : { note: section.note })}>
      <Ways label="Settings" ways={WAYS} here={paths.settings(props.section)} />
      {section === undefined ? <p className="empty">There is no such section.</p> : <section.Panel />}
    </Page>
  );
}
