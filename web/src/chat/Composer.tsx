import { type ChangeEvent, type KeyboardEvent, memo, useEffect, useId, useLayoutEffect, useRef, useState } from "react";
import { useParts } from "../app/parts";
import type { OnBusy, OnPendingApproval } from "../client/rest";
import { Icon } from "../ui/Icon";
import { tellError } from "../ui/toasts";
import { useStore } from "../ui/useStore";
import type { Draft } from "./outbox";

const MOST_BYTES = 60_000;
const MOST_ROWS_PX = 260;
/** What the thread is doing, as far as the next message is concerned. */
export type Busyness = "free" | "busy" | "asking";

export const Composer = memo(function Composer(props: {
  readonly threadId: string | null;
  readonly busyness: Busyness;
  readonly onSend: (draft: Draft) => void;
  readonly onStop: (() => void) | null;
  readonly fill: string | null;
}) {
  const { threadId, busyness, onSend, onStop, fill } = props;
  const { agents, drafts } = useParts();
  const known = useStore(agents);
  const place = threadId ?? "";
  const [text, setText] = useState(() => drafts.get(place) ?? "");
  const [agent, setAgent] = useState("");
  const [onBusy, setOnBusy] = useState<OnBusy>("enqueue");
  const [onPending, setOnPending] = useState<OnPendingApproval>("reject");
  const field = useRef<HTMLTextAreaElement>(null);
  const id = useId();
  const bytes = text.length * 3 < MOST_BYTES ? 0 : new TextEncoder().encode(text).length;
  const isTooLong = bytes > MOST_BYTES;
  useEffect(() => {
    if (text === "") drafts.delete(place);
    else drafts.set(place, text);
  }, [drafts, place, text]);
  useEffect(() => {
    if (fill !== null) setText(fill);
    field.current?.focus();
  }, [fill]);
  useLayoutEffect(() => {
    const element = field.current;
    if (element === null || element.value !== text) return;
    element.style.height = "auto";
    element.style.height = `${Math.min(MOST_ROWS_PX, element.scrollHeight)}px`;
  }, [text]);
  const submit = (): void => {
    if (text.trim() === "" || isTooLong) return;
    onSend({
      threadId,
      text,
      agent: agent === "" ? null : agent,
      onBusy: busyness === "busy" ? onBusy : "enqueue",
      onPendingApproval: busyness === "asking" ? onPending : "reject",
    });
    setText("");
    field.current?.focus();
  };
  const onKey = (event: KeyboardEvent<HTMLTextAreaElement>): void => {
    // A word that an input method is still composing is not sent by the key that ends it.
    if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    submit();
  };
  const attach = async (event: ChangeEvent<HTMLInputElement>): Promise<void> => {
    const files = [...(event.target.files ?? [])];
    event.target.value = "";
    try {
      const texts = await Promise.all(files.map(fileText));
      setText((before) => [before, ...texts].filter((one) => one !== "").join("\n\n"));
      field.current?.focus();
    } catch (thrown) {
      tellError(thrown);
    }
  };
  return (
    <form
      className="composer"
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
    >
      <label className="visually-hidden" htmlFor={id}>
        Message
      </label>
      <textarea
        id={id}
        ref={field}
        value={text}
        rows={1}
        placeholder="Write a message"
        aria-describedby={`${id}-note`}
        aria-invalid={isTooLong}
        onChange={(event) => setText(event.target.value)}
        onKeyDown={onKey}
      />
      <div className="composer-row">
        <label className="icon-button" title="Add text files">
          <Icon name="attach" />
          <span className="visually-hidden">Add text files</span>
          <input
            type="file"
            className="visually-hidden"
            multiple
            accept="text/*,.md,.json,.csv,.py,.ts,.log,.yaml,.toml"
            onChange={(event) => void attach(event)}
          />
        </label>
        {known.length > 1 && (
          <>
            <label className="visually-hidden" htmlFor={`${id}-agent`}>
              Agent
            </label>
            <select
              id={`${id}-agent`}
              className="select-quiet"
              value={agent}
              onChange={(event) => setAgent(event.target.value)}
            >
              {known.map((one, index) => (
                <option key={one.name} value={index === 0 ? "" : one.name} title={one.description}>
                  {one.name}
                </option>
              ))}
            </select>
          </>
        )}
        {busyness === "busy" && (
          <>
            <label className="visually-hidden" htmlFor={`${id}-busy`}>
              While the agent works
            </label>
            <select
              id={`${id}-busy`}
              className="select-quiet"
              value={onBusy}
              onChange={(event) => setOnBusy(event.target.value as OnBusy)}
            >
              <option value="enqueue">answer it next</option>
              <option value="interrupt">stop what runs, answer this</option>
              <option value="reject">only if nothing runs</option>
            </select>
          </>
        )}
        {busyness === "asking" && (
          <>
            <label className="visually-hidden" htmlFor={`${id}-asking`}>
              While a question is open
            </label>
            <select
              id={`${id}-asking`}
              className="select-quiet"
              value={onPending}
              onChange={(event) => setOnPending(event.target.value as OnPendingApproval)}
            >
              <option value="reject">only once the question is answered</option>
              <option value="enqueue">answer it after that</option>
              <option value="cancel_approval">withdraw the question, answer this</option>
            </select>
          </>
        )}
        <span className="composer-ends">
          <span id={`${id}-note`} className={noteClass(isTooLong, onStop !== null)}>
            {isTooLong ? `Too long: ${bytes} of ${MOST_BYTES} bytes` : "Enter sends, Shift+Enter begins a line"}
          </span>
          {onStop !== null && (
            <button type="button" className="button button-stop" onClick={onStop}>
              <Icon name="stop" size={15} /> Stop
            </button>
          )}
          <button
            type="submit"
            className="button button-strong button-send"
            aria-label="Send"
            disabled={text.trim() === "" || isTooLong}
          >
            <Icon name="send" />
          </button>
        </span>
      </div>
    </form>
  );
});

/** While there is something to stop, there is no room to say how to send: it is read out only. */
function noteClass(isTooLong: boolean, isBusy: boolean): string {
  if (isTooLong) return "hint hint-error";
  return isBusy ? "visually-hidden" : "hint composer-note";
}

/** A file as a part of a message: its name, and its text as it is. */
async function fileText(file: File): Promise<string> {
  if (file.size > MOST_BYTES) throw new Error(`${file.name} is larger than a message may be`);
  const text = await file.text();
  if (text.includes("\0") || text.includes("\uFFFD")) throw new Error(`${file.name} is not a text file`);
  const longest = Math.max(2, ...[...text.matchAll(/`{3,}/g)].map((run) => run[0].length));
  const fence = "`".repeat(longest + 1);
  return `${file.name}:\n${fence}\n${text.trimEnd()}\n${fence}`;
}
