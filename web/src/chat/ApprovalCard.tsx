import { useMemo, useState } from "react";
import { type ApiError, asApiError, isRecord } from "../client/errors";
import { Icon } from "../ui/Icon";
import { JsonView } from "../ui/JsonView";
import { duration } from "../ui/time";
import { tellError } from "../ui/toasts";
import { useNow } from "../ui/useStore";
import type { ApprovalView } from "../view/model";
import { ArgumentForm } from "./ArgumentForm";
import { fieldsOf, textOfValue, valueOfText } from "./argumentFields";
import { DelegateDialog } from "./DelegateDialog";

export type Decide = (
  approvalId: string,
  decision: "approve" | "deny",
  edited: Readonly<Record<string, unknown>> | null,
) => Promise<unknown>;

/** A question that a run waits with: yes, no, or yes with other arguments. What was decided stays to be read. */
export function ApprovalCard({ approval, decide }: { readonly approval: ApprovalView; readonly decide: Decide }) {
  return approval.decision === null ? (
    <OpenApproval approval={approval} decide={decide} />
  ) : (
    <DecidedApproval approval={approval} />
  );
}

function OpenApproval({ approval, decide }: { readonly approval: ApprovalView; readonly decide: Decide }) {
  const fields = useMemo(() => fieldsOf(approval.schema, approval.arguments), [approval]);
  const before = useMemo(
    () =>
      Object.fromEntries(fields.map((field) => [field.name, textOfValue(field.kind, approval.arguments[field.name])])),
    [fields, approval],
  );
  const [texts, setTexts] = useState<Readonly<Record<string, string>>>(before);
  const [isEditing, setEditing] = useState(false);
  const [errors, setErrors] = useState<Readonly<Record<string, string>>>({});
  const [isBusy, setBusy] = useState<"approve" | "deny" | null>(null);
  const [isDelegating, setDelegating] = useState(false);
  const isChanged = fields.some((field) => texts[field.name] !== before[field.name]);

  const send = async (decision: "approve" | "deny"): Promise<void> => {
    const edited = decision === "approve" && isEditing && isChanged ? read(fields, texts, setErrors) : null;
    if (edited === undefined) return;
    setBusy(decision);
    try {
      await decide(approval.id, decision, edited);
    } catch (thrown) {
      const error = asApiError(thrown);
      const found = errorsOf(error);
      setErrors(found);
      if (Object.keys(found).length === 0) tellError(error);
    } finally {
      setBusy(null);
    }
  };
  return (
    <div className="approval" role="group" aria-label="A question for you">
      <p className="approval-question">
        <Icon name="waiting" />
        <strong>{approval.question}</strong>
      </p>
      {isEditing ? (
        <ArgumentForm
          fields={fields}
          texts={texts}
          errors={errors}
          onChange={(name, text) => setTexts((known) => ({ ...known, [name]: text }))}
        />
      ) : (
        <JsonView value={approval.arguments} label="Proposed arguments" />
      )}
      <div className="approval-actions">
        <button
          type="button"
          className="button button-strong"
          disabled={isBusy !== null}
          onClick={() => void send("approve")}
        >
          {isEditing && isChanged ? "Approve as edited" : "Approve"}
        </button>
        <button type="button" className="button" disabled={isBusy !== null} onClick={() => void send("deny")}>
          Deny
        </button>
        <button
          type="button"
          className="link-button"
          aria-expanded={isEditing}
          onClick={() => {
            setEditing(!isEditing);
            setTexts(before);
            setErrors({});
          }}
        >
          {isEditing ? "Keep the arguments as proposed" : "Edit the arguments"}
        </button>
        <button type="button" className="link-button" onClick={() => setDelegating(true)}>
          Let somebody else decide
        </button>
        <Expiry at={approval.expiresAt} />
      </div>
      {approval.delegate !== null && <p className="hint">{approval.delegate.name} may decide, too.</p>}
      {isDelegating && <DelegateDialog approvalId={approval.id} onClose={() => setDelegating(false)} />}
    </div>
  );
}

function Expiry({ at }: { readonly at: string }) {
  const now = useNow(1_000);
  const left = Date.parse(at) - now;
  return <span className="hint approval-expiry">{left > 0 ? `expires in ${duration(left)}` : "expiring"}</span>;
}

const DECISIONS: Readonly<Record<NonNullable<ApprovalView["decision"]>, string>> = {
  approve: "Approved",
  deny: "Denied",
  expired: "Nobody answered in time",
  cancelled: "Withdrawn",
};

function DecidedApproval({ approval }: { readonly approval: ApprovalView }) {
  if (approval.decision === null) return null;
  return (
    <p className="approval-decided">
      <Icon name={approval.decision === "approve" ? "approve" : "close"} size={14} />
      <span>
        {DECISIONS[approval.decision]}
        {approval.edited !== null && ", with edited arguments"}
      </span>
    </p>
  );
}

/** The edited arguments, or undefined when one cannot be read; each is told beside its field. */
function read(
  fields: ReturnType<typeof fieldsOf>,
  texts: Readonly<Record<string, string>>,
  tell: (errors: Readonly<Record<string, string>>) => void,
): Record<string, unknown> | undefined {
  const found: Record<string, unknown> = {};
  const errors: Record<string, string> = {};
  for (const field of fields) {
    try {
      const value = valueOfText(field, texts[field.name] ?? "");
      if (value !== undefined) found[field.name] = value;
    } catch (thrown) {
      errors[field.name] = thrown instanceof Error ? thrown.message : String(thrown);
    }
  }
  tell(errors);
  return Object.keys(errors).length === 0 ? found : undefined;
}

/** What the server says of edited arguments, by the argument that it is about. */
function errorsOf(error: ApiError): Record<string, string> {
  const problems = error.details["problems"];
  const found: Record<string, string> = {};
  if (!Array.isArray(problems)) return found;
  for (const problem of problems) {
    if (!isRecord(problem) || typeof problem["place"] !== "string") continue;
    const name = /^\$\.arguments\.?([^.[]*)/.exec(problem["place"])?.[1];
    if (name !== undefined && name !== "") found[name] = String(problem["message"]);
  }
  return found;
}
