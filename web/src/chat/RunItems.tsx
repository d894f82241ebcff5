import { memo } from "react";
import { CopyButton } from "../ui/CopyButton";
import { Icon } from "../ui/Icon";
import { JsonView } from "../ui/JsonView";
import { RichText } from "../ui/RichText";
import { duration } from "../ui/time";
import { useNow } from "../ui/useStore";
import type { RunItem, RunView, SubagentItem, ThinkingItem, ToolItem } from "../view/model";
import { ApprovalCard, type Decide } from "./ApprovalCard";

export interface ItemActions {
  readonly decide: Decide;
}

/** What a run did and said, in its order. */
export function RunItems({ run, actions }: { readonly run: RunView; readonly actions: ItemActions }) {
  return run.items.map((item) => <Item key={item.key} item={item} actions={actions} />);
}

const Item = memo(function Item({ item, actions }: { readonly item: RunItem; readonly actions: ItemActions }) {
  switch (item.kind) {
    case "thinking":
      return <Thinking item={item} />;
    case "text":
      return <RichText text={item.text} isWhole={item.isWhole} />;
    case "tool":
      return <ToolCard item={item} actions={actions} />;
    case "subagent":
      return <SubagentCard item={item} actions={actions} />;
  }
});

function Thinking({ item }: { readonly item: ThinkingItem }) {
  return (
    <details className="thinking">
      <summary>
        <Icon name="chat" size={14} />
        <span>Thinking</span>
        <span className="thinking-line">{item.text.replaceAll(/\s+/g, " ").slice(0, 120)}</span>
      </summary>
      <p>{item.text}</p>
    </details>
  );
}

const STATES: Readonly<Record<ToolItem["state"], string>> = {
  asking: "asks first",
  running: "running",
  done: "done",
  failed: "failed",
  stopped: "stopped",
};

const EFFECTS: Readonly<Record<string, string>> = {
  none: "changes nothing",
  internal: "changes your data here",
  external: "changes things outside",
};

function ToolCard({ item, actions }: { readonly item: ToolItem; readonly actions: ItemActions }) {
  const { approval } = item;
  return (
    <section className={`tool tool-${item.state}`} role="group" aria-label={`Tool ${item.tool}, ${STATES[item.state]}`}>
      <details open={item.state === "failed"}>
        <summary>
          <Icon name={item.state === "failed" ? "error" : "tool"} size={15} />
          <code className="tool-name">{item.tool}</code>
          <span className={`chip chip-${item.state}`}>{STATES[item.state]}</span>
          {item.effect !== null && <span className="tool-effect">{EFFECTS[item.effect]}</span>}
          <span className="tool-time">{timeOf(item)}</span>
        </summary>
        <div className="tool-body">
          <p className="tool-part">Arguments</p>
          <JsonView value={item.arguments} label="Arguments" />
          {item.result !== null && (
            <>
              <p className="tool-part">
                Result <CopyButton text={() => JSON.stringify(item.result, null, 2)} label="Copy the result" />
              </p>
              <JsonView value={item.result} label="Result" />
            </>
          )}
        </div>
      </details>
      {item.state === "running" && <ToolProgress item={item} />}
      {item.error !== null && (
        <p className="callout callout-error">
          <code>{item.error.code}</code> {item.error.message}
        </p>
      )}
      {approval !== null && <ApprovalCard approval={approval} decide={actions.decide} />}
    </section>
  );
}

function timeOf(item: ToolItem): string {
  return item.durationMs === null ? "" : duration(item.durationMs);
}

function ToolProgress({ item }: { readonly item: ToolItem }) {
  const now = useNow(1_000, item.startedAt !== null);
  const { progress } = item;
  return (
    <div className="tool-progress">
      {progress !== null && progress.fraction !== null && (
        <progress max={1} value={progress.fraction} aria-label={`Progress of ${item.tool}`} />
      )}
      <span>
        {progress?.text ?? "running"}
        {item.startedAt !== null && ` · ${duration(now - Date.parse(item.startedAt))}`}
      </span>
    </div>
  );
}

function SubagentCard({ item, actions }: { readonly item: SubagentItem; readonly actions: ItemActions }) {
  return (
    <section className="subagent" role="group" aria-label={`Agent ${item.agent}, ${item.state}`}>
      <p className="subagent-head">
        <Icon name="branch" size={15} />
        <strong>{item.agent}</strong>
        <span className={`chip chip-${item.state}`}>{item.state === "running" ? "at work" : item.state}</span>
      </p>
      <RunItems run={item.run} actions={actions} />
    </section>
  );
}
