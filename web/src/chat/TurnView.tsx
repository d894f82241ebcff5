import { memo, useState } from "react";
import { CopyButton } from "../ui/CopyButton";
import { Icon } from "../ui/Icon";
import { count, duration, moment, several, wholeMoment } from "../ui/time";
import { useNow } from "../ui/useStore";
import { answerText, isLive, type Question, type RunView, type Turn } from "../view/model";
import { activityOf } from "./activity";
import { RunEnd } from "./RunEnd";
import { type ItemActions, RunItems } from "./RunItems";

/** What a person can do with a turn. */
export interface TurnActions extends ItemActions {
  readonly retry: (run: RunView) => void;
  readonly branch: (question: Question, text: string, agent: string | null) => void;
  readonly loadRun: (runId: string) => Promise<void>;
}

/** A message and what came of it. */
export const TurnView = memo(function TurnView(props: {
  readonly turn: Turn;
  readonly actions: TurnActions;
  readonly isLast: boolean;
}) {
  const { turn, actions, isLast } = props;
  const { question, run } = turn;
  const name = question === null ? "Answer" : `You: ${question.text.slice(0, 80)}`;
  return (
    <article className="turn" aria-label={name}>
      <h2 className="visually-hidden">{name}</h2>
      {question !== null && <QuestionView question={question} agent={run?.agent ?? null} actions={actions} />}
      {run !== null && (
        <div className="answer">
          {question === null && run.retryOf !== null && (
            <p className="turn-mark">
              <Icon name="redo" size={14} /> Tried again
            </p>
          )}
          <RunItems run={run} actions={actions} />
          {isLive(run) ? <Now run={run} /> : <RunEnd run={run} onRetry={() => actions.retry(run)} isLast={isLast} />}
          {!isLive(run) && <Foot run={run} question={question} actions={actions} />}
        </div>
      )}
    </article>
  );
});

const QuestionView = memo(function QuestionView(props: {
  readonly question: Question;
  readonly agent: string | null;
  readonly actions: TurnActions;
}) {
  const { question, agent, actions } = props;
  const [draft, setDraft] = useState<string | null>(null);
  if (draft !== null) {
    return (
      <form
        className="question question-edit"
        onSubmit={(event) => {
          event.preventDefault();
          if (draft.trim() === "") return;
          actions.branch(question, draft, agent);
          setDraft(null);
        }}
      >
        <label className="visually-hidden" htmlFor={`edit-${question.messageId}`}>
          Your message, to be sent again
        </label>
        <textarea
          id={`edit-${question.messageId}`}
          value={draft}
          autoFocus
          rows={Math.min(12, draft.split("\n").length + 1)}
          onChange={(event) => setDraft(event.target.value)}
          onKeyDown={(event) => {
            if (event.key === "Escape") setDraft(null);
            if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) event.currentTarget.form?.requestSubmit();
          }}
        />
        <div className="question-actions">
          <span className="hint">It begins a branch; this conversation stays as it is.</span>
          <button type="button" className="button" onClick={() => setDraft(null)}>
            Cancel
          </button>
          <button type="submit" className="button button-strong">
            Send as a branch
          </button>
        </div>
      </form>
    );
  }
  return (
    <div className="question">
      <p className="question-text">{question.text}</p>
      <div className="question-foot">
        <time dateTime={question.at} title={wholeMoment(question.at)}>
          {moment(question.at)}
        </time>
        <CopyButton text={question.text} label="Copy your message" />
        <button
          type="button"
          className="icon-button"
          aria-label="Edit and send as a branch"
          title="Edit and send as a branch"
          onClick={() => setDraft(question.text)}
        >
          <Icon name="edit" size={15} />
        </button>
      </div>
    </div>
  );
});

/** What the agent is doing now. */
function Now({ run }: { readonly run: RunView }) {
  const activity = activityOf(run);
  const now = useNow(1_000, activity.since !== null);
  return (
    <p className="now" role="status">
      <span className={`pulse pulse-${run.state}`} aria-hidden="true" />
      {run.agent !== null && <span className="chip chip-agent">{run.agent}</span>}
      <span>{activity.text}</span>
      {activity.tools.map((tool, index) => (
        <code key={`${tool}-${index}`} className="chip">
          {tool}
        </code>
      ))}
      {/* Counted in silence: a reader that says each second says nothing else. */}
      {activity.since !== null && <span aria-hidden="true">{duration(now - Date.parse(activity.since))}</span>}
      {run.attempt > 1 && <span className="hint">attempt {run.attempt}</span>}
    </p>
  );
}

function Foot(props: { readonly run: RunView; readonly question: Question | null; readonly actions: TurnActions }) {
  const { run, question, actions } = props;
  const [isLoading, setLoading] = useState(false);
  const text = answerText(run);
  const tokens = run.usage === null ? 0 : run.usage.input_tokens + run.usage.output_tokens;
  return (
    <footer className="answer-foot">
      {text !== "" && <CopyButton text={text} label="Copy the answer" />}
      {question !== null && (
        <button
          type="button"
          className="icon-button"
          aria-label="Answer again, as a branch"
          title="Answer again, as a branch"
          onClick={() => actions.branch(question, question.text, run.agent)}
        >
          <Icon name="redo" size={15} />
        </button>
      )}
      {run.model !== null && run.model !== "none" && <span>{run.model}</span>}
      {run.durationMs !== null && <span>{duration(run.durationMs)}</span>}
      {tokens > 0 && <span title={usageOf(run)}>{several(tokens, "token")}</span>}
      {run.isPartial && !run.id.startsWith("of-") && (
        <button
          type="button"
          className="link-button"
          disabled={isLoading}
          onClick={() => {
            setLoading(true);
            void actions.loadRun(run.id).finally(() => setLoading(false));
          }}
        >
          {isLoading ? "Loading…" : "Show what it did"}
        </button>
      )}
    </footer>
  );
}

function usageOf(run: RunView): string {
  if (run.usage === null) return "";
  const { input_tokens, output_tokens, model_calls, tool_calls } = run.usage;
  return `${count(input_tokens)} in, ${count(output_tokens)} out, ${several(model_calls, "model call")}, ${several(tool_calls, "tool call")}`;
}
