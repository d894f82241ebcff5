import { asApiError } from "./errors";
import { send, sendForText } from "./fetching";
import type { BrowserSession } from "./session";

export type Query = Record<string, string | number | boolean | null | undefined | readonly string[]>;

/** The server's REST interface, as the person who is signed in. Every failure is an `ApiError`. */
export class Api {
  constructor(
    private readonly session: BrowserSession,
    private readonly fetcher: typeof fetch = (input, init) => fetch(input, init),
  ) {}

  get<T>(path: string, query: Query = {}, signal?: AbortSignal): Promise<T> {
    return this.call<T>("GET", path + queryText(query), undefined, signal);
  }

  /** The answer as text: an event stream that ends by itself, or a file. */
  async text(path: string): Promise<string> {
    return await this.again(() => sendForText(this.fetcher, path, { method: "GET", headers: this.headers("GET") }));
  }

  post<T>(path: string, body?: object): Promise<T> {
    return this.call<T>("POST", path, body);
  }

  patch<T>(path: string, body: object): Promise<T> {
    return this.call<T>("PATCH", path, body);
  }

  delete<T = null>(path: string): Promise<T> {
    return this.call<T>("DELETE", path);
  }

  private async call<T>(method: string, path: string, body?: object, signal?: AbortSignal): Promise<T> {
    return (await this.again(() =>
      send(this.fetcher, path, {
        method,
        headers: this.headers(method, body),
        body: body === undefined ? null : JSON.stringify(body),
        signal: signal ?? null,
      }),
    )) as T;
  }

  /** What the call gives; once more when the session had to be refreshed, or its CSRF token be asked for, before. */
  private async again<R>(call: () => Promise<R>): Promise<R> {
    try {
      return await call();
    } catch (thrown) {
      const error = asApiError(thrown);
      if (error.status === 401) {
        if (!(await this.session.refresh())) throw error;
      } else if (error.code === "csrf_refused") {
        await this.session.reload();
      } else {
        throw thrown;
      }
      return await call();
    }
  }

  private headers(method: string, body?: object): Record<string, string> {
    const headers: Record<string, string> = {};
    const who = this.session.who;
    if (who !== null && method !== "GET") headers["x-csrf-token"] = who.csrf_token;
    if (body !== undefined) headers["content-type"] = "application/json";
    return headers;
  }
}

export function queryText(query: Query): string {
  const found = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value === null || value === undefined || value === "") continue;
    if (typeof value === "object") for (const one of value) found.append(name, one);
    else found.append(name, String(value));
  }
  const text = found.toString();
  return text === "" ? "" : `?${text}`;
}
