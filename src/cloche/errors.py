"""Every error that Cloche raises on purpose, and nothing else.

    ClocheError
    ├─ InvalidInputError            the caller's data
    │   └─ InvalidIdError · InvalidCursorError · SchemaMismatchError · InvalidContextError
    ├─ NotAuthenticatedError
    │   └─ TokenExpiredError · SessionRevokedError
    ├─ PermissionDeniedError        carries the decision's reason
    │   └─ OriginRefusedError · CsrfRefusedError
    ├─ NotFoundError                also for another tenant's object: no difference is visible
    ├─ ConflictError
    │   └─ IllegalTransitionError · ThreadBusyError · ApprovalPendingError · IdempotencyMismatchError
    │      · AlreadyDecidedError · AlreadyExistsError · TenantRequiredError · NotRepairableError
    │      · RetryRefusedError
    ├─ LimitExceededError
    │   └─ RateLimitedError · QuotaExceededError · PayloadTooLargeError · SlowConsumerError
    │      · DepthExceededError
    ├─ PositionLostError            history does not reach back; take a snapshot
    ├─ LeaseLostError               this attempt no longer owns the run; stop, write nothing
    ├─ DrainingError                the process is going away; come back in a moment
    ├─ AgentError                   the agent's side
    │   └─ AgentFailedError · AgentReturnedNothingError · AgentOutputTooLargeError
    │      · AgentUnavailableError · JournalMismatchError · AttemptsExhaustedError · RunCancelledError
    ├─ ModelError                   the provider's side
    │   └─ ModelUnavailableError · ModelRateLimitedError · ModelRefusedError · ModelProtocolError
    │      · ModelTimeoutError
    ├─ ToolError
    │   └─ ToolFailedError · ToolTimeoutError · ToolDeniedError · ToolUnknownError
    │      · ToolInvalidArgumentsError · ToolStoppedError · ToolOutcomeUnknownError
    ├─ DeadlineExceededError        the run's own deadline passed
    ├─ StorageError
    │   └─ StorageUnavailableError · StorageFullError · StorageReadOnlyError · StorageLockedError
    │      · MigrationNeededError
    ├─ ProtocolViolationError       a client broke the wire protocol
    │   └─ UnknownOperationError
    └─ ConfigurationError           at start only

``code`` is stable and goes on the wire; the message is for people. What an error means on HTTP, on a WebSocket and
in the documentation stands in one table, ``cloche.api.wire.errors``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

Details = Mapping[str, object]


class ClocheError(Exception):
    """The root of every error that this program raises on purpose.

    Attributes:
        code: stable, snake_case, on the wire.
        retryable: the same request may succeed later without a change.
        details: JSON-ready facts about the place and the limit; never a secret, a path or a statement.
        retry_after_s: seconds after which a retry makes sense, where that is known.
    """

    code: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str = "",
        *,
        details: Details | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        self.message = message or (type(self).__doc__ or self.code).split("\n", 1)[0]
        self.details: dict[str, object] = dict(details or {})
        self.retry_after_s = retry_after_s
        super().__init__(self.message)


class InvalidInputError(ClocheError):
    """The caller's data is not acceptable; ``details`` names the place."""

    code = "invalid_input"


class InvalidIdError(InvalidInputError):
    """A text is not an id, or is the id of another kind of thing."""

    code = "invalid_id"


class InvalidCursorError(InvalidInputError):
    """A list cursor was not made by this server, or for this list."""

    code = "invalid_cursor"


class SchemaMismatchError(InvalidInputError):
    """A value does not fit the schema it was declared with."""

    code = "schema_mismatch"


class InvalidContextError(InvalidInputError):
    """A context cannot be made from, or replaced by, what was given."""

    code = "invalid_context"


class NotAuthenticatedError(ClocheError):
    """Nobody is signed in, or the credential is wrong."""

    code = "not_authenticated"


class TokenExpiredError(NotAuthenticatedError):
    """The access token has expired; refresh it and come back."""

    code = "token_expired"
    retryable = True


class SessionRevokedError(NotAuthenticatedError):
    """The session was ended; sign in again."""

    code = "session_revoked"


class PermissionDeniedError(ClocheError):
    """The principal may not do this; the message says which permission is missing."""

    code = "permission_denied"


class OriginRefusedError(PermissionDeniedError):
    """A browser page of this origin may not open a connection."""

    code = "origin_refused"


class CsrfRefusedError(PermissionDeniedError):
    """A change that came with a browser's cookies lacks the session's CSRF token; get the session, and send its token."""

    code = "csrf_refused"


class NotFoundError(ClocheError):
    """There is no such thing for this caller. Another's object is answered in exactly this way."""

    code = "not_found"


class ConflictError(ClocheError):
    """The request contradicts the present state."""

    code = "conflict"


class IllegalTransitionError(ConflictError):
    """A run cannot move from its state to the wanted one."""

    code = "illegal_transition"


class ThreadBusyError(ConflictError):
    """A run is working on the thread and the caller asked to be refused then."""

    code = "thread_busy"
    retryable = True


class ApprovalPendingError(ConflictError):
    """A run of the thread waits for an approval; ``details`` names it."""

    code = "approval_pending"
    retryable = True


class IdempotencyMismatchError(ConflictError):
    """The same ``client_message_id`` came with another body."""

    code = "idempotency_mismatch"


class AlreadyDecidedError(ConflictError):
    """Somebody decided this approval before; ``details`` holds the first decision."""

    code = "already_decided"


class AlreadyExistsError(ConflictError):
    """A thing of this name exists."""

    code = "already_exists"


class TenantRequiredError(ConflictError):
    """The credential is valid in several tenants; ``details`` lists them, name one."""

    code = "tenant_required"


class NotRepairableError(ConflictError):
    """This disagreement cannot be repaired without a person; the message says why."""

    code = "not_repairable"


class RetryRefusedError(ConflictError):
    """The run did not end in a way that another try could mend; ``details`` holds its state."""

    code = "retry_refused"


class LimitExceededError(ClocheError):
    """A stated limit was reached."""

    code = "limit_exceeded"
    retryable = True


class RateLimitedError(LimitExceededError):
    """Too many requests; ``retry_after_s`` says when to come back."""

    code = "rate_limited"


class QuotaExceededError(LimitExceededError):
    """A quota of the tenant or user is used up for now."""

    code = "quota_exceeded"


class PayloadTooLargeError(LimitExceededError):
    """The body, frame or text is larger than the stated limit."""

    code = "payload_too_large"
    retryable = False


class SlowConsumerError(LimitExceededError):
    """The client reads too slowly; come back with the position."""

    code = "slow_consumer"


class DepthExceededError(LimitExceededError):
    """Operations may be nested ten deep."""

    code = "depth_exceeded"
    retryable = False


class PositionLostError(ClocheError):
    """The log does not reach back to this position; take a snapshot."""

    code = "position_lost"
    retryable = True


class LeaseLostError(ClocheError):
    """Another execution owns the run; this one stops and writes nothing more."""

    code = "lease_lost"
    retryable = True


class DrainingError(ClocheError):
    """The server is shutting down; the same request succeeds on the next process."""

    code = "draining"
    retryable = True


class AgentError(ClocheError):
    """The agent did not do what an agent must."""

    code = "agent_error"


class AgentFailedError(AgentError):
    """The agent's own code raised."""

    code = "agent_failed"


class AgentReturnedNothingError(AgentError):
    """The agent ended without an answer."""

    code = "agent_returned_nothing"


class AgentOutputTooLargeError(AgentError):
    """The agent's answer is larger than its limit."""

    code = "agent_output_too_large"


class AgentUnavailableError(AgentError):
    """The run names an agent or version that this server does not have."""

    code = "agent_unavailable"


class JournalMismatchError(AgentError):
    """On replay the agent took another path than its journal records."""

    code = "journal_mismatch"


class RunCancelledError(AgentError):
    """Somebody, or a newer message, cancelled the run."""

    code = "run_cancelled"


class AttemptsExhaustedError(AgentError):
    """Every attempt at the run was lost with its worker."""

    code = "attempts_exhausted"


class ModelError(ClocheError):
    """The model provider's side failed."""

    code = "model_error"


class ModelUnavailableError(ModelError):
    """The provider cannot be reached, or answered with a server error."""

    code = "model_unavailable"
    retryable = True


class ModelRateLimitedError(ModelError):
    """The provider refuses more requests for now."""

    code = "model_rate_limited"
    retryable = True


class ModelRefusedError(ModelError):
    """The provider refused the request: key, model name, content or size."""

    code = "model_refused"


class ModelProtocolError(ModelError):
    """The provider's answer cannot be understood."""

    code = "model_protocol"


class ModelTimeoutError(ModelError):
    """The provider did not answer within the step's deadline."""

    code = "model_timeout"
    retryable = True


class ToolError(ClocheError):
    """A tool call did not succeed; the model is told so."""

    code = "tool_error"


class ToolFailedError(ToolError):
    """The tool raised."""

    code = "tool_failed"


class ToolTimeoutError(ToolError):
    """The tool did not finish within its deadline and was stopped."""

    code = "tool_timeout"
    retryable = True


class ToolDeniedError(ToolError):
    """The tool is not granted to this user or agent, or a person said no."""

    code = "tool_denied"


class ToolUnknownError(ToolError):
    """There is no tool of this name for this agent."""

    code = "tool_unknown"


class ToolInvalidArgumentsError(ToolError):
    """The arguments do not fit the tool's schema."""

    code = "tool_invalid_arguments"


class ToolStoppedError(ToolError):
    """The tool was stopped because its run ended."""

    code = "tool_stopped"


class ToolOutcomeUnknownError(ToolError):
    """The worker died while the tool ran: whether its effect happened is not known."""

    code = "tool_outcome_unknown"


class DeadlineExceededError(ClocheError):
    """The run's deadline passed."""

    code = "deadline_exceeded"
    retryable = True


class StorageError(ClocheError):
    """The database failed."""

    code = "storage_error"
    retryable = True


class StorageUnavailableError(StorageError):
    """The database cannot be used now; nothing was written."""

    code = "storage_unavailable"


class StorageFullError(StorageError):
    """The disk is full; nothing was written."""

    code = "storage_full"


class StorageReadOnlyError(StorageError):
    """The data folder cannot be written."""

    code = "storage_read_only"


class StorageLockedError(StorageError):
    """Another process holds the database."""

    code = "storage_locked"


class MigrationNeededError(StorageError):
    """The schema is older or newer than this program; the message says which command helps."""

    code = "migration_needed"
    retryable = False


class ProtocolViolationError(ClocheError):
    """The client broke the wire protocol."""

    code = "protocol_violation"


class UnknownOperationError(ProtocolViolationError):
    """The frame's ``op`` is none that this server has."""

    code = "unknown_operation"


class ConfigurationError(ClocheError):
    """The settings cannot be used; raised at start only."""

    code = "configuration_error"
