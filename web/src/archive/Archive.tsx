import { useEffect, useMemo } from "react";
import { useParts } from "../app/parts";
import { paths } from "../app/routes";
import { archiveThread, deleteThread } from "../chat/threadActions";
import { ThreadList } from "../chat/threadList";
import { Page } from "../ui/Page";
import { moment } from "../ui/time";
import { tellError } from "../ui/toasts";
import { useStore } from "../ui/useStore";

/** The conversations that were put aside. They can be read and gone on with as before. */
export default function Archive() {
  const parts = useParts();
  const { api, live } = parts;
  const list = useMemo(() => new ThreadList(api, live, true), [api, live]);
  useEffect(() => {
    list.open();
    return () => list.close();
  }, [list]);
  const shown = useStore(list.shown);
  const forget = (threadId: string) => () => list.change(threadId, null);
  return (
    <Page title="Archive" note="Conversations that were put aside.">
      {shown.error !== null && (
        <p className="callout callout-error" role="alert">
          {shown.error.message}
        </p>
      )}
      {!shown.isLoading && shown.threads.length === 0 && shown.error === null && (
        <p className="empty">Nothing was put aside.</p>
      )}
      <ul className="plain-list">
        {shown.threads.map((thread) => (
          <li key={thread.id} className="row">
            <a href={paths.thread(thread.id)}>{thread.title === "" ? "Conversation" : thread.title}</a>
            <span className="hint">{moment(thread.updatedAt)}</span>
            <button
              type="button"
              className="button"
              onClick={() => void archiveThread(parts, thread.id, false).then(forget(thread.id), tellError)}
            >
              Take out
            </button>
            <button
              type="button"
              className="button button-danger"
              onClick={() => void deleteThread(parts, thread.id).then(forget(thread.id), tellError)}
            >
              Delete
            </button>
          </li>
        ))}
      </ul>
      {!shown.isComplete && (
        <button type="button" className="button" onClick={() => void list.more()}>
          Show more
        </button>
      )}
    </Page>
  );
}
