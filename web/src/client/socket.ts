import { isRecord } from "./errors";
import type { ConnectionReady, Draining, Event, Refused, StreamClosed, StreamOpened } from "./live";

/** What the server says over a socket, besides answers. */
export type Notice = ConnectionReady | StreamOpened | StreamClosed | Draining | { readonly notice: string };

export type Frame =
  | { readonly kind: "events"; readonly events: readonly Event[] }
  | { readonly kind: "notice"; readonly notice: Notice }
  | {
      readonly kind: "answer";
      readonly ref: string;
      readonly refused: Refused | null;
      readonly members: Record<string, unknown>;
    }
  | { readonly kind: "unknown" };

/** The meaning of one frame of the server; what a later server may say besides is unknown, and passed over. */
export function readFrame(text: string): Frame {
  let frame: unknown;
  try {
    frame = JSON.parse(text);
  } catch {
    return { kind: "unknown" };
  }
  if (!isRecord(frame)) return { kind: "unknown" };
  if (Array.isArray(frame["events"])) return { kind: "events", events: frame["events"] as Event[] };
  if (typeof frame["notice"] === "string") return { kind: "notice", notice: frame as unknown as Notice };
  if (typeof frame["ok"] === "boolean" && typeof frame["ref"] === "string") {
    const refused = frame["ok"] ? null : (frame as unknown as Refused);
    return { kind: "answer", ref: frame["ref"], refused, members: frame };
  }
  return { kind: "unknown" };
}

export type Verdict = "come_back" | "refresh" | "sign_in" | "stop";

const GOES_AWAY = new Set([1000, 1001, 1005, 1006, 1011, 1012, 1013, 1014, 1015]);

/** What the server wants a client to do after it closed with this code: see "Close codes" in the reference. */
export function verdictOf(code: number): Verdict {
  if (code === 4401) return "refresh";
  if (code === 4501 || code === 4502) return "sign_in";
  if (GOES_AWAY.has(code) || (code >= 4000 && code <= 4499)) return "come_back";
  return "stop";
}
