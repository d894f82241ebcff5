import { type ReactNode, useEffect, useId, useRef } from "react";
import { Icon } from "./Icon";

/** A dialog over the page: the browser keeps the focus inside, and Escape closes it. */
export function Dialog(props: {
  readonly title: string;
  readonly onClose: () => void;
  readonly children: ReactNode;
  readonly className?: string;
  readonly hideTitle?: boolean;
}) {
  const { title, onClose, children, className = "", hideTitle = false } = props;
  const dialog = useRef<HTMLDialogElement>(null);
  const titleId = useId();
  useEffect(() => {
    const shown = dialog.current;
    const before = document.activeElement;
    if (shown !== null && !shown.open) shown.showModal();
    // The browser itself would begin with the first control, which is the one that closes.
    shown?.querySelector<HTMLElement>("[data-focus]")?.focus();
    return () => {
      shown?.close();
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  return (
    <dialog
      ref={dialog}
      className={`dialog ${className}`}
      aria-labelledby={titleId}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onMouseDown={(event) => {
        if (event.target === dialog.current) onClose();
      }}
    >
      <div className="dialog-inner">
        <header className={hideTitle ? "visually-hidden" : "dialog-head"}>
          <h2 id={titleId}>{title}</h2>
          {!hideTitle && (
            <button type="button" className="icon-button" aria-label="Close" onClick={onClose}>
              <Icon name="close" />
            </button>
          )}
        </header>
        {children}
      </div>
    </dialog>
  );
}
