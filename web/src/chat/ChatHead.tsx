import { memo, useState } from "react";
import { useParts } from "../app/parts";
import { go, paths } from "../app/routes";
import { showSidebar } from "../app/sidebarState";
import type { ThreadAnswer } from "../client/rest";
import { Icon } from "../ui/Icon";
import { Menu } from "../ui/Menu";
import { tell, tellError } from "../ui/toasts";
import { Branches } from "./Branches";
import { exportThread } from "./exports";
import { LinkState } from "./LinkState";
import type { OpenThread } from "./openThread";
import { archiveThread, deleteThread, renameThread } from "./threadActions";

/** The top of a conversation: what it is called, what can be done with it, and whether the page is up to date. */
export const ChatHead = memo(function ChatHead(props: {
  readonly thread: ThreadAnswer | null;
  readonly title: string;
  readonly open?: OpenThread;
}) {
  const { thread, title, open } = props;
  const parts = useParts();
  const [draft, setDraft] = useState<string | null>(null);
  const rename = (): void => {
    if (thread === null || draft === null) return;
    const wanted = draft.trim();
    setDraft(null);
    if (wanted !== "" && wanted !== title) renameThread(parts, thread.id, wanted).catch(tellError);
  };
  return (
    <header className="chat-head">
      <button
        type="button"
        className="icon-button only-narrow"
        aria-label="Conversations"
        onClick={() => showSidebar(true)}
      >
        <Icon name="menu" />
      </button>
      {draft === null ? (
        <h1 className="chat-title" title={title}>
          {title === "" ? "Conversation" : title}
        </h1>
      ) : (
        <form
          className="title-edit"
          onSubmit={(event) => {
            event.preventDefault();
            rename();
          }}
        >
          <label className="visually-hidden" htmlFor="title-edit">
            Title
          </label>
          <input
            id="title-edit"
            value={draft}
            maxLength={200}
            autoFocus
            onChange={(event) => setDraft(event.target.value)}
            onBlur={rename}
            onKeyDown={(event) => {
              if (event.key === "Escape") {
                event.preventDefault();
                setDraft(null);
              }
            }}
          />
        </form>
      )}
      {thread !== null && <Branches threadId={thread.id} />}
      <span className="head-space" />
      <LinkState {...(open === undefined ? {} : { open })} />
      {thread !== null && (
        <Menu
          label="This conversation"
          items={[
            { label: "Rename", icon: "edit", act: () => setDraft(title) },
            { label: "Export as Markdown", icon: "download", act: () => exportThread(thread.id, "markdown") },
            { label: "Export as JSON", icon: "download", act: () => exportThread(thread.id, "json") },
            {
              label: thread.archived_at === null ? "Archive" : "Take out of the archive",
              icon: "archive",
              act: () => {
                archiveThread(parts, thread.id, thread.archived_at === null)
                  .then(() => go(paths.fresh))
                  .catch(tellError);
              },
            },
            {
              label: "Delete",
              icon: "trash",
              isDangerous: true,
              act: () => {
                deleteThread(parts, thread.id)
                  .then(() => go(paths.fresh))
                  .catch((thrown: unknown) => tellError(thrown, "Not deleted"));
              },
            },
            { label: "Copy its address", icon: "copy", act: () => void copyAddress() },
          ]}
        />
      )}
    </header>
  );
});

async function copyAddress(): Promise<void> {
  try {
    await navigator.clipboard.writeText(location.href);
    tell("The address is copied. It opens for you alone.");
  } catch (thrown) {
    tellError(thrown);
  }
}
