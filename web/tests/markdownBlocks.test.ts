import { expect, test } from "vitest";
import { type Block, NOTHING_READ, type Reading, readAll, readMore } from "../src/ui/markdown/blocks";
import { writtenHtml } from "../src/ui/markdown/html";
import { Chance } from "./support/random";

const PIECES = [
  "# A heading\n",
  "Under it\n===\n",
  "Some *words* and **more** of `them`.\n",
  "a line\nand the next one  \nafter a break\n",
  "- one\n- two\n  - below two\n\n    and a paragraph of it\n- three\n",
  "1. first\n2. second\n\n3. third\n",
  "- [x] done\n- [ ] not done\n",
  "> a quotation\n> goes on\nlazily\n",
  "> - a list in it\n>\n> ```\n> code\n> ```\n",
  "```python\nprint(1)\n\n\nprint(2)\n```\n",
  "~~~\n```\nnot closed\n",
  "    indented code\n\n    and more\n",
  "| a | b |\n|---|:-:|\n| 1 | 2 |\n| `x|y` | 4 |\n",
  "***\n",
  "<div>\nHTML, which is text\n</div>\n",
  "<!-- a comment\n\nthat goes on -->\n",
  "[a link](https://example.org) and https://example.org too\n",
  "![a picture](https://example.org/a.png)\n",
  "\ttab\n",
  "   \n",
  "\n\n\n",
  "line ends of Windows\r\n\r\nare two characters\r\n",
  "and of an old Mac\rare one\r",
  "emoji 👩‍👩‍👧 and ümläute\n",
  "no end of line",
  "*not closed **at all `\n",
  "\\* escaped \\` \\[\n",
];

/** A text with definitions of links, which count for what is before them and after them. */
const WITH_DEFINITIONS =
  "see [one] and [two][2]\n\n[one]: https://example.org/1\n\nand [one] again\n\n[2]: https://example.org/2\n";

const made = (seed: number): string => {
  const chance = new Chance(seed);
  return Array.from(
    { length: 1 + chance.below(9) },
    () => chance.oneOf(PIECES) + chance.oneOf(["", "\n", "\n\n"]),
  ).join("");
};

const written = (text: string): string => text.replaceAll(/\r\n?/g, "\n");
const raws = (blocks: readonly Block[]): string => blocks.map((block) => block.raw).join("");
const blocksOf = (reading: Reading): Block[] => [...reading.settled, ...reading.open];
const meant = (blocks: readonly Block[]): string =>
  JSON.stringify(blocks.map(({ token }) => token).filter(({ type }) => type !== "space"));
const shown = (blocks: readonly Block[]): string =>
  blocks
    .filter(({ token }) => token.type !== "space" && token.type !== "def")
    .map(({ token }) => writtenHtml(token))
    .join("");

function readInPieces(text: string, pieces: readonly (readonly string[])[]): Reading[] {
  const readings: Reading[] = [];
  let reading = NOTHING_READ;
  let sofar = "";
  for (const piece of pieces) {
    sofar += piece.join("");
    reading = readMore(reading, sofar);
    readings.push(reading);
  }
  expect(sofar).toBe(text);
  return readings;
}

const SEEDS = Array.from({ length: 100 }, (_, seed) => seed);

test("the blocks of a text, put together, are the text", () => {
  for (const seed of SEEDS) expect(raws(readAll(made(seed))), `seed ${seed}`).toBe(written(made(seed)));
});

test("a text that came in pieces shows at each moment what the same text shows when it comes at once", () => {
  for (const seed of SEEDS) {
    const chance = new Chance(seed + 1_000);
    const text = made(seed);

    const readings = readInPieces(text, chance.pieces(text.split(""), 1 + chance.below(30)));

    for (const reading of readings) {
      expect(raws(blocksOf(reading)), `seed ${seed}`).toBe(reading.text);
      expect(meant(blocksOf(reading)), `seed ${seed}`).toBe(meant(readAll(reading.text)));
    }
    const last = readings[readings.length - 1] ?? NOTHING_READ;
    expect(shown(blocksOf(last)), `seed ${seed}`).toBe(shown(readAll(text)));
  }
});

test("a text that came letter by letter ends as the whole", () => {
  for (const text of PIECES) {
    const readings = readInPieces(text, new Chance(1).pieces(text.split(""), 1));

    expect(shown(blocksOf(readings[readings.length - 1] ?? NOTHING_READ)), JSON.stringify(text)).toBe(
      shown(readAll(text)),
    );
  }
});

test("a link's definition counts for what is written after it, and the first one of a name counts", () => {
  const text = [
    "[one]: https://example.org/1",
    "[constructor]: https://example.org/2",
    "nothing",
    "see [one] and [constructor]",
    "[one]: https://example.org/other",
    "[one]",
    "and [one]",
    "and [constructor]\n",
  ].join("\n\n");
  const readings = readInPieces(text, new Chance(3).pieces(text.split(""), 5));

  const reading = readings[readings.length - 1] ?? NOTHING_READ;

  expect(shown(blocksOf(reading))).toBe(shown(readAll(text)));
  expect(shown(blocksOf(reading)).match(/<a /g)).toHaveLength(5);
  expect(shown(blocksOf(reading))).not.toContain("/other");
});

test("a whole text knows the definitions that stand at its end", () => {
  const html = shown(readAll(WITH_DEFINITIONS));

  expect(html.match(/<a /g)).toHaveLength(3);
});

test("a block that stands is the same one for ever, and is not read again", () => {
  const text = Array.from({ length: 400 }, (_, at) => `Paragraph ${at} with *words*.\n\n`).join("");
  const readings = readInPieces(text, new Chance(7).pieces(text.split(""), 40));

  let before = NOTHING_READ;
  for (const reading of readings) {
    expect(before.settled.every((block, at) => reading.settled[at] === block)).toBe(true);
    expect(raws(reading.settled)).toHaveLength(reading.settledLength);
    expect(raws(reading.open).length, "what is read again").toBeLessThan(120);
    before = reading;
  }
  expect(before.settled).toHaveLength(399 + 398);
});

test("the same text again is the same reading", () => {
  const reading = readMore(NOTHING_READ, "one\n\ntwo");

  expect(readMore(reading, "one\n\ntwo")).toBe(reading);
  expect(readMore(reading, "one\r\n\r\ntwo")).toBe(reading);
});

test("a text that is no continuation is read anew", () => {
  const reading = readMore(readMore(NOTHING_READ, "one\n\ntwo\n\nthree"), "other\n\nwords");

  expect(blocksOf(reading).map((block) => block.raw)).toEqual(["other", "\n\n", "words"]);
});

test("an unclosed code block of 60 kB that grows line by line costs no more than it must", () => {
  const line = "x = some(code, of, a, line)\n";
  let text = "```python\n";
  let reading = NOTHING_READ;
  const begun = performance.now();
  for (let at = 0; at < 2_000; at += 1) {
    text += line;
    reading = readMore(reading, text);
  }
  const took = performance.now() - begun;

  expect(blocksOf(reading)).toHaveLength(1);
  expect(took, "milliseconds for 2,000 readings").toBeLessThan(4_000);
});
