import DOMPurify from "dompurify";
import { Marked, type Token, type Tokens } from "marked";
import { WEB, webAddress } from "../addresses";

const TAGS = [
  "a",
  "blockquote",
  "br",
  "code",
  "del",
  "em",
  "h3",
  "h4",
  "h5",
  "h6",
  "hr",
  "li",
  "ol",
  "p",
  "pre",
  "span",
  "strong",
  "table",
  "tbody",
  "td",
  "th",
  "thead",
  "tr",
  "ul",
];
const ATTRIBUTES = ["align", "aria-label", "class", "href", "rel", "role", "start", "target", "title"];
const isOurClass = (name: string): boolean =>
  name === "md-picture" || name === "md-task" || /^hljs-[\w -]+$/.test(name);

const writer = new Marked({
  gfm: true,
  breaks: false,
  async: false,
  renderer: {
    // What looks like HTML is text that somebody wrote about HTML.
    html: ({ text }: Tokens.HTML | Tokens.Tag) => escaped(text),
    // Always: the reader takes what follows `<script>` or `<pre>` for HTML, which is not to be escaped.
    text(this: { parser: { parseInline(tokens: Token[]): string } }, token: Tokens.Text | Tokens.Escape) {
      return "tokens" in token && token.tokens !== undefined
        ? this.parser.parseInline(token.tokens)
        : escaped(token.text);
    },
    code: ({ text }: Tokens.Code) => `<pre><code>${escaped(text)}\n</code></pre>\n`,
    // Nothing is fetched because an answer names it: a picture is told of, and opened by a person.
    image: ({ href, text }: Tokens.Image) => {
      const url = webAddress(href);
      const label = text === "" ? "picture" : text;
      if (url === null) return `<span class="md-picture">${escaped(label)}</span>`;
      return `<a class="md-picture" href="${escaped(url.href)}" target="_blank" rel="noopener noreferrer nofollow">${escaped(label)}</a>`;
    },
    link(this: { parser: { parseInline(tokens: Token[]): string } }, { href, tokens }: Tokens.Link) {
      const url = webAddress(href);
      const inner = this.parser.parseInline(tokens);
      if (url === null) return inner;
      return `<a href="${escaped(url.href)}" target="_blank" rel="noopener noreferrer nofollow">${inner}</a>`;
    },
    // The page has its own first two levels of headings.
    heading(this: { parser: { parseInline(tokens: Token[]): string } }, { tokens, depth }: Tokens.Heading) {
      const level = Math.min(6, depth + 2);
      return `<h${level}>${this.parser.parseInline(tokens)}</h${level}>\n`;
    },
    checkbox: ({ checked }: Tokens.Checkbox) =>
      `<span class="md-task" role="img" aria-label="${checked ? "done" : "not done"}">${checked ? "☑" : "☐"}</span> `,
  },
});

DOMPurify.addHook("uponSanitizeAttribute", (_node, attribute) => {
  if (attribute.attrName === "class" && !isOurClass(attribute.attrValue)) attribute.keepAttr = false;
});

/** The marked words of code, as HTML in which there is nothing else. */
export function codeHtml(html: string): TrustedHTML | string {
  return DOMPurify.sanitize(html, { ALLOWED_TAGS: ["span"], ALLOWED_ATTR: ["class"], RETURN_TRUSTED_TYPE: true });
}

/** The HTML of a block as it is written: what `htmlOf` takes out of it besides is a second wall. */
export function writtenHtml(token: Token): string {
  return writer.parser([token]);
}

/** HTML in which nothing runs, loads or leads anywhere but to the web by a person's click. */
export function htmlOf(token: Token): TrustedHTML | string {
  return DOMPurify.sanitize(writtenHtml(token), {
    ALLOWED_TAGS: TAGS,
    ALLOWED_ATTR: ATTRIBUTES,
    ALLOWED_URI_REGEXP: WEB,
    // What is no address is not held to be one.
    ADD_URI_SAFE_ATTR: ["align", "aria-label", "rel", "start", "target"],
    ALLOW_DATA_ATTR: false,
    ALLOW_ARIA_ATTR: false,
    KEEP_CONTENT: true,
    RETURN_TRUSTED_TYPE: true,
  });
}

function escaped(text: string): string {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;")
    .replaceAll("'", "&#39;");
}
