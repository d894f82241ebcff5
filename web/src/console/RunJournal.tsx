import { type ReactNode, useId } from "react";
import type { MemberEventAnswer, RunStoryAnswer, StepAnswer } from "../client/rest";
import { Table } from "../ui/Table";
import { duration, exactMoment, moment } from "../ui/time";
import { type Effect, effectsOf } from "./runEffects";
import { isLiveState } from "./runFilters";
import { StateChip } from "./StateChip";

function Part(props: { readonly title: string; readonly note: string; readonly children: ReactNode }) {
  const id = useId();
  return (
    <section className="card" aria-labelledby={id}>
      <div className="card-head">
        <h2 id={id}>{props.title}</h2>
        <span className="hint">{props.note}</span>
      </div>
      {props.children}
    </section>
  );
}

/** The journal: what recovery would replay, without what was asked and answered. */
export function RunSteps({ story }: { readonly story: RunStoryAnswer }) {
  const isOver = !isLiveState(story.state);
  return (
    <Part title="Journal" note="Each step is recorded once; a fresh attempt takes over what is done.">
      {story.steps.length === 0 ? (
        <p className="empty">No step was recorded.</p>
      ) : (
        <Table
          label="Steps of the run"
          rows={story.steps}
          keyOf={(step) => `${step.index}-${step.epoch}`}
          columns={[
            { title: "Step", isNumber: true, cell: (step) => step.index },
            { title: "Kind", cell: (step) => step.kind },
            { title: "Name", cell: (step) => <code>{step.name ?? "(no such tool)"}</code> },
            { title: "State", cell: (step) => <StepState step={step} isOver={isOver} /> },
            { title: "Execution", isNumber: true, cell: (step) => step.epoch },
            { title: "Began", cell: (step) => exactMoment(step.started_at) },
            {
              title: "Took",
              isNumber: true,
              cell: (step) => (step.duration_ms === null ? "–" : took(step.duration_ms)),
            },
          ]}
        />
      )}
    </Part>
  );
}

function StepState({ step, isOver }: { readonly step: StepAnswer; readonly isOver: boolean }) {
  if (step.state === "started") return isOver ? <span className="chip chip-warn">no outcome</span> : <>started</>;
  return (
    <>
      <span className={step.state === "failed" ? "chip chip-failed" : "chip chip-done"}>{step.state}</span>
      {step.code !== null && (
        <>
          {" "}
          <code className="failed">{step.code}</code>
        </>
      )}
    </>
  );
}

function took(ms: number): string {
  return ms < 1_000 ? `${Math.round(ms)} ms` : duration(ms);
}

const EFFECTS: Readonly<Record<Effect["state"], string>> = {
  running: "chip",
  done: "chip chip-done",
  failed: "chip chip-failed",
  unknown: "chip chip-warn",
};

/** What the run may have changed; of what was begun and has no outcome, nobody knows whether it was done. */
export function RunEffects(props: { readonly story: RunStoryAnswer; readonly events: readonly MemberEventAnswer[] }) {
  const { story, events } = props;
  const effects = effectsOf(story.steps, events, !isLiveState(story.state));
  return (
    <Part title="Effects" note="Calls of tools that may change something.">
      {effects.length === 0 ? (
        <p className="empty">Nothing that the log has may have changed anything.</p>
      ) : (
        <Table
          label="Effects of the run"
          rows={effects}
          keyOf={(effect) => effect.toolCallId}
          columns={[
            { title: "Tool", cell: (effect) => <code>{effect.tool}</code> },
            { title: "Changes", cell: (effect) => (effect.effect === "external" ? "things outside" : "data here") },
            {
              title: "State",
              cell: (effect) => (
                <span className={EFFECTS[effect.state]}>
                  {effect.state === "unknown" ? "unknown: it may have been done" : effect.state}
                </span>
              ),
            },
            { title: "Called", cell: (effect) => moment(effect.at) },
          ]}
        />
      )}
    </Part>
  );
}

/** When the run asked people, and what became of it; not what it asked. */
export function RunApprovals({ story }: { readonly story: RunStoryAnswer }) {
  if (story.approvals.length === 0) return null;
  return (
    <Part title="Approvals" note="What was asked is its owner's.">
      <Table
        label="Approvals of the run"
        rows={story.approvals}
        keyOf={(approval) => approval.approval_id}
        columns={[
          { title: "Tool", cell: (approval) => <code>{approval.tool || "a question"}</code> },
          { title: "State", cell: (approval) => <StateChip state={approval.state} /> },
          { title: "Asked", cell: (approval) => moment(approval.created_at) },
          { title: "Expires", cell: (approval) => moment(approval.expires_at) },
          {
            title: "Decided",
            cell: (approval) =>
              approval.decided_at === null
                ? "not yet"
                : `after ${duration(Date.parse(approval.decided_at) - Date.parse(approval.created_at))}`,
          },
        ]}
      />
    </Part>
  );
}
