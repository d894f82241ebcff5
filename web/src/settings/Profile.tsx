import { type ReactNode, useCallback, useState } from "react";
import { useParts } from "../app/parts";
import { chooseTheme, chosenTheme, type Theme } from "../app/theme";
import type { TenantAnswer } from "../client/rest";
import { CopyButton } from "../ui/CopyButton";
import { Trouble } from "../ui/Trouble";
import { wholeMoment } from "../ui/time";
import { usePolled } from "../ui/usePolled";

/** Who is signed in, what they may do, and the theme of this browser. */
export function Profile() {
  const { who, may } = useParts();
  const { user, permissions } = who;
  return (
    <div className="story">
      <section className="card" aria-label="You">
        <dl className="facts">
          <Fact name="Name">{user.name || <span className="hint">none</span>}</Fact>
          <Fact name="E-mail">{user.email}</Fact>
          <Fact name="Role">{user.role === "admin" ? "Administrator" : "Member"}</Fact>
          {may("admin:tenant") && <Organisation />}
          <Fact name="Here since">{wholeMoment(user.created_at)}</Fact>
        </dl>
        <dl className="facts facts-ids">
          <Fact name="Your id">
            <span className="id">
              <code>{user.id}</code>
              <CopyButton text={user.id} label="Copy your id" />
            </span>
          </Fact>
        </dl>
        <details>
          <summary>What you may do ({permissions.length} permissions)</summary>
          <ul className="permissions">
            {[...permissions].sort().map((permission) => (
              <li key={permission}>
                <code>{permission}</code>
              </li>
            ))}
          </ul>
        </details>
        <p className="hint">An administrator of your organisation changes your name and your role.</p>
      </section>
      <Themes />
    </div>
  );
}

function Organisation() {
  const { api } = useParts();
  const read = useCallback((signal: AbortSignal) => api.get<TenantAnswer>("/v1/admin/tenant", {}, signal), [api]);
  const { value, error } = usePolled(read);
  if (error !== null) return <Trouble error={error} />;
  return <Fact name="Organisation">{value === null ? "…" : value.name || value.slug}</Fact>;
}

function Fact({ name, children }: { readonly name: string; readonly children: ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

const THEMES: readonly (readonly [Theme, string])[] = [
  ["system", "As the system"],
  ["light", "Light"],
  ["dark", "Dark"],
];

function Themes() {
  const [chosen, setChosen] = useState(chosenTheme);
  return (
    <fieldset className="card themes">
      <legend>Theme of this browser</legend>
      {THEMES.map(([theme, name]) => (
        <label key={theme} className="check">
          <input
            type="radio"
            name="theme"
            checked={chosen === theme}
            onChange={() => {
              chooseTheme(theme);
              setChosen(theme);
            }}
          />
          {name}
        </label>
      ))}
    </fieldset>
  );
}
