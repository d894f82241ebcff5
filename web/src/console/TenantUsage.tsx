import { useCallback } from "react";
import { useParts } from "../app/parts";
import { move, paths } from "../app/routes";
import { DayUsage, lastDays, SPANS, spanName, spanOf } from "../charts/DayUsage";
import type { TenantUsageDay, TenantUsageDaysAnswer, UsageKey } from "../client/rest";
import { Trouble } from "../ui/Trouble";
import { usePolled } from "../ui/usePolled";
import type { PanelProps } from "./sections";

const KEYS: readonly UsageKey[] = ["agent", "model", "user"];

/** What the tenant's runs used by day; a day is split by agent, model or person. */
export function TenantUsage({ query }: PanelProps) {
  const { api } = useParts();
  const by: UsageKey = KEYS.find((key) => key === query.get("by")) ?? "agent";
  const days = spanOf(query.get("days"));
  const read = useCallback(
    (signal: AbortSignal) => {
      return api.get<TenantUsageDaysAnswer>("/v1/admin/usage/days", { ...lastDays(days), by }, signal);
    },
    [api, by, days],
  );
  const { value, error, isOther, again } = usePolled(read);
  const choose = (wanted: Readonly<Record<string, string>>): void =>
    move(paths.console("usage", null, { by, days: String(days), ...wanted }));
  return (
    <>
      <div className="filters">
        <fieldset className="chips">
          <legend className="visually-hidden">A day is split by</legend>
          {KEYS.map((key) => (
            <button
              key={key}
              type="button"
              className="chip chip-button"
              aria-pressed={key === by}
              onClick={() => choose({ by: key })}
            >
              by {key}
            </button>
          ))}
        </fieldset>
        <fieldset className="chips">
          <legend className="visually-hidden">Time</legend>
          {SPANS.map((span) => (
            <button
              key={span}
              type="button"
              className="chip chip-button"
              aria-pressed={span === days}
              onClick={() => choose({ days: String(span) })}
            >
              {spanName(span)}
            </button>
          ))}
        </fieldset>
      </div>
      <Trouble error={error} onAgain={again} />
      {value !== null && (
        <div className={isOther ? "other" : undefined} aria-busy={isOther}>
          <DayUsage since={value.since} until={value.until} items={value.items} by={by} nameOf={nameOf} />
        </div>
      )}
    </>
  );
}

function nameOf(day: TenantUsageDay): string {
  return day.agent ?? day.model ?? day.user?.email ?? "nobody";
}
