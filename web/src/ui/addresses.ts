/** Where something may lead: the web and mail. */
export const WEB = /^(?:https?:|mailto:)/i;

/** Where a link or a picture may lead: the web and mail, nothing else. Null for everything that is none of these. */
export function webAddress(href: string): URL | null {
  try {
    const url = new URL(href);
    return WEB.test(url.protocol) ? url : null;
  } catch {
    return null;
  }
}
