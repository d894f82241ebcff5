import type { ErrorMembers } from "./live";

/** An error as the server told it, or as the way to the server did (`offline`, `bad_answer`). */
export class ApiError extends Error {
  readonly code: string;
  readonly status: number;
  readonly retryable: boolean;
  readonly details: Record<string, unknown>;
  readonly requestId: string | null;

  constructor(members: ErrorMembers, status: number) {
    super(members.message);
    this.name = "ApiError";
    this.code = members.code;
    this.status = status;
    this.retryable = members.retryable;
    this.details = members.details;
    this.requestId = members.request_id;
  }

  /** Seconds after which trying again makes sense, where the server said so. */
  get retryAfterS(): number | null {
    const wait = this.details["retry_after_s"];
    return typeof wait === "number" ? wait : null;
  }

  /** The place in what was sent that the error is about. */
  get place(): string {
    const place = this.details["place"];
    return typeof place === "string" ? place : "";
  }
}

/** The server was not reached. */
export function offline(message = "The server cannot be reached."): ApiError {
  return new ApiError({ code: "offline", message, retryable: true, details: {}, request_id: null }, 0);
}

/** What an answer that is no success says: our own shape, or else that something on the way answered in its place. */
export function errorOf(status: number, body: unknown): ApiError {
  const members = isRecord(body) ? body["error"] : null;
  if (isRecord(members) && typeof members["code"] === "string" && typeof members["message"] === "string") {
    return new ApiError(
      {
        code: members["code"],
        message: members["message"],
        retryable: members["retryable"] === true,
        details: isRecord(members["details"]) ? members["details"] : {},
        request_id: typeof members["request_id"] === "string" ? members["request_id"] : null,
      },
      status,
    );
  }
  const retryable = status >= 500 || status === 429;
  const message = `The answer (status ${status}) is not from Cloche. Is a proxy in between?`;
  return new ApiError({ code: "bad_answer", message, retryable, details: {}, request_id: null }, status);
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Any thrown thing as an `ApiError`. */
export function asApiError(thrown: unknown): ApiError {
  if (thrown instanceof ApiError) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new ApiError({ code: "page_failed", message, retryable: false, details: {}, request_id: null }, 0);
}
