import { errorOf, offline } from "./errors";

/** The JSON that the server answers with; null for an answer without a body. Throws `ApiError`. */
export async function send(fetcher: typeof fetch, path: string, init: RequestInit): Promise<unknown> {
  const text = await sendForText(fetcher, path, init);
  const body = parsed(text);
  if (text !== "" && body === undefined) throw errorOf(502, null);
  return body ?? null;
}

/** The text of an answer that is a success. Throws `ApiError`, or the `AbortError` of its signal. */
export async function sendForText(fetcher: typeof fetch, path: string, init: RequestInit): Promise<string> {
  let answer: Response;
  let text: string;
  try {
    answer = await fetcher(path, { credentials: "same-origin", cache: "no-store", redirect: "error", ...init });
    text = await answer.text();
  } catch (thrown) {
    if (thrown instanceof DOMException && thrown.name === "AbortError") throw thrown;
    throw offline();
  }
  if (!answer.ok) throw errorOf(answer.status, parsed(text));
  return text;
}

function parsed(text: string): unknown {
  try {
    return text === "" ? undefined : (JSON.parse(text) as unknown);
  } catch {
    return undefined;
  }
}
