import { lazy, Suspense, useEffect, useMemo, useState } from "react";
import { ChatPage } from "../chat/ChatPage";
import { BrowserSession } from "../client/session";
import { Boundary } from "../ui/Boundary";
import { LinkGate } from "../ui/LinkGate";
import { Toasts } from "../ui/toasts";
import { useStore } from "../ui/useStore";
import { Palette } from "./Palette";
import { PartsOfPerson, useParts } from "./parts";
import { type Route, routeOf, takeSetUpSecret, useHash } from "./routes";
import { SetUp } from "./SetUp";
import { Sidebar } from "./Sidebar";
import { SignIn } from "./SignIn";

// Most visits are for a conversation: the other pages come when they are asked for.
const Console = lazy(() => import("../console/Console"));
const Settings = lazy(() => import("../settings/Settings"));
const Approvals = lazy(() => import("../approvals/Approvals"));
const Archive = lazy(() => import("../archive/Archive"));

/** The whole page: who is here, and where. */
export function App() {
  const session = useMemo(() => new BrowserSession(), []);
  const [secret, setSecret] = useState(takeSetUpSecret);
  const standing = useStore(session.session);
  useEffect(() => void session.open(), [session]);
  switch (standing.state) {
    case "opening":
      return (
        <p className="boot" role="status">
          Cloche is opening…
        </p>
      );
    case "unreachable":
      return (
        <main className="gate">
          <div className="card gate-card" role="alert">
            <h1>No answer</h1>
            <p>{standing.error.message}</p>
            <button type="button" className="button button-strong" onClick={() => void session.open()}>
              Try again
            </button>
          </div>
        </main>
      );
    case "signed_out":
      return secret === null ? (
        <SignIn session={session} reason={standing.reason} />
      ) : (
        <SetUp session={session} secret={secret} onDone={() => setSecret(null)} />
      );
    case "signed_in":
      return (
        <PartsOfPerson key={standing.who.user.id} session={session} who={standing.who}>
          <SignedIn />
        </PartsOfPerson>
      );
  }
}

function SignedIn() {
  const hash = useHash();
  const route = useMemo(() => routeOf(hash), [hash]);
  useTitle(route);
  return (
    <div className="shell">
      <a href="#main" className="skip" onClick={(event) => focusMain(event)}>
        Skip to the content
      </a>
      <Sidebar route={route} />
      <main id="main" className="main" tabIndex={-1}>
        <Boundary key={route.page} fallback={() => <Broken />}>
          <Suspense fallback={<p className="page-note">Opening…</p>}>
            <Page route={route} />
          </Suspense>
        </Boundary>
      </main>
      <Palette />
      <LinkGate />
      <Toasts />
    </div>
  );
}

/** A part of the page that is not there: the way to it was cut, or the server has been upgraded meanwhile. */
function Broken() {
  return (
    <div className="page-note" role="alert">
      <p>This part of the page could not be shown. The connection may be gone, or the server has a newer page.</p>
      <button type="button" className="button" onClick={() => location.reload()}>
        Load the page again
      </button>
    </div>
  );
}

function Page({ route }: { readonly route: Route }) {
  switch (route.page) {
    case "chat":
      return <ChatPage threadId={route.threadId} />;
    case "approvals":
      return <Approvals />;
    case "archive":
      return <Archive />;
    case "settings":
      return <Settings section={route.section} />;
    case "console":
      return <Console section={route.section} id={route.id} query={route.query} />;
  }
}

/** The fragment is the page's address: a jump inside the page must not change it. */
function focusMain(event: { preventDefault: () => void }): void {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

const NAMES: Readonly<Record<Route["page"], string>> = {
  chat: "Conversation",
  approvals: "Questions",
  archive: "Archive",
  settings: "Settings",
  console: "Console",
};

function useTitle(route: Route): void {
  const { threads } = useParts();
  const waiting = useStore(threads.approvals);
  const shown = useStore(threads.shown);
  const thread = route.page === "chat" ? shown.threads.find((one) => one.id === route.threadId) : undefined;
  const name = thread?.title ?? NAMES[route.page];
  useEffect(() => {
    document.title = `${waiting > 0 ? `(${waiting}) ` : ""}${name} · Cloche`;
  }, [name, waiting]);
}
