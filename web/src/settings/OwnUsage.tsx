import { useCallback, useState } from "react";
import { useParts } from "../app/parts";
import { DayUsage, lastDays, SPANS, spanName } from "../charts/DayUsage";
import type { UsageDaysAnswer } from "../client/rest";
import { Trouble } from "../ui/Trouble";
import { usePolled } from "../ui/usePolled";

/** What this person's own runs used by day; a day is split by agent and model. */
export function OwnUsage() {
  const { api } = useParts();
  const [days, setDays] = useState(30);
  const read = useCallback(
    (signal: AbortSignal) => api.get<UsageDaysAnswer>("/v1/usage/days", { ...lastDays(days) }, signal),
    [api, days],
  );
  const { value, error, isOther, again } = usePolled(read);
  return (
    <>
      <fieldset className="filters chips">
        <legend className="visually-hidden">Time</legend>
        {SPANS.map((span) => (
          <button
            key={span}
            type="button"
            className="chip chip-button"
            aria-pressed={span === days}
            onClick={() => setDays(span)}
          >
            {spanName(span)}
          </button>
        ))}
      </fieldset>
      <Trouble error={error} onAgain={again} />
      {value !== null && (
        <div className={isOther ? "other" : undefined} aria-busy={isOther}>
          <DayUsage
            since={value.since}
            until={value.until}
            items={value.items}
            by="agent"
            nameOf={(item) => (item.model === "" ? item.agent : `${item.agent}, ${item.model}`)}
          />
        </div>
      )}
    </>
  );
}
