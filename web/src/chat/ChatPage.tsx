import { useCallback, useEffect, useMemo, useState } from "react";
import { useParts } from "../app/parts";
import { go, move, paths } from "../app/routes";
import type { AcceptedAnswer, ThreadAnswer } from "../client/rest";
import { Icon } from "../ui/Icon";
import { preloadRichText } from "../ui/RichText";
import { tellError } from "../ui/toasts";
import { useFromStore, useStore } from "../ui/useStore";
import { liveRuns, type Question, type ThreadView } from "../view/model";
import { ChatHead } from "./ChatHead";
import { type Busyness, Composer } from "./Composer";
import { OpenThread } from "./openThread";
import type { Draft, Outgoing } from "./outbox";
import { ReadMark } from "./readMark";
import { Turns } from "./Turns";
import type { TurnActions } from "./TurnView";
import { Welcome } from "./Welcome";

/** The conversation of one thread, or the beginning of one. */
export function ChatPage({ threadId }: { readonly threadId: string | null }) {
  return threadId === null ? <FreshThread /> : <KnownThread key={threadId} threadId={threadId} />;
}

function FreshThread() {
  const { outbox } = useParts();
  const [fill, setFill] = useState<string | null>(null);
  const [sent, setSent] = useState<string | null>(null);
  const outgoing = useStore(outbox.messages).filter((one) => one.threadId === null);
  useEffect(
    () =>
      outbox.whenTaken((message: Outgoing, answer: AcceptedAnswer) => {
        if (message.clientMessageId === sent) move(paths.thread(answer.thread_id));
      }),
    [outbox, sent],
  );
  return (
    <div className="chat">
      <ChatHead thread={null} title="New conversation" />
      <div className="turns-frame">
        <div className="turns turns-fresh">
          {outgoing.length === 0 ? <Welcome onPick={setFill} /> : <OutgoingList outgoing={outgoing} />}
        </div>
      </div>
      <Composer
        threadId={null}
        busyness="free"
        fill={fill}
        onStop={null}
        onSend={(draft) => setSent(outbox.put(draft).clientMessageId)}
      />
    </div>
  );
}

function KnownThread({ threadId }: { readonly threadId: string }) {
  const { api, live, outbox } = useParts();
  const open = useMemo(() => new OpenThread(api, live, threadId), [api, live, threadId]);
  useEffect(() => {
    const mark = new ReadMark(api, open);
    preloadRichText();
    void open.open();
    mark.open();
    return () => {
      mark.close();
      open.close();
    };
  }, [api, open]);
  const phase = useStore(open.phase);
  const thread = useStore(open.thread);
  // What changes with each word is drawn where it stands; what is around it only when it changes itself.
  const title = useFromStore(open.view, (view) => view.title ?? "");
  const busyness = useFromStore(open.view, busynessOf);
  const runId = useFromStore(open.view, stoppable);
  const stop = useCallback(() => {
    if (runId !== null) open.cancel(runId).catch((thrown: unknown) => tellError(thrown, "Not stopped"));
  }, [open, runId]);
  const send = useCallback((draft: Draft) => void outbox.put(draft), [outbox]);
  useEscapeStops(runId === null ? null : stop);
  return (
    <div className="chat">
      <ChatHead thread={thread} title={title} open={open} />
      {phase.name === "opening" && (
        <p className="page-note" role="status">
          Opening the conversation…
        </p>
      )}
      {phase.name === "failed" && (
        <div className="page-note" role="alert">
          <p>{phase.error.message}</p>
          <button type="button" className="button" onClick={() => void open.open()}>
            Try again
          </button>
        </div>
      )}
      {phase.name === "gone" && (
        <div className="page-note" role="alert">
          <p>This conversation is not there: {phase.why}.</p>
          <a className="button" href={paths.fresh}>
            Begin another one
          </a>
        </div>
      )}
      {phase.name === "ready" && (
        <>
          <OpenTurns open={open} isBusy={busyness !== "free"} />
          <Composer
            threadId={threadId}
            busyness={busyness}
            fill={null}
            onStop={runId === null ? null : stop}
            onSend={send}
          />
        </>
      )}
    </div>
  );
}

function OpenTurns({ open, isBusy }: { readonly open: OpenThread; readonly isBusy: boolean }) {
  const { outbox } = useParts();
  const view = useStore(open.view);
  const outgoing = useStore(outbox.messages).filter((one) => one.threadId === open.threadId && !isTold(view, one));
  const actions = useThreadActions(open, isBusy);
  const earlier = useCallback(() => void open.loadEarlier().catch(tellError), [open]);
  return (
    <Turns view={view} actions={actions} onEarlier={earlier}>
      <OutgoingList outgoing={outgoing} />
    </Turns>
  );
}

function busynessOf(view: ThreadView): Busyness {
  const runs = liveRuns(view);
  if (runs.some((run) => run.state === "waiting")) return "asking";
  return runs.length > 0 ? "busy" : "free";
}

/** The run that a person can stop now. */
function stoppable(view: ThreadView): string | null {
  const run = liveRuns(view)[0];
  return run === undefined || run.state === "cancelling" ? null : run.id;
}

/** The server's own word of a message has come: it is not on its way any more. */
function isTold(view: ThreadView, message: Outgoing): boolean {
  return view.turns.some((turn) => turn.question?.clientMessageId === message.clientMessageId);
}

function useThreadActions(open: OpenThread, isBusy: boolean): TurnActions {
  const { api, outbox } = useParts();
  return useMemo(
    (): TurnActions => ({
      decide: (approvalId, decision, edited) => open.decide(approvalId, decision, edited),
      loadRun: async (runId) => {
        try {
          await open.loadRun(runId);
        } catch (thrown) {
          tellError(thrown, "The details of this run are not there any more");
        }
      },
      retry: (run) => {
        const body = { on_busy: isBusy ? "enqueue" : "reject" };
        api.post(`/v1/runs/${run.id}/retry`, body).catch((thrown: unknown) => tellError(thrown, "Not tried again"));
      },
      branch: (question: Question, text: string, agent: string | null) => {
        const begin = async (): Promise<void> => {
          const thread = await api.post<ThreadAnswer>(`/v1/threads/${open.threadId}/branch`, {
            message_id: question.messageId,
          });
          const draft: Draft = {
            threadId: thread.id,
            text,
            agent,
            onBusy: "enqueue",
            onPendingApproval: "reject",
          };
          outbox.put(draft);
          go(paths.thread(thread.id));
        };
        begin().catch((thrown: unknown) => tellError(thrown, "No branch was made"));
      },
    }),
    [api, open, outbox, isBusy],
  );
}

/** Escape stops the run at work, unless it closes something that is open over the page. */
function useEscapeStops(stop: (() => void) | null): void {
  useEffect(() => {
    if (stop === null) return;
    const onKey = (event: KeyboardEvent): void => {
      if (
        event.key !== "Escape" ||
        event.defaultPrevented ||
        document.querySelector("dialog[open], .menu-list") !== null
      )
        return;
      if (
        event.target instanceof HTMLElement &&
        event.target.closest(".question-edit, .approval, .title-edit") !== null
      )
        return;
      stop();
    };
    document.addEventListener("keydown", onKey);
    return () => document.removeEventListener("keydown", onKey);
  }, [stop]);
}

/** Messages on their way to the server, and those that it refused. */
function OutgoingList({ outgoing }: { readonly outgoing: readonly Outgoing[] }) {
  const { outbox } = useParts();
  return outgoing.map((message) => (
    <article key={message.clientMessageId} className="turn turn-outgoing" aria-label="Your message, on its way">
      <div className="question">
        <p className="question-text">{message.text}</p>
        {message.state === "waiting" ? (
          <p className="question-foot" role="status">
            <Icon name="waiting" size={14} /> on its way
          </p>
        ) : (
          <div className="question-foot" role="alert">
            <Icon name="error" size={14} />
            <span>{message.refusal?.message ?? "refused"}</span>
            {(message.refusal?.code === "thread_busy" || message.refusal?.code === "approval_pending") && (
              <button
                type="button"
                className="link-button"
                onClick={() =>
                  outbox.again(message.clientMessageId, { onBusy: "enqueue", onPendingApproval: "enqueue" })
                }
              >
                Queue it
              </button>
            )}
            <button type="button" className="link-button" onClick={() => outbox.again(message.clientMessageId)}>
              Try again
            </button>
            <button type="button" className="link-button" onClick={() => outbox.discard(message.clientMessageId)}>
              Discard
            </button>
          </div>
        )}
      </div>
    </article>
  ));
}
