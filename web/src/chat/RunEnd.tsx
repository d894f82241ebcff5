import { Icon } from "../ui/Icon";
import type { RunView } from "../view/model";

const HEADS: Partial<Readonly<Record<RunView["state"], string>>> = {
  failed: "This run failed",
  timed_out: "This run ran out of time",
  cancelled: "Stopped",
};

/** How a run ended, where it did not end well: the reason, what had been done, and the way to try again. */
export function RunEnd(props: { readonly run: RunView; readonly onRetry: () => void; readonly isLast: boolean }) {
  const { run, onRetry, isLast } = props;
  const head = HEADS[run.state];
  if (head === undefined) return null;
  const isCancelled = run.state === "cancelled";
  const { failure, receipt } = run;
  return (
    <div
      className={`callout ${isCancelled ? "callout-quiet" : "callout-error"} run-end`}
      role="group"
      aria-label={head}
    >
      <p>
        <Icon name={isCancelled ? "stop" : "error"} size={16} /> <strong>{head}</strong>
        {failure !== null && <span>: {failure.message}</span>}
      </p>
      {receipt !== null && <Receipts receipt={receipt} />}
      {failure !== null && !isCancelled && (
        <p className="hint">
          <code>{failure.code}</code>
          {failure.retryable && " · trying again may help"}
        </p>
      )}
      {isLast && (
        <button type="button" className="button" onClick={onRetry}>
          <Icon name="redo" size={15} /> Try again
        </button>
      )}
    </div>
  );
}

function Receipts({ receipt }: { readonly receipt: NonNullable<RunView["receipt"]> }) {
  const rows: readonly (readonly [string, readonly string[] | undefined])[] = [
    ["Stopped", receipt.stopped],
    ["Had been done before", receipt.already_done],
    ["Not known whether it was done", receipt.unknown],
  ];
  return (
    <dl className="receipt">
      {rows.map(([name, values]) =>
        values === undefined || values.length === 0 ? null : (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{values.join(", ")}</dd>
          </div>
        ),
      )}
    </dl>
  );
}
