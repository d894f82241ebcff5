import { useId } from "react";
import type { ArgumentField } from "./argumentFields";

/** The arguments of a tool call, each to be edited by its kind. */
export function ArgumentForm(props: {
  readonly fields: readonly ArgumentField[];
  readonly texts: Readonly<Record<string, string>>;
  readonly errors: Readonly<Record<string, string>>;
  readonly onChange: (name: string, text: string) => void;
}) {
  return props.fields.map((field) => (
    <Argument
      key={field.name}
      field={field}
      text={props.texts[field.name] ?? ""}
      error={props.errors[field.name] ?? null}
      onChange={(text) => props.onChange(field.name, text)}
    />
  ));
}

function Argument(props: {
  readonly field: ArgumentField;
  readonly text: string;
  readonly error: string | null;
  readonly onChange: (text: string) => void;
}) {
  const { field, text, error, onChange } = props;
  const id = useId();
  const common = {
    id,
    "aria-invalid": error !== null,
    "aria-describedby": `${id}-note`,
    value: text,
    onChange: (event: { readonly target: { readonly value: string } }) => onChange(event.target.value),
  };
  return (
    <p className="field">
      <label htmlFor={id}>
        <code>{field.name}</code>
        {!field.isRequired && <span className="hint"> optional</span>}
      </label>
      {field.kind === "choice" || field.kind === "boolean" ? (
        <select {...common}>
          {!field.isRequired && <option value="">–</option>}
          {(field.kind === "boolean" ? ["true", "false"] : field.choices).map((choice) => (
            <option key={choice}>{choice}</option>
          ))}
        </select>
      ) : field.kind === "long_text" || field.kind === "json" ? (
        <textarea
          {...common}
          rows={Math.min(12, Math.max(3, text.split("\n").length + 1))}
          spellCheck={field.kind !== "json"}
        />
      ) : (
        <input {...common} type="text" inputMode={field.kind === "text" ? "text" : "decimal"} />
      )}
      <span className={error === null ? "hint" : "hint hint-error"} id={`${id}-note`}>
        {error ?? field.description}
      </span>
    </p>
  );
}
