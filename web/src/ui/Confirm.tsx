import { type FormEvent, type ReactNode, useState } from "react";
import { type ApiError, asApiError } from "../client/errors";
import { Dialog } from "./Dialog";
import { Trouble } from "./Trouble";

/** Asks before something is done. It stays open, and says why, when that did not work. */
export function Confirm(props: {
  readonly title: string;
  readonly action: string;
  readonly children: ReactNode;
  readonly isDangerous?: boolean;
  readonly act: (form: FormData) => Promise<unknown>;
  readonly onClose: () => void;
}) {
  const { title, action, children, isDangerous = false, act, onClose } = props;
  const [error, setError] = useState<ApiError | null>(null);
  const [isBusy, setBusy] = useState(false);
  const submit = async (event: FormEvent<HTMLFormElement>): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      await act(new FormData(event.currentTarget));
      onClose();
    } catch (thrown) {
      setError(asApiError(thrown));
      setBusy(false);
    }
  };
  return (
    <Dialog title={title} onClose={onClose}>
      <form onSubmit={(event) => void submit(event)}>
        {children}
        <Trouble error={error} />
        <div className="dialog-actions">
          <button type="button" className="button" onClick={onClose}>
            Leave it
          </button>
          <button
            type="submit"
            className={isDangerous ? "button button-stop" : "button button-strong"}
            disabled={isBusy}
          >
            {action}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
