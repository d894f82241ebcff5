import { useEffect, useId, useMemo, useRef, useState } from "react";
import { archiveThread, deleteThread } from "../chat/threadActions";
import type { ListedThread } from "../chat/threadList";
import type { ThreadAnswer } from "../client/rest";
import { Brand } from "../ui/Brand";
import { Icon, type IconName } from "../ui/Icon";
import { Menu } from "../ui/Menu";
import { type Age, ageOf } from "../ui/time";
import { tellError } from "../ui/toasts";
import { useStore } from "../ui/useStore";
import { openPalette } from "./paletteState";
import { useParts } from "./parts";
import { paths, type Route } from "./routes";
import { isSidebarShown, showSidebar } from "./sidebarState";

/** The conversations, and the ways to everything else. */
export function Sidebar({ route }: { readonly route: Route }) {
  const { threads, who, may } = useParts();
  const isShown = useStore(isSidebarShown);
  const approvals = useStore(threads.approvals);
  const current = route.page === "chat" ? route.threadId : null;
  useEffect(() => {
    const close = (): void => showSidebar(false);
    addEventListener("hashchange", close);
    return () => removeEventListener("hashchange", close);
  }, []);
  useEffect(() => {
    if (!isShown) return;
    const onKey = (event: KeyboardEvent): void => {
      if (event.key === "Escape") showSidebar(false);
    };
    document.addEventListener("keydown", onKey);
    return () => document.removeEventListener("keydown", onKey);
  }, [isShown]);
  return (
    <>
      {isShown && <div className="veil" onClick={() => showSidebar(false)} />}
      <nav className={isShown ? "sidebar sidebar-shown" : "sidebar"} aria-label="Conversations and pages">
        <div className="sidebar-head">
          <a href={paths.fresh} className="brand-link" aria-label="Cloche, a new conversation">
            <Brand />
          </a>
          <button
            type="button"
            className="icon-button"
            aria-label="Commands (Ctrl K)"
            title="Commands (Ctrl K)"
            onClick={openPalette}
          >
            <Icon name="search" />
          </button>
        </div>
        <a
          href={paths.fresh}
          className="button button-wide"
          aria-current={route.page === "chat" && current === null ? "page" : undefined}
        >
          <Icon name="add" size={16} /> New conversation
        </a>
        <Threads current={current} />
        <ul className="sidebar-foot">
          <Way
            path={paths.approvals}
            icon="inbox"
            label="Questions"
            isHere={route.page === "approvals"}
            count={approvals}
          />
          <Way path={paths.archive} icon="archive" label="Archive" isHere={route.page === "archive"} />
          {may("admin:runs") && (
            <Way path={paths.console()} icon="console" label="Console" isHere={route.page === "console"} />
          )}
          <Way
            path={paths.settings()}
            icon="gear"
            label={who.user.name || who.user.email}
            isHere={route.page === "settings"}
          />
        </ul>
      </nav>
    </>
  );
}

function Way(props: {
  readonly path: string;
  readonly icon: IconName;
  readonly label: string;
  readonly isHere: boolean;
  readonly count?: number;
}) {
  const { count = 0 } = props;
  return (
    <li>
      <a href={props.path} className="way" aria-current={props.isHere ? "page" : undefined}>
        <Icon name={props.icon} size={17} />
        <span className="way-label">{props.label}</span>
        {count > 0 && (
          <span className="badge">
            {count}
            <span className="visually-hidden"> waiting</span>
          </span>
        )}
      </a>
    </li>
  );
}

interface Found {
  readonly thread: ThreadAnswer;
  readonly snippet: string;
}

function Threads({ current }: { readonly current: string | null }) {
  const { threads, api } = useParts();
  const shown = useStore(threads.shown);
  const [words, setWords] = useState("");
  const [found, setFound] = useState<readonly Found[] | null>(null);
  const id = useId();
  const groups = useMemo(() => grouped(shown.threads), [shown.threads]);
  useEffect(() => {
    if (words.trim() === "") {
      setFound(null);
      return;
    }
    const aborting = new AbortController();
    const timer = setTimeout(() => {
      api.get<{ items: Found[] }>("/v1/search", { q: words.trim(), limit: 30 }, aborting.signal).then(
        (page) => setFound(page.items),
        (thrown: unknown) => {
          if (!aborting.signal.aborted) tellError(thrown, "Search");
        },
      );
    }, 200);
    return () => {
      clearTimeout(timer);
      aborting.abort();
    };
  }, [api, words]);
  return (
    <>
      <label className="visually-hidden" htmlFor={id}>
        Search conversations
      </label>
      <input
        id={id}
        type="search"
        className="search"
        placeholder="Search"
        value={words}
        onChange={(event) => setWords(event.target.value)}
      />
      <div className="threads">
        {shown.error !== null && (
          <p className="hint">
            {shown.error.message}{" "}
            <button type="button" className="link-button" onClick={() => void threads.look()}>
              Try again
            </button>
          </p>
        )}
        {found !== null ? (
          <FoundThreads found={found} current={current} />
        ) : (
          groups.map(([age, members]) => (
            <section key={age} aria-labelledby={`${id}-${age}`}>
              <h2 id={`${id}-${age}`}>{age}</h2>
              <ul>
                {members.map((thread) => (
                  <ThreadLine key={thread.id} thread={thread} isCurrent={thread.id === current} />
                ))}
              </ul>
            </section>
          ))
        )}
        {found === null && !shown.isLoading && shown.threads.length === 0 && shown.error === null && (
          <p className="hint">Conversations appear here.</p>
        )}
        {found === null && !shown.isComplete && <MoreThreads />}
      </div>
    </>
  );
}

/** The next page is asked for as soon as the end of the list comes near. */
function MoreThreads() {
  const { threads } = useParts();
  const end = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const element = end.current;
    if (element === null) return;
    const watching = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) void threads.more();
    });
    watching.observe(element);
    return () => watching.disconnect();
  }, [threads]);
  return <div ref={end} className="threads-end" />;
}

function FoundThreads({ found, current }: { readonly found: readonly Found[]; readonly current: string | null }) {
  if (found.length === 0) {
    return (
      <p className="hint" role="status">
        Nothing found.
      </p>
    );
  }
  return (
    <ul aria-label="Found">
      {found.map(({ thread, snippet }) => (
        <li key={thread.id}>
          <a
            href={paths.thread(thread.id)}
            className="thread-line thread-found"
            aria-current={thread.id === current ? "page" : undefined}
          >
            <span className="thread-title">{thread.title}</span>
            <span className="hint">{snippet}</span>
          </a>
        </li>
      ))}
    </ul>
  );
}

const MARKS: Readonly<Record<ListedThread["status"], string>> = {
  idle: "",
  queued: "queued",
  running: "at work",
  waiting: "has a question",
};

function ThreadLine({ thread, isCurrent }: { readonly thread: ListedThread; readonly isCurrent: boolean }) {
  const parts = useParts();
  const mark = MARKS[thread.status];
  const isUnread = thread.isUnread && !isCurrent;
  return (
    <li className="thread-place">
      <a
        href={paths.thread(thread.id)}
        className={isUnread ? "thread-line thread-unread" : "thread-line"}
        aria-current={isCurrent ? "page" : undefined}
      >
        {mark !== "" && <span className={`mark mark-${thread.status}`} role="img" aria-label={mark} title={mark} />}
        {thread.isBranch && <Icon name="branch" size={13} />}
        <span className="thread-title">{thread.title === "" ? "Conversation" : thread.title}</span>
        {isUnread && <span className="mark mark-unread" role="img" aria-label="unread" title="unread" />}
      </a>
      <Menu
        label={`Actions for ${thread.title}`}
        className="icon-button thread-menu"
        items={[
          {
            label: "Archive",
            icon: "archive",
            act: () => void archiveThread(parts, thread.id, true).catch(tellError),
          },
          {
            label: "Delete",
            icon: "trash",
            isDangerous: true,
            act: () => void deleteThread(parts, thread.id).catch(tellError),
          },
        ]}
      />
    </li>
  );
}

function grouped(threads: readonly ListedThread[]): [Age, ListedThread[]][] {
  const groups = new Map<Age, ListedThread[]>();
  for (const thread of threads) {
    const age = ageOf(thread.updatedAt);
    groups.set(age, [...(groups.get(age) ?? []), thread]);
  }
  return [...groups];
}
