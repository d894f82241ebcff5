"""THE error table: what each error means on HTTP, on a WebSocket and in the documentation, and its one JSON shape.

Close codes say what a client does next. 4000-4499: come back with your position. 4500-4999: do not, the same thing
ends in the same way. An error that a wait may mend (``retryable``) closes with 4000 + its HTTP status, or 4450 + what its
status has beyond 500; any other one closes with 4500 + what its status has beyond 400. 1011 is a failure of the server's own
and 1012 a server that is going away: come back after both.

Source: https://www.iana.org/assignments/websocket/websocket.xhtml#close-code-number
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from cloche import errors
from cloche.errors import ClocheError
from cloche.ids import RequestId

INTERNAL_ERROR = 1011
SERVICE_RESTART = 1012
NORMAL = 1000
MAX_REASON_BYTES = 123
"""What fits beside the code in a control frame. Source: https://www.rfc-editor.org/rfc/rfc6455#section-5.5"""

_DOCS_PAGE = "reference/errors.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRow:
    """What one class of errors means at the edges.

    Attributes:
        status: of the HTTP response.
        close_code: of the WebSocket that this error ends.
        anchor: the place in the documentation, relative to its root.
        retry_after_s: when the error itself does not say after how many seconds a retry makes sense; None: no hint.
    """

    status: int
    close_code: int
    anchor: str
    retry_after_s: float | None


def _row(kind: type[ClocheError], status: int, *, close_code: int = 0) -> ErrorRow:
    return ErrorRow(
        status=status,
        close_code=close_code or _close_code(status, may_return=kind.retryable),
        anchor=f"{_DOCS_PAGE}#{kind.code}",
        retry_after_s=1 if status in (429, 503) and kind.retryable else None,
    )


def _close_code(status: int, *, may_return: bool) -> int:
    if may_return:
        return 4000 + status if status < 500 else 4450 + status - 500
    return 4500 + status - 400 if status < 500 else INTERNAL_ERROR


_STATUSES: Mapping[type[ClocheError], int] = {
    ClocheError: 500,
    errors.InvalidInputError: 400,
    errors.InvalidIdError: 400,
    errors.InvalidCursorError: 400,
    errors.SchemaMismatchError: 400,
    errors.InvalidContextError: 400,
    errors.NotAuthenticatedError: 401,
    errors.TokenExpiredError: 401,
    errors.SessionRevokedError: 401,
    errors.PermissionDeniedError: 403,
    errors.OriginRefusedError: 403,
    errors.CsrfRefusedError: 403,
    errors.NotFoundError: 404,
    errors.ConflictError: 409,
    errors.IllegalTransitionError: 409,
    errors.ThreadBusyError: 409,
    errors.ApprovalPendingError: 409,
    errors.IdempotencyMismatchError: 409,
    errors.AlreadyDecidedError: 409,
    errors.AlreadyExistsError: 409,
    errors.TenantRequiredError: 409,
    errors.NotRepairableError: 409,
    errors.RetryRefusedError: 409,
    errors.LimitExceededError: 429,
    errors.RateLimitedError: 429,
    errors.QuotaExceededError: 429,
    errors.PayloadTooLargeError: 413,
    errors.SlowConsumerError: 408,
    errors.DepthExceededError: 400,
    errors.PositionLostError: 410,
    errors.LeaseLostError: 503,
    errors.DrainingError: 503,
    errors.AgentError: 500,
    errors.AgentFailedError: 500,
    errors.AgentReturnedNothingError: 500,
    errors.AgentOutputTooLargeError: 500,
    errors.AgentUnavailableError: 503,
    errors.JournalMismatchError: 500,
    errors.AttemptsExhaustedError: 500,
    errors.RunCancelledError: 409,
    errors.ModelError: 502,
    errors.ModelUnavailableError: 503,
    errors.ModelRateLimitedError: 503,
    errors.ModelRefusedError: 502,
    errors.ModelProtocolError: 502,
    errors.ModelTimeoutError: 504,
    errors.ToolError: 500,
    errors.ToolFailedError: 500,
    errors.ToolTimeoutError: 504,
    errors.ToolDeniedError: 403,
    errors.ToolUnknownError: 404,
    errors.ToolInvalidArgumentsError: 400,
    errors.ToolStoppedError: 409,
    errors.ToolOutcomeUnknownError: 500,
    errors.DeadlineExceededError: 504,
    errors.StorageError: 503,
    errors.StorageUnavailableError: 503,
    errors.StorageFullError: 503,
    errors.StorageReadOnlyError: 503,
    errors.StorageLockedError: 503,
    errors.MigrationNeededError: 503,
    errors.ProtocolViolationError: 400,
    errors.UnknownOperationError: 400,
    errors.ConfigurationError: 500,
}
_OWN_CLOSE_CODES: Mapping[type[ClocheError], int] = {
    errors.SessionRevokedError: 4502,  # apart from 4501: nothing was wrong with the credential, it is over
    errors.DrainingError: SERVICE_RESTART,
}

ERROR_TABLE: Mapping[type[ClocheError], ErrorRow] = {
    kind: _row(kind, status, close_code=_OWN_CLOSE_CODES.get(kind, 0)) for kind, status in _STATUSES.items()
}


def row_of(kind: type[ClocheError]) -> ErrorRow:
    """The row of this class, or of the nearest one above it."""
    return next(ERROR_TABLE[above] for above in kind.__mro__ if above in ERROR_TABLE)


def visible(error: BaseException) -> ClocheError:
    """What a client is told of it: one of our errors as it is, of anything else only that it happened."""
    if isinstance(error, ClocheError):
        return error
    return ClocheError("the server failed; the request id leads to the reason in its log")


def error_members(error: ClocheError) -> dict[str, object]:
    """Code, message, retryable and details, as every edge shows them. ``details`` says when to retry, if that is known."""
    wait_s = retry_after_s(error)
    details = error.details if wait_s is None else {**error.details, "retry_after_s": wait_s}
    return {"code": error.code, "message": error.message, "retryable": error.retryable, "details": details}


def error_body(error: ClocheError, request_id: RequestId | None) -> dict[str, object]:
    """The JSON that every edge answers with: ``{"error": {code, message, retryable, details, request_id}}``."""
    return {"error": {**error_members(error), "request_id": None if request_id is None else str(request_id)}}


def retry_after_s(error: ClocheError) -> float | None:
    """After how many seconds a retry makes sense: as the error says, or else its row; None when none does."""
    return row_of(type(error)).retry_after_s if error.retry_after_s is None else error.retry_after_s


def error_headers(error: ClocheError) -> dict[str, str]:
    """The headers that belong to the response: when to retry, and how to authenticate.

    Source: https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3 and https://www.rfc-editor.org/rfc/rfc6750#section-3
    """
    headers: dict[str, str] = {}
    wait_s = retry_after_s(error)
    if wait_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(wait_s)))
    if row_of(type(error)).status == 401:
        # The code without a challenge of its own means that no credential came.
        is_plain = type(error) is errors.NotAuthenticatedError
        headers["WWW-Authenticate"] = "Bearer" if is_plain else 'Bearer error="invalid_token"'
    return headers


def close_reason(text: str) -> str:
    """As much of the text as fits beside a close code."""
    return text.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
