import { Store } from "../client/emitter";
import { asApiError } from "../client/errors";
import { Icon } from "./Icon";
import { useStore } from "./useStore";

export interface Toast {
  readonly id: number;
  readonly kind: "told" | "error";
  readonly text: string;
  readonly action: { readonly label: string; readonly act: () => void } | null;
}

const SHOWN_MS = 6_000;
const WITH_ACTION_MS = 10_000;

const toasts = new Store<readonly Toast[]>([]);
let last = 0;

/** The text is shown for a while at the edge of the page, and read out; with an action, as long as it takes to use it. */
export function tell(text: string, action: Toast["action"] = null): void {
  show("told", text, action);
}

/** What went wrong is shown, with the id that leads to the reason in the server's log. */
export function tellError(thrown: unknown, what = ""): void {
  const error = asApiError(thrown);
  const id = error.requestId === null ? "" : ` (${error.requestId})`;
  show("error", `${what === "" ? "" : `${what}: `}${error.message}${id}`, null);
}

function show(kind: Toast["kind"], text: string, action: Toast["action"]): void {
  const id = ++last;
  toasts.update((shown) => [...shown.slice(-3), { id, kind, text, action }]);
  setTimeout(() => drop(id), action === null ? SHOWN_MS : WITH_ACTION_MS);
}

/** Nothing is shown any more, as when somebody else comes to the page. */
export function forgetToasts(): void {
  toasts.set([]);
}

function drop(id: number): void {
  toasts.update((shown) => shown.filter((toast) => toast.id !== id));
}

export function Toasts() {
  const shown = useStore(toasts);
  return (
    <div className="toasts" role="status" aria-live="polite">
      {shown.map((toast) => (
        <div key={toast.id} className={`toast toast-${toast.kind}`}>
          <span>{toast.text}</span>
          {toast.action !== null && (
            <button
              type="button"
              className="link-button"
              onClick={() => {
                toast.action?.act();
                drop(toast.id);
              }}
            >
              {toast.action.label}
            </button>
          )}
          <button type="button" className="icon-button" aria-label="Dismiss" onClick={() => drop(toast.id)}>
            <Icon name="close" size={14} />
          </button>
        </div>
      ))}
    </div>
  );
}
