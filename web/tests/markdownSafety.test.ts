import { expect, test } from "vitest";
import { webAddress } from "../src/ui/addresses";
import { NOTHING_READ, type Reading, readAll, readMore } from "../src/ui/markdown/blocks";
import { highlighted } from "../src/ui/markdown/highlight";
import { writtenHtml } from "../src/ui/markdown/html";
import payloads from "./payloads.json";
import { Chance } from "./support/random";

const TAGS = new Set(
  "a blockquote br code del em h3 h4 h5 h6 hr li ol p pre span strong table tbody td th thead tr ul".split(" "),
);
const ATTRIBUTES: Readonly<Record<string, ReadonlySet<string>>> = {
  a: new Set(["class", "href", "rel", "target"]),
  span: new Set(["aria-label", "class", "role"]),
  ol: new Set(["start"]),
  td: new Set(["align"]),
  th: new Set(["align"]),
};
const CLASSES = new Set(["md-picture", "md-task"]);
/** The only way in which HTML is written here: no other spelling needs to be understood, in any browser. */
const TAG = /<(\/?)([a-z][a-z0-9]*)((?: [a-z-]+="[^"<>]*")*)>/g;
const ATTRIBUTE = / ([a-z-]+)="([^"<>]*)"/g;
const ENTITIES: Readonly<Record<string, string>> = { lt: "<", gt: ">", amp: "&", quot: '"', "#39": "'" };

const plain = (html: string): string => html.replaceAll(/&([a-z]+|#39);/g, (all, name) => ENTITIES[name] ?? all);

/** What is written before anything is taken out of it: the browser's tests look at what is left in a real one. */
function htmlOfAll(text: string): string {
  return readAll(text)
    .filter(({ token }) => token.type !== "space" && token.type !== "def")
    .map(({ token }) => writtenHtml(token))
    .join("");
}

/** Everything in it that should not be there. */
function wrongs(html: string): string[] {
  const found: string[] = html.replaceAll(TAG, "").match(/[<>].{0,30}/g) ?? [];
  const open: string[] = [];
  for (const [whole, end, tag = "", attributes = ""] of html.matchAll(TAG)) {
    if (!TAGS.has(tag)) found.push(whole);
    if (end === "/") {
      if (open.pop() !== tag || attributes !== "") found.push(`${whole} closes nothing`);
      continue;
    }
    if (tag !== "br" && tag !== "hr") open.push(tag);
    const named = new Map([...attributes.matchAll(ATTRIBUTE)].map(([, name = "", value = ""]) => [name, plain(value)]));
    for (const [name, value] of named) {
      if (!ATTRIBUTES[tag]?.has(name)) found.push(`${name} in ${whole}`);
      if (name === "class" && !CLASSES.has(value)) found.push(`class in ${whole}`);
    }
    if (tag === "a") found.push(...wrongsOfLink(named));
  }
  return [...found, ...open.map((tag) => `<${tag}> is not closed`)];
}

function wrongsOfLink(named: ReadonlyMap<string, string>): string[] {
  const href = named.get("href") ?? "";
  const found = [];
  if (!/^(?:https?:\/\/|mailto:)\S*$/.test(href)) found.push(`href ${href}`);
  if (named.get("target") !== "_blank") found.push("no target");
  if (named.get("rel") !== "noopener noreferrer nofollow") found.push("no rel");
  return found;
}

function shown(text: string): HTMLElement {
  const place = document.createElement("div");
  place.innerHTML = htmlOfAll(text);
  return place;
}

test("there are enough payloads, and each has a name of its own", () => {
  expect(payloads.length).toBeGreaterThan(200);
  expect(new Set(payloads.map(({ name }) => name)).size).toBe(payloads.length);
});

test.for(payloads)("nothing runs, loads or leads astray: $name", ({ text }) => {
  expect(wrongs(htmlOfAll(text))).toEqual([]);
});

test("nor does anything at any moment while it is being written", () => {
  for (const [seed, { name, text }] of payloads.entries()) {
    if (text.length > 300) continue;
    const chance = new Chance(seed);
    let reading: Reading = NOTHING_READ;
    let sofar = "";
    for (const piece of chance.pieces(text.split(""), 25)) {
      sofar += piece.join("");
      reading = readMore(reading, sofar);
      for (const { token } of [...reading.settled, ...reading.open]) {
        if (token.type === "space" || token.type === "def") continue;
        expect(wrongs(writtenHtml(token)), `${name}: ${sofar}`).toEqual([]);
      }
    }
  }
});

test("HTML is text about HTML: all of it is shown as it was written", () => {
  for (const text of [
    "<img src=x onerror=alert(1)>",
    "a <b>word</b> & <script>alert(1)</script>",
    "<div>\n<p>\n</div>",
  ]) {
    expect(shown(text).textContent?.trim()).toBe(text);
    expect(shown(text).querySelectorAll("img, b, script, div, p > p")).toHaveLength(0);
  }
});

test("what follows an opened script is text as well", () => {
  for (const text of ["a <script> <img src=x onerror=alert(1) //", "a <pre> <b", "<kbd> &lt;b&gt; <b x"]) {
    expect(wrongs(htmlOfAll(text))).toEqual([]);
    expect(shown(text).textContent?.trim()).toBe(text);
  }
});

test("a picture is a link that says what it is, and loads nothing", () => {
  const place = shown('![a "cat" & <b>](https://example.org/a.png?x=1&y=2 "title")\n\n![](https://example.org/b.png)');

  const [one, other] = place.querySelectorAll("a");

  expect(one?.textContent).toBe('a "cat" & <b>');
  expect(one?.getAttribute("href")).toBe("https://example.org/a.png?x=1&y=2");
  expect(one?.className).toBe("md-picture");
  expect(other?.textContent).toBe("picture");
  expect(htmlOfAll("![x](https://example.org/a.png)")).not.toContain("src");
});

test("a link that leads nowhere allowed is its words, and a picture of that kind is told of", () => {
  const place = shown("[*words*](javascript:alert(1)) ![words](data:image/png;base64,x)");

  expect(place.querySelectorAll("a")).toHaveLength(0);
  expect(place.querySelector("em")?.textContent).toBe("words");
  expect(place.querySelector("span.md-picture")?.textContent).toBe("words");
});

test.for([
  ["https://example.org/a", "https://example.org/a"],
  ["HTTP://EXAMPLE.ORG", "http://example.org/"],
  [" https://example.org ", "https://example.org/"],
  ["mailto:a@example.org", "mailto:a@example.org"],
  ["https:example.org", "https://example.org/"],
  ["javascript:alert(1)", null],
  ["java\tscript:alert(1)", null],
  ["\u0001javascript:alert(1)", null],
  ["data:text/html,x", null],
  ["vbscript:x", null],
  ["//example.org", null],
  ["/a", null],
  ["", null],
  ["httpx://example.org", null],
  ["https", null],
] as const)("an address is one of the web or of mail, or none: %j is %j", ([written, address]) => {
  expect(webAddress(written)?.href ?? null).toBe(address);
});

test("headings begin below those of the page, and there are no more than six levels", () => {
  const place = shown("# one\n\n## two\n\n###### six\n");

  expect([...place.children].map((one) => one.localName)).toEqual(["h3", "h4", "h6"]);
});

test("a task says whether it is done, and cannot be ticked", () => {
  const place = shown("- [x] this\n- [ ] that\n");

  expect([...place.querySelectorAll(".md-task")].map((one) => one.getAttribute("aria-label"))).toEqual([
    "done",
    "not done",
  ]);
  expect(place.querySelectorAll("input")).toHaveLength(0);
});

test("marked code holds its words and marks, and nothing else, in every language", async () => {
  const languages = ["html", "xml", "js", "python", "css", "markdown", "json", "sh", "diff", "yaml", "sql"];
  // The marker of CSS takes U+2028 for a line end.
  for (const { name, text } of payloads.filter((one) => one.text.length < 300 && !one.text.includes("\u2028"))) {
    for (const language of languages) {
      const html = (await highlighted(text, language)) ?? "";
      const words = html.replaceAll(/<span class="[\w -]+">|<\/span>/g, "");
      expect(words, `${name} in ${language}`).not.toMatch(/[<>]/);
      expect(words.replaceAll("&#x27;", "'").replaceAll(/&(?:lt|gt|quot|amp);/g, plain)).toBe(text);
    }
  }
}, 20_000);

test("code in an unknown language, in none, or that is very long, is not marked", async () => {
  expect(await highlighted("x", "")).toBeNull();
  expect(await highlighted("x", "klingon")).toBeNull();
  expect(await highlighted("x", "constructor")).toBeNull();
  expect(await highlighted("x".repeat(60_001), "python")).toBeNull();
  expect(await highlighted("def x(): pass", "PY")).toContain("hljs-keyword");
});

const LONG = 100_000;

test.for([
  ["words", "word ".repeat(LONG / 5)],
  ["one word", "x".repeat(LONG)],
  ["opened HTML", "<div ".repeat(LONG / 5)],
  ["opened brackets", "[".repeat(LONG)],
  ["stars", "*".repeat(LONG)],
  ["single backticks", "` ".repeat(LONG / 2)],
  ["quotation", `${">".repeat(500)} ${"x".repeat(LONG)}`],
  ["cells", `|${"a|".repeat(5_000)}\n|${"-|".repeat(5_000)}\n|${"<script>|".repeat(5_000)}`],
  ["addresses", "https://example.org/<script> ".repeat(LONG / 28)],
  ["references", "&#60;script&#62;".repeat(LONG / 16)],
] as const)("a line of 100 kB is shown in good time: %s", ([, text]) => {
  const begun = performance.now();

  const blocks = readAll(text);

  expect(performance.now() - begun, "milliseconds").toBeLessThan(5_000);
  expect(blocks.map((block) => block.raw).join("")).toBe(text);
});
