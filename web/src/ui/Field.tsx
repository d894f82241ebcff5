import { useId } from "react";

/** A line to fill in, with its name, a hint, and what is wrong with it. */
export function Field(props: {
  readonly label: string;
  readonly name: string;
  readonly type?: "text" | "email" | "password" | "search";
  readonly autoComplete?: string;
  readonly defaultValue?: string;
  readonly hint?: string;
  readonly error?: string | null;
  readonly isRequired?: boolean;
  readonly hasFocus?: boolean;
}) {
  const { label, name, type = "text", hint, error = null } = props;
  const id = useId();
  const notes = [hint === undefined ? "" : `${id}-hint`, error === null ? "" : `${id}-error`].filter(Boolean).join(" ");
  return (
    <p className="field">
      <label htmlFor={id}>{label}</label>
      <input
        id={id}
        name={name}
        type={type}
        autoComplete={props.autoComplete ?? "off"}
        defaultValue={props.defaultValue}
        required={props.isRequired ?? false}
        autoFocus={props.hasFocus ?? false}
        data-focus={props.hasFocus === true ? "" : undefined}
        aria-invalid={error !== null}
        aria-describedby={notes === "" ? undefined : notes}
      />
      {hint !== undefined && (
        <span className="hint" id={`${id}-hint`}>
          {hint}
        </span>
      )}
      {error !== null && (
        <span className="hint hint-error" id={`${id}-error`}>
          {error}
        </span>
      )}
    </p>
  );
}
