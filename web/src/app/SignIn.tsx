import { type FormEvent, useId, useState } from "react";
import { type ApiError, asApiError, isRecord } from "../client/errors";
import type { BrowserSession, SignedOutReason } from "../client/session";
import { Brand } from "../ui/Brand";
import { Field } from "../ui/Field";

const REASONS: Readonly<Record<SignedOutReason, string>> = {
  not_yet: "",
  here: "You are signed out.",
  elsewhere: "You signed out in another tab.",
  ended: "Your session has ended: it was revoked, or is over. Sign in again.",
};

interface Tenant {
  readonly slug: string;
  readonly name: string;
}

/** Who are you? By password; other ways to sign in have their place below the form. */
export function SignIn(props: { readonly session: BrowserSession; readonly reason: SignedOutReason }) {
  const { session, reason } = props;
  const [error, setError] = useState<ApiError | null>(null);
  const [tenants, setTenants] = useState<readonly Tenant[]>([]);
  const [isBusy, setBusy] = useState(false);
  const tenantId = useId();
  const submit = async (event: FormEvent<HTMLFormElement>): Promise<void> => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const tenant = form.get("tenant");
    setBusy(true);
    setError(null);
    try {
      await session.signIn({
        email: textOf(form, "email"),
        password: textOf(form, "password"),
        ...(typeof tenant === "string" && tenant !== "" ? { tenant } : {}),
      });
    } catch (thrown) {
      const found = asApiError(thrown);
      if (found.code === "tenant_required") setTenants(tenantsOf(found));
      else setError(found);
    } finally {
      setBusy(false);
    }
  };
  return (
    <main className="gate">
      <form className="card gate-card" onSubmit={(event) => void submit(event)}>
        <Brand />
        <h1>Sign in</h1>
        {REASONS[reason] !== "" && error === null && <p role="status">{REASONS[reason]}</p>}
        <Field label="E-mail" name="email" type="email" autoComplete="username" isRequired hasFocus />
        <Field label="Password" name="password" type="password" autoComplete="current-password" isRequired />
        {tenants.length > 0 && (
          <p className="field">
            <label htmlFor={tenantId}>You belong to several organisations. Which one?</label>
            <select id={tenantId} name="tenant" required>
              {tenants.map((tenant) => (
                <option key={tenant.slug} value={tenant.slug}>
                  {tenant.name}
                </option>
              ))}
            </select>
          </p>
        )}
        {error !== null && (
          <p className="callout callout-error" role="alert">
            {error.message}
            {error.retryAfterS !== null && ` Try again in ${Math.ceil(error.retryAfterS)} s.`}
          </p>
        )}
        <button type="submit" className="button button-strong button-wide" disabled={isBusy}>
          {isBusy ? "Signing in…" : "Sign in"}
        </button>
      </form>
    </main>
  );
}

export function textOf(form: FormData, name: string): string {
  const value = form.get(name);
  return typeof value === "string" ? value : "";
}

function tenantsOf(error: ApiError): Tenant[] {
  const found = error.details["tenants"];
  return Array.isArray(found) ? (found.filter(isRecord) as unknown as Tenant[]) : [];
}
