import { Store } from "../client/emitter";
import { webAddress } from "./addresses";
import { Dialog } from "./Dialog";
import { useStore } from "./useStore";

const asked = new Store<URL | null>(null);

/** The person is asked before the browser goes where an answer points: the whole address is shown first. */
export function askToOpen(href: string): void {
  asked.set(webAddress(href));
}

export function closeLinkGate(): void {
  asked.set(null);
}

export function LinkGate() {
  const url = useStore(asked);
  if (url === null) return null;
  const isMail = url.protocol === "mailto:";
  return (
    <Dialog title={isMail ? "Write a mail?" : "Leave Cloche?"} onClose={closeLinkGate}>
      <p>
        {isMail ? "The answer names this address:" : "The answer points to "}
        {!isMail && <strong>{url.host}</strong>}
        {!isMail && ". What stands in the address is sent there:"}
      </p>
      <p className="address" tabIndex={0}>
        {url.href}
      </p>
      <div className="dialog-actions">
        <button type="button" className="button" onClick={closeLinkGate}>
          Stay
        </button>
        <a
          className="button button-strong"
          href={url.href}
          target="_blank"
          rel="noopener noreferrer nofollow"
          onClick={closeLinkGate}
        >
          {isMail ? "Write" : "Open"}
        </a>
      </div>
    </Dialog>
  );
}
