import { type FormEvent, useState } from "react";
import { type ApiError, asApiError } from "../client/errors";
import type { BrowserSession } from "../client/session";
import { Brand } from "../ui/Brand";
import { Field } from "../ui/Field";
import { textOf } from "./SignIn";

/** The first start: whoever has the link from the server's terminal becomes the first administrator. */
export function SetUp(props: {
  readonly session: BrowserSession;
  readonly secret: string;
  readonly onDone: () => void;
}) {
  const { session, secret, onDone } = props;
  const [error, setError] = useState<ApiError | null>(null);
  const [isBusy, setBusy] = useState(false);
  const submit = async (event: FormEvent<HTMLFormElement>): Promise<void> => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    setBusy(true);
    setError(null);
    try {
      const [email, password, name] = [textOf(form, "email"), textOf(form, "password"), textOf(form, "name")];
      await session.setUp({ secret, email, password, name });
      onDone();
    } catch (thrown) {
      setError(asApiError(thrown));
    } finally {
      setBusy(false);
    }
  };
  return (
    <main className="gate">
      <form className="card gate-card" onSubmit={(event) => void submit(event)}>
        <Brand />
        <h1>Welcome to Cloche</h1>
        <p>This link makes the first administrator of this server. It is good once.</p>
        <Field label="Your name" name="name" autoComplete="name" hasFocus />
        <Field
          label="E-mail"
          name="email"
          type="email"
          autoComplete="username"
          isRequired
          error={errorAt(error, "$.email")}
        />
        <Field
          label="Password"
          name="password"
          type="password"
          autoComplete="new-password"
          isRequired
          hint="At least 12 characters. A sentence is good."
          error={errorAt(error, "$.password")}
        />
        {error !== null && errorAt(error, "$.email") === null && errorAt(error, "$.password") === null && (
          <div className="callout callout-error" role="alert">
            <p>{error.message}</p>
            {error.status === 401 && error.code !== "cookies_refused" && (
              <p>
                The link was used, or is older than a day. <code>cloche users add EMAIL --role admin</code> makes an
                administrator on the server itself.
              </p>
            )}
          </div>
        )}
        <button type="submit" className="button button-strong button-wide" disabled={isBusy}>
          {isBusy ? "One moment…" : "Make the first administrator"}
        </button>
        <button type="button" className="link-button" onClick={onDone}>
          I have an account: sign in
        </button>
      </form>
    </main>
  );
}

function errorAt(error: ApiError | null, place: string): string | null {
  return error !== null && error.place === place ? error.message : null;
}
