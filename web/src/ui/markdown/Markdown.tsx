import type { Tokens } from "marked";
import { type MouseEvent, memo, useMemo, useRef } from "react";
import { askToOpen } from "../LinkGate";
import { type Block, NOTHING_READ, type Reading, readAll, readMore } from "./blocks";
import { CodeBlock } from "./CodeBlock";
import { htmlOf } from "./html";

const DEFINITION = /^ {0,3}\[[^\]\n]+\]:/m;

/** A text with Markdown in it, which may still grow. Blocks that stand are neither read nor drawn again. */
const Markdown = memo(function Markdown(props: { readonly text: string; readonly isWhole: boolean }) {
  const { text, isWhole } = props;
  const reading = useRef<Reading>(NOTHING_READ);
  const [settled, open] = useMemo((): readonly [readonly Block[], readonly Block[]] => {
    if (isWhole) return [readAll(text), []];
    reading.current = readMore(reading.current, text);
    return [reading.current.settled, reading.current.open];
  }, [text, isWhole]);
  return (
    // The links inside are the controls; this only hears of their clicks.
    <div className="md" onClick={onLink} onAuxClick={onLink}>
      {/* A definition at the end makes links of words that were drawn before it came. */}
      <Blocks key={isWhole && DEFINITION.test(text) ? "whole" : "growing"} blocks={settled} first={0} areWhole />
      <Blocks blocks={open} first={settled.length} areWhole={false} />
    </div>
  );
});

export default Markdown;

/** Blocks in a row; those that stand are the same row as before, and not even looked at. */
const Blocks = memo(function Blocks(props: {
  readonly blocks: readonly Block[];
  readonly first: number;
  readonly areWhole: boolean;
}) {
  return props.blocks.map((block, index) => (
    <MarkdownBlock key={props.first + index} block={block} isWhole={props.areWhole} />
  ));
});

const MarkdownBlock = memo(
  function MarkdownBlock({ block, isWhole }: { readonly block: Block; readonly isWhole: boolean }) {
    const { token } = block;
    if (token.type === "space" || token.type === "def") return null;
    if (token.type === "code") {
      const { text, lang } = token as Tokens.Code;
      return <CodeBlock code={text} language={(lang ?? "").split(/\s/)[0] ?? ""} isWhole={isWhole} />;
    }
    const html = { __html: htmlOf(token) as string };
    if (token.type === "table") {
      return <div className="md-table" tabIndex={0} role="group" aria-label="Table" dangerouslySetInnerHTML={html} />;
    }
    return <div className="md-block" dangerouslySetInnerHTML={html} />;
  },
  (before, after) => before.block.raw === after.block.raw && before.isWhole === after.isWhole,
);

function onLink(event: MouseEvent<HTMLDivElement>): void {
  const link = event.target instanceof Element ? event.target.closest("a[href]") : null;
  const href = link?.getAttribute("href");
  if (href === null || href === undefined) return;
  event.preventDefault();
  if (event.button === 0 || event.button === 1) askToOpen(href);
}
