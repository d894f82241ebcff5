import { useCallback, useEffect, useState } from "react";
import { useParts } from "../app/parts";
import { paths } from "../app/routes";
import { ApprovalCard } from "../chat/ApprovalCard";
import { type ApiError, asApiError } from "../client/errors";
import type { ApprovalAnswer, ApprovalPage } from "../client/rest";
import { Page } from "../ui/Page";
import { moment } from "../ui/time";
import type { ApprovalView } from "../view/model";

/** Everything that waits for this person's word, in whichever conversation, theirs or another's who asked them. */
export default function Approvals() {
  const { api, threads, who } = useParts();
  const [items, setItems] = useState<readonly ApprovalAnswer[] | null>(null);
  const [error, setError] = useState<ApiError | null>(null);
  const [isAll, setAll] = useState(false);
  const load = useCallback(async () => {
    try {
      const page = await api.get<ApprovalPage>("/v1/approvals", { state: isAll ? "all" : "pending", limit: 100 });
      setItems(page.items);
      setError(null);
    } catch (thrown) {
      setError(asApiError(thrown));
    }
  }, [api, isAll]);
  useEffect(() => {
    void load();
    return threads.approvals.subscribe(() => void load());
  }, [load, threads]);
  const decide = async (
    approvalId: string,
    decision: "approve" | "deny",
    edited: Readonly<Record<string, unknown>> | null,
  ) => {
    await api.post(`/v1/approvals/${approvalId}/decide`, {
      decision,
      ...(edited === null ? {} : { arguments: edited }),
    });
    await load();
    void threads.look();
  };
  return (
    <Page title="Questions" note="Runs that wait for your yes, no, or other arguments.">
      <p className="filters">
        <label>
          <input type="checkbox" checked={isAll} onChange={(event) => setAll(event.target.checked)} /> Also those that
          are decided
        </label>
      </p>
      {error !== null && (
        <p className="callout callout-error" role="alert">
          {error.message}
        </p>
      )}
      {items !== null && items.length === 0 && <p className="empty">Nothing waits for you.</p>}
      <ul className="plain-list">
        {items?.map((item) => (
          <li key={item.id} className="card">
            <p className="card-head">
              <code>{item.tool}</code>
              <span className="hint">
                asked {moment(item.created_at)}
                {item.asked_by.user_id !== who.user.id && ` by ${item.asked_by.name || item.asked_by.email}`}
              </span>
              {item.asked_by.user_id === who.user.id && (
                <a href={paths.thread(item.thread_id)}>Open the conversation</a>
              )}
            </p>
            <ApprovalCard approval={viewOf(item)} decide={decide} />
          </li>
        ))}
      </ul>
    </Page>
  );
}

const DECISIONS: Readonly<Record<ApprovalAnswer["state"], ApprovalView["decision"]>> = {
  pending: null,
  approved: "approve",
  denied: "deny",
  expired: "expired",
  cancelled: "cancelled",
};

function viewOf(item: ApprovalAnswer): ApprovalView {
  return {
    id: item.id,
    tool: item.tool,
    question: item.question,
    arguments: item.arguments,
    schema: item.argument_schema,
    expiresAt: item.expires_at,
    decision: DECISIONS[item.state],
    decidedBy: item.decided_by,
    edited: item.edited_arguments,
    delegate: item.delegate === null ? null : { id: item.delegate.user_id, name: item.delegate.name },
  };
}
