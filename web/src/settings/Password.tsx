import { type FormEvent, useRef, useState } from "react";
import { useParts } from "../app/parts";
import { textOf } from "../app/SignIn";
import { type ApiError, asApiError } from "../client/errors";
import { Field } from "../ui/Field";
import { Trouble } from "../ui/Trouble";
import { tell } from "../ui/toasts";

/** Another password for the one who knows the present one. */
export function Password() {
  const { api, who } = useParts();
  const [error, setError] = useState<ApiError | null>(null);
  const [isUnlike, setUnlike] = useState(false);
  const [isBusy, setBusy] = useState(false);
  const form = useRef<HTMLFormElement>(null);
  const submit = async (event: FormEvent<HTMLFormElement>): Promise<void> => {
    event.preventDefault();
    const filled = new FormData(event.currentTarget);
    const wanted = textOf(filled, "new");
    setError(null);
    setUnlike(wanted !== textOf(filled, "again"));
    if (wanted !== textOf(filled, "again")) return;
    setBusy(true);
    try {
      const body = { current_password: textOf(filled, "current"), new_password: wanted };
      await api.post("/v1/me/password", body);
      form.current?.reset();
      tell("The password is changed. Every other session is over.");
    } catch (thrown) {
      setError(asApiError(thrown));
    } finally {
      setBusy(false);
    }
  };
  return (
    <form className="card form" ref={form} onSubmit={(event) => void submit(event)}>
      <p className="callout callout-quiet">Every other session of yours ends when you change it; this one goes on.</p>
      <input type="hidden" name="email" autoComplete="username" value={who.user.email} />
      <Field label="Present password" name="current" type="password" autoComplete="current-password" isRequired />
      <Field label="New password" name="new" type="password" autoComplete="new-password" isRequired />
      <Field
        label="New password, once more"
        name="again"
        type="password"
        autoComplete="new-password"
        error={isUnlike ? "These two are not the same." : null}
        isRequired
      />
      <Trouble error={error} />
      <p>
        <button type="submit" className="button button-strong" disabled={isBusy}>
          {isBusy ? "Changing…" : "Change the password"}
        </button>
      </p>
    </form>
  );
}
