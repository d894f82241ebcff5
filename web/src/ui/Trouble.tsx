import type { ApiError } from "../client/errors";

/** Why something could not be read or done, with the id that leads to the reason in the server's log. */
export function Trouble(props: { readonly error: ApiError | null; readonly onAgain?: () => void }) {
  const { error, onAgain } = props;
  if (error === null) return null;
  return (
    <p className="callout callout-error" role="alert">
      {error.message} {error.requestId !== null && <span className="hint">({error.requestId}) </span>}
      {onAgain !== undefined && (
        <button type="button" className="link-button" onClick={onAgain}>
          Try again
        </button>
      )}
    </p>
  );
}
