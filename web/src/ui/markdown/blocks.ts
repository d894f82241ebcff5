import { Lexer, type Links, type Token } from "marked";

/** One block of a Markdown text: what it was written as, and what it is. */
export interface Block {
  readonly raw: string;
  readonly token: Token;
}

/**
 * The blocks that stand for good, how much of the text they cover, and the links that they define; the rest may still
 * change as text is added.
 */
export interface Reading {
  readonly text: string;
  readonly settled: readonly Block[];
  readonly settledLength: number;
  readonly links: Links;
  readonly open: readonly Block[];
}

export const NOTHING_READ: Reading = { text: "", settled: [], settledLength: 0, links: {}, open: [] };

/**
 * The reading of a text that grew: what stood for good before is not read again. A text that is no continuation of the
 * one before is read anew. A link whose definition comes later is one when the whole text is read.
 */
export function readMore(before: Reading, written: string): Reading {
  const text = lines(written);
  if (text === before.text) return before;
  const start = text.startsWith(before.text) ? before : NOTHING_READ;
  const blocks = read(text.slice(start.settledLength), start.links);
  const closed = blocks.slice(0, closedOf(blocks, text.endsWith("\n")));
  const length = closed.reduce((sum, block) => sum + block.raw.length, 0);
  return {
    text,
    settled: closed.length === 0 ? start.settled : [...start.settled, ...closed],
    settledLength: start.settledLength + length,
    links: withDefinitions(start.links, closed),
    open: blocks.slice(closed.length),
  };
}

/** The blocks of a whole text. */
export function readAll(text: string): readonly Block[] {
  return read(lines(text), {});
}

function read(text: string, links: Links): Block[] {
  const lexer = new Lexer({ gfm: true, breaks: false });
  Object.assign(lexer.tokens.links, links);
  let at = 0;
  return lexer.lex(text).map((token): Block => {
    // As it was written: the reader keeps the length, but puts a line end where an empty item of a list has a space.
    const raw = text.slice(at, at + token.raw.length);
    at += token.raw.length;
    return { raw, token };
  });
}

/**
 * How many of the blocks stand for good. A later line can still join the last one (a list goes on, a line is
 * underlined), never one before it. A line that is not whole may turn out to be part of the block before (`3` and
 * then `. third`).
 */
function closedOf(blocks: readonly Block[], isLineWhole: boolean): number {
  const places = blocks.flatMap((block, at) => (block.token.type === "space" ? [] : [at]));
  const last = blocks[places[places.length - 1] ?? -1];
  const open = !isLineWhole && last !== undefined && !last.raw.includes("\n") ? 2 : 1;
  const lastClosed = places[places.length - 1 - open];
  return lastClosed === undefined ? 0 : lastClosed + 1;
}

/** The first definition of a name counts. */
function withDefinitions(links: Links, blocks: readonly Block[]): Links {
  let known = links;
  for (const { token } of blocks) {
    if (token.type !== "def" || Object.hasOwn(known, token["tag"])) continue;
    known = { ...known, [token["tag"]]: { href: token["href"], title: token["title"] } };
  }
  return known;
}

/** The text with one kind of line end, as the reader takes it: else its blocks would not say where they end. */
function lines(text: string): string {
  return text.includes("\r") ? text.replaceAll(/\r\n?/g, "\n") : text;
}
