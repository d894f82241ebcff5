import { lazy, Suspense } from "react";
import { Boundary } from "./Boundary";

const load = () => import("./markdown/Markdown");
const Markdown = lazy(load);

/** What shows Markdown is on its way: to be called when a text will soon be shown. */
export function preloadRichText(): void {
  // Where it cannot be loaded now, showing the first text tries again.
  load().catch(() => undefined);
}

/** A text with Markdown in it, which may still grow; as it was written until what shows it is here. */
export function RichText(props: { readonly text: string; readonly isWhole: boolean }) {
  return (
    <Boundary fallback={() => <p className="plain-text">{props.text}</p>}>
      <Suspense fallback={<p className="plain-text">{props.text}</p>}>
        <Markdown text={props.text} isWhole={props.isWhole} />
      </Suspense>
    </Boundary>
  );
}
