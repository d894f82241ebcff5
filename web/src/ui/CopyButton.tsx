import { useState } from "react";
import { Icon } from "./Icon";
import { tellError } from "./toasts";

const SHOWN_MS = 1_500;

/** Copies a text; says so where it is, and to those who listen. */
export function CopyButton(props: { readonly text: string | (() => string); readonly label: string }) {
  const [isDone, setDone] = useState(false);
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(typeof props.text === "string" ? props.text : props.text());
      setDone(true);
      setTimeout(() => setDone(false), SHOWN_MS);
    } catch {
      tellError(new Error("this browser does not let the page copy"));
    }
  };
  return (
    <button
      type="button"
      className="icon-button"
      aria-label={isDone ? "Copied" : props.label}
      title={props.label}
      onClick={() => void copy()}
    >
      <Icon name={isDone ? "approve" : "copy"} size={15} />
      <span className="visually-hidden" role="status">
        {isDone ? "Copied" : ""}
      </span>
    </button>
  );
}
