import { useSyncExternalStore } from "react";

export type Route =
  | { readonly page: "chat"; readonly threadId: string | null }
  | { readonly page: "approvals" }
  | { readonly page: "archive" }
  | { readonly page: "settings"; readonly section: string }
  | { readonly page: "console"; readonly section: string; readonly id: string | null; readonly query: URLSearchParams };

/** Where a fragment leads. The path after `#` never reaches a server, and works wherever the page is mounted. */
export function routeOf(hash: string): Route {
  const address = hash.replace(/^#\/?/, "");
  const mark = address.indexOf("?");
  const path = mark === -1 ? address : address.slice(0, mark);
  const query = mark === -1 ? "" : address.slice(mark + 1);
  const [first = "", second = "", third = ""] = path.split("/").map(decoded);
  switch (first) {
    case "t":
      return { page: "chat", threadId: second === "" ? null : second };
    case "approvals":
    case "archive":
      return { page: first };
    case "settings":
      return { page: "settings", section: second === "" ? "profile" : second };
    case "console":
      return {
        page: "console",
        section: second === "" ? "runs" : second,
        id: third === "" ? null : third,
        query: new URLSearchParams(query),
      };
    default:
      return { page: "chat", threadId: null };
  }
}

export const paths = {
  fresh: "#/",
  thread: (id: string): string => `#/t/${encodeURIComponent(id)}`,
  approvals: "#/approvals",
  archive: "#/archive",
  settings: (section = "profile"): string => `#/settings/${section}`,
  console: (section = "runs", id: string | null = null, query: Record<string, string> = {}): string => {
    const text = new URLSearchParams(query).toString();
    return `#/console/${section}${id === null ? "" : `/${encodeURIComponent(id)}`}${text === "" ? "" : `?${text}`}`;
  },
};

export function go(path: string): void {
  location.hash = path;
}

/** The same page under another address, without a step back to the one before. */
export function move(path: string): void {
  history.replaceState(null, "", path);
  dispatchEvent(new HashChangeEvent("hashchange"));
}

function subscribe(listener: () => void): () => void {
  addEventListener("hashchange", listener);
  return () => removeEventListener("hashchange", listener);
}

export function useHash(): string {
  return useSyncExternalStore(subscribe, () => location.hash);
}

/** The secret of a set-up link, which is taken out of the address at once: addresses are kept in histories. */
export function takeSetUpSecret(): string | null {
  const found = /^#setup=(.+)$/.exec(location.hash);
  if (found === null) return null;
  history.replaceState(null, "", paths.fresh);
  return decoded(found[1] ?? "");
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
