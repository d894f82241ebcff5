import { useCallback, useState } from "react";
import { useParts } from "../app/parts";
import type { MemberAnswer, SessionPage, SessionsEndedAnswer } from "../client/rest";
import { SessionTable } from "../settings/SessionTable";
import { Dialog } from "../ui/Dialog";
import { Trouble } from "../ui/Trouble";
import { several } from "../ui/time";
import { tell, tellError } from "../ui/toasts";
import { usePolled } from "../ui/usePolled";

/** From where a user is signed in; one session ends, or all of them. */
export function MemberSessions({ user, onClose }: { readonly user: MemberAnswer; readonly onClose: () => void }) {
  const { api } = useParts();
  const [isSure, setSure] = useState(false);
  const path = `/v1/admin/users/${user.id}/sessions`;
  const read = useCallback((signal: AbortSignal) => api.get<SessionPage>(path, {}, signal), [api, path]);
  const { value, error, again } = usePolled(read);
  const end = async (sessionId: string): Promise<void> => {
    await api.delete(`${path}/${sessionId}`);
    tell("That session is over.");
    again();
  };
  const endAll = async (): Promise<void> => {
    const { sessions_ended: ended } = await api.delete<SessionsEndedAnswer>(path);
    tell(`${several(ended, "session")} of ${user.email} ended.`);
    onClose();
  };
  return (
    <Dialog title={`Sessions of ${user.email}`} className="dialog-wide" onClose={onClose}>
      <Trouble error={error} onAgain={again} />
      {value !== null && (
        <SessionTable sessions={value.items} onEnd={(session) => void end(session.id).catch(tellError)} />
      )}
      <div className="dialog-actions">
        <button type="button" className="button" onClick={onClose}>
          Close
        </button>
        {value !== null && value.items.length > 0 && (
          <button
            type="button"
            className="button button-stop"
            onClick={() => (isSure ? void endAll().catch(tellError) : setSure(true))}
          >
            {isSure ? "Yes, end all of them" : "End all sessions"}
          </button>
        )}
      </div>
    </Dialog>
  );
}
