import { type FormEvent, useState } from "react";
import { useParts } from "../app/parts";
import { textOf } from "../app/SignIn";
import { asApiError } from "../client/errors";
import { Dialog } from "../ui/Dialog";
import { Field } from "../ui/Field";
import { tell } from "../ui/toasts";

/** Another person of the same organisation may decide, too; that person sees the question, and nothing else of the thread. */
export function DelegateDialog({ approvalId, onClose }: { readonly approvalId: string; readonly onClose: () => void }) {
  const { api } = useParts();
  const [error, setError] = useState<string | null>(null);
  const submit = async (event: FormEvent<HTMLFormElement>): Promise<void> => {
    event.preventDefault();
    const email = textOf(new FormData(event.currentTarget), "email");
    try {
      await api.post(`/v1/approvals/${approvalId}/delegate`, { email });
      tell(`${email} may decide, too.`);
      onClose();
    } catch (thrown) {
      setError(asApiError(thrown).message);
    }
  };
  return (
    <Dialog title="Let somebody else decide" onClose={onClose}>
      <form onSubmit={(event) => void submit(event)}>
        <p>That person sees this question with its arguments, and nothing else of the conversation.</p>
        <Field label="E-mail" name="email" type="email" isRequired hasFocus error={error} />
        <div className="dialog-actions">
          <button type="button" className="button" onClick={onClose}>
            Keep it to myself
          </button>
          <button type="submit" className="button button-strong">
            Ask them
          </button>
        </div>
      </form>
    </Dialog>
  );
}
