import type { HLJSApi } from "highlight.js";

let loading: Promise<HLJSApi> | null = null;

const NAMES: ReadonlyMap<string, string> = new Map([
  ["sh", "bash"],
  ["shell", "bash"],
  ["py", "python"],
  ["js", "javascript"],
  ["ts", "typescript"],
]);

/** The code with its words marked as HTML; null for a language that is not known, or code too long to be worth it. */
export async function highlighted(code: string, language: string): Promise<string | null> {
  if (language === "" || code.length > 60_000) return null;
  loading ??= import("./languages").then((loaded) => loaded.highlighter);
  const highlighter = await loading;
  const name = NAMES.get(language.toLowerCase()) ?? language.toLowerCase();
  if (highlighter.getLanguage(name) === undefined) return null;
  return highlighter.highlight(code, { language: name, ignoreIllegals: true }).value;
}
