import type { ReactNode } from "react";
import { showSidebar } from "../app/sidebarState";
import { Icon } from "./Icon";

/** A page that is no conversation: its title, what it is for, and what is on it. */
export function Page(props: {
  readonly title: string;
  readonly note?: string;
  readonly head?: ReactNode;
  readonly children: ReactNode;
  readonly isWide?: boolean;
}) {
  return (
    <div className={props.isWide === true ? "page page-wide" : "page"}>
      <header className="page-head">
        <button
          type="button"
          className="icon-button only-narrow"
          aria-label="Conversations"
          onClick={() => showSidebar(true)}
        >
          <Icon name="menu" />
        </button>
        <div>
          <h1>{props.title}</h1>
          {props.note !== undefined && <p className="hint">{props.note}</p>}
        </div>
        <span className="head-space" />
        {props.head}
      </header>
      {props.children}
    </div>
  );
}
