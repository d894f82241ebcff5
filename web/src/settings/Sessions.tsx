import { useCallback } from "react";
import { useParts } from "../app/parts";
import type { SessionAnswer, SessionPage } from "../client/rest";
import { Trouble } from "../ui/Trouble";
import { several } from "../ui/time";
import { tell, tellError } from "../ui/toasts";
import { usePolled } from "../ui/usePolled";
import { SessionTable } from "./SessionTable";

/** Where this person is signed in, and the ways to end that. */
export function Sessions() {
  const { api, leave } = useParts();
  const read = useCallback((signal: AbortSignal) => api.get<SessionPage>("/v1/sessions", {}, signal), [api]);
  const { value, error, again } = usePolled(read);
  const others = value?.items.filter((one) => !one.is_current) ?? [];
  const end = async (ended: readonly SessionAnswer[]): Promise<void> => {
    try {
      for (const one of ended) await api.delete(`/v1/sessions/${one.id}`);
      tell(`${several(ended.length, "session")} ended.`);
    } finally {
      again();
    }
  };
  return (
    <div className="story">
      <Trouble error={error} onAgain={again} />
      {value !== null && <SessionTable sessions={value.items} onEnd={(one) => void end([one]).catch(tellError)} />}
      <div className="filters">
        <button
          type="button"
          className="button"
          disabled={others.length === 0}
          onClick={() => void end(others).catch(tellError)}
        >
          Sign out everywhere else
        </button>
        <button type="button" className="button button-stop" onClick={() => void leave().catch(tellError)}>
          Sign out here
        </button>
      </div>
      <p className="hint">A session that ends is refused at once, and its live connections are closed.</p>
    </div>
  );
}
