import { type ReactNode, useState } from "react";
import { useParts } from "../app/parts";
import { go, paths } from "../app/routes";
import { textOf } from "../app/SignIn";
import type { AcceptedAnswer, CancelledAnswer, RunStoryAnswer } from "../client/rest";
import { Confirm } from "../ui/Confirm";
import { CopyButton } from "../ui/CopyButton";
import { Field } from "../ui/Field";
import { Icon } from "../ui/Icon";
import { count, duration, several, wholeMoment } from "../ui/time";
import { tell, tellError } from "../ui/toasts";
import { isLiveState } from "./runFilters";
import { StateChip } from "./StateChip";
import { movedAt, whyMarked } from "./stillness";

const RETRIED: ReadonlySet<string> = new Set(["failed", "timeout", "dead", "cancelled"]);

/** What is known of a run in a glance, and what may be done with it. `now` is by the server's clock. */
export function RunFacts(props: {
  readonly story: RunStoryAnswer;
  readonly now: number;
  readonly onChange: () => void;
}) {
  const { story, now, onChange } = props;
  const isLive = isLiveState(story.state);
  const why = whyMarked(story, now);
  const ended = story.state_times[story.state];
  return (
    <section className="card" aria-label="The run">
      <div className="card-head facts-head">
        <h2>
          <StateChip state={story.state} /> {story.agent}
        </h2>
        {why !== "" && (
          <span className="run-why">
            <Icon name="error" size={14} /> {why}
          </span>
        )}
        {story.failure !== null && (
          <span>
            <code className="failed">{story.failure.code}</code>
            {story.failure.retryable && <span className="hint"> trying again may help</span>}
          </span>
        )}
        <span className="head-space" />
        <Actions story={story} onChange={onChange} />
      </div>
      <dl className="facts">
        <Fact name="User">
          {story.user.name || story.user.email} <span className="hint">{story.user.email}</span>
        </Fact>
        <Fact name="Agent">
          {story.agent} <span className="hint">version {story.agent_version}</span>
        </Fact>
        <Fact name="Model">{story.model || "none"}</Fact>
        <Fact name="Attempt">
          {story.attempt}
          {story.losses > 0 && <span className="hint hint-error"> {count(story.losses)} lost with a worker</span>}
        </Fact>
        <Fact name="Accepted">{wholeMoment(story.created_at)}</Fact>
        <Fact name={isLive ? "Age" : "Took"}>
          {duration((isLive || ended === undefined ? now : Date.parse(ended)) - Date.parse(story.created_at))}
        </Fact>
        {isLive && <Fact name="Quiet for">{duration(now - movedAt(story))}</Fact>}
        <Fact name="Worker">
          {story.worker_id === null ? "none" : <Id text={story.worker_id} label="Copy the worker's id" />}
        </Fact>
        {story.lease_until !== null && isLive && <Fact name="Lease">{left(story.lease_until, now)}</Fact>}
        {story.deadline_at !== null && isLive && <Fact name="Deadline">{left(story.deadline_at, now)}</Fact>}
        {story.waiting_for !== null && (
          <Fact name="Waits for a yes to">
            <code>{story.waiting_for.tool || "a question"}</code>{" "}
            <span className="hint">{left(story.waiting_for.expires_at, now)}</span>
          </Fact>
        )}
        <Fact name="Usage">
          {count(story.usage.input_tokens)} tokens in, {count(story.usage.output_tokens)} out{" "}
          <span className="hint">
            {several(story.usage.model_calls, "model call")}, {several(story.usage.tool_calls, "tool call")}
          </span>
        </Fact>
      </dl>
      <dl className="facts facts-ids">
        <Fact name="Run">
          <Id text={story.id} label="Copy the run's id" />
        </Fact>
        <Fact name="Thread">
          <Id text={story.thread_id} label="Copy the thread's id" />
        </Fact>
        <Fact name="Request">
          <Id text={story.request_id} label="Copy the request's id" />
        </Fact>
        <Fact name="Trace">
          <Id text={story.trace_id} label="Copy the trace's id" />
        </Fact>
      </dl>
    </section>
  );
}

function Fact({ name, children }: { readonly name: string; readonly children: ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function Id({ text, label }: { readonly text: string; readonly label: string }) {
  return text === "" ? (
    "none"
  ) : (
    <span className="id">
      <code>{text}</code>
      <CopyButton text={text} label={label} />
    </span>
  );
}

function left(at: string, now: number): string {
  const ms = Date.parse(at) - now;
  return ms > 0 ? `in ${duration(ms)}` : `over for ${duration(-ms)}`;
}

function Actions({ story, onChange }: { readonly story: RunStoryAnswer; readonly onChange: () => void }) {
  const { api, may, who } = useParts();
  const [isAsking, setAsking] = useState(false);
  const isOwn = story.user_id === who.user.id;
  const retry = async (): Promise<void> => {
    const accepted = await api.post<AcceptedAnswer>(`/v1/runs/${story.id}/retry`, {});
    tell("A fresh run answers the same message.");
    go(paths.console("runs", accepted.run_id));
  };
  const cancel = async (form: FormData): Promise<void> => {
    const reason = textOf(form, "reason").trim();
    const path = `/v1/admin/runs/${story.id}/cancel`;
    const found = await api.post<CancelledAnswer>(path, reason === "" ? {} : { reason });
    tell(`The run is ${found.state}.`);
    onChange();
  };
  return (
    <span className="actions">
      {isOwn && (
        <a className="button" href={paths.thread(story.thread_id)}>
          <Icon name="chat" size={15} /> Open the conversation
        </a>
      )}
      {isOwn && RETRIED.has(story.state) && (
        <button type="button" className="button" onClick={() => void retry().catch(tellError)}>
          <Icon name="redo" size={15} /> Retry
        </button>
      )}
      {isLiveState(story.state) && may("admin:runs_cancel") && (
        <button type="button" className="button button-stop" onClick={() => setAsking(true)}>
          <Icon name="stop" size={15} /> Cancel the run
        </button>
      )}
      {isAsking && (
        <Confirm
          title={`Cancel the run of ${story.user.name || story.user.email}?`}
          action="Cancel the run"
          isDangerous
          act={cancel}
          onClose={() => setAsking(false)}
        >
          <p>
            The model stream, the tool and the children of <strong>{story.agent}</strong> are stopped. What had been
            done stays done. It is a line in the audit trail, with your name.
          </p>
          <Field label="Reason" name="reason" hint="For the audit trail; the owner may read it." hasFocus />
        </Confirm>
      )}
    </span>
  );
}
