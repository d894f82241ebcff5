const MOST_CHARACTERS = 20_000;

/** A value as JSON that a person reads; a long one is cut, and says so. */
export function JsonView({ value, label = "Value" }: { readonly value: unknown; readonly label?: string }) {
  const text = typeof value === "string" ? value : (JSON.stringify(value, null, 2) ?? "null");
  const isCut = text.length > MOST_CHARACTERS;
  return (
    <pre className="json" tabIndex={0} role="group" aria-label={label}>
      {isCut ? `${text.slice(0, MOST_CHARACTERS)}\n… ${text.length - MOST_CHARACTERS} characters more` : text}
    </pre>
  );
}
