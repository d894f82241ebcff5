import { Marked, type Token } from "marked";

/** One block of a Markdown text: what it was written as, and what it is. */
export interface Block {
  readonly raw: string;
  readonly token: Token;
}

const reader = new Marked({ gfm: true, breaks: false, async: false });

/** The blocks that stand for good, and how much of the text they cover; the rest may still change as text is added. */
export interface Reading {
  readonly text: string;
  readonly settled: readonly Block[];
  readonly settledLength: number;
  readonly open: readonly Block[];
}

export const NOTHING_READ: Reading = { text: "", settled: [], settledLength: 0, open: [] };

/**
 * The reading of a text that grew: what stood for good before is not read again. A text that is no continuation of the
 * one before is read anew.
 */
export function readMore(before: Reading, written: string): Reading {
  const text = lines(written);
  if (text === before.text) return before;
  const start = text.startsWith(before.text) ? before : NOTHING_READ;
  const tokens: Token[] = reader.lexer(text.slice(start.settledLength));
  const blocks = tokens.map((token): Block => ({ raw: token.raw, token }));
  // A later line can still join the last block (a list goes on, a line is underlined), never one before it.
  const last = blocks.findLastIndex((block) => block.token.type !== "space");
  const beforeLast = blocks.slice(0, Math.max(0, last)).findLastIndex((block) => block.token.type !== "space");
  const cut = Math.max(0, Math.min(last, beforeLast + 1));
  const closed = blocks.slice(0, cut);
  // Lexing changes no character, or the blocks would not say where they end.
  const length = closed.reduce((sum, block) => sum + block.raw.length, 0);
  return {
    text,
    settled: closed.length === 0 ? start.settled : [...start.settled, ...closed],
    settledLength: start.settledLength + length,
    open: blocks.slice(cut),
  };
}

/** The blocks of a whole text. */
export function readAll(text: string): readonly Block[] {
  return reader.lexer(lines(text)).map((token): Block => ({ raw: token.raw, token }));
}

/** The text with one kind of line end, as the reader takes it: else its blocks would not say where they end. */
function lines(text: string): string {
  return text.includes("\r") ? text.replaceAll(/\r\n?/g, "\n") : text;
}
