"""The execution context: who, which conversation, which run, which request. Frozen, and passed explicitly."""

from __future__ import annotations

import copy
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from cloche.domain.scope import Scope
from cloche.domain.tools import masked
from cloche.errors import DepthExceededError, InvalidContextError
from cloche.ids import ExecutionId, RequestId, RunId, ThreadId, TraceId

MAX_DEPTH = 10

CleanUp = Callable[[], Awaitable[None]]


def _no_attributes() -> Mapping[str, object]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class UserExecutionContext:
    """Everything a call may know about whom it works for.

    The ids come from a verified token and from rows, never from text that a client sent as its identity. ``attributes``
    is a read-only copy: what the caller does to its own mapping afterwards changes nothing here.
    """

    scope: Scope
    thread_id: ThreadId
    run_id: RunId
    request_id: RequestId
    trace_id: TraceId
    created_at: datetime
    execution_id: ExecutionId | None = None
    parent_request_id: RequestId | None = None
    deadline_at: datetime | None = None
    depth: int = 0
    operation: str = "request"
    attributes: Mapping[str, object] = field(default_factory=_no_attributes)

    def __post_init__(self) -> None:
        for name, kind in _TYPES.items():
            value = getattr(self, name)
            if not isinstance(value, kind) and not (value is None and name in _OPTIONAL):
                raise InvalidContextError(
                    f"{name}: expected a {kind.__name__}, got {_described(value)}", details={"place": name}
                )
        try:
            attributes = copy.deepcopy(dict(self.attributes))
        except TypeError as error:
            raise InvalidContextError(
                "attributes: expected values that can be copied, such as JSON", details={"place": "attributes"}
            ) from error
        object.__setattr__(self, "attributes", MappingProxyType(attributes))

    @classmethod
    def from_request(
        cls,
        scope: Scope,
        *,
        thread_id: ThreadId,
        run_id: RunId,
        created_at: datetime,
        request_id: RequestId | None = None,
        trace_id: TraceId | None = None,
        deadline_at: datetime | None = None,
        attributes: Mapping[str, object] | None = None,
    ) -> UserExecutionContext:
        """The context of one request; a missing request or trace id is made.

        Raises:
            InvalidContextError: an id is of the wrong kind, or ``scope`` is no Scope.
        """
        return cls(
            scope=scope,
            thread_id=thread_id,
            run_id=run_id,
            request_id=request_id or RequestId.new(),
            trace_id=trace_id or TraceId.new(),
            created_at=created_at,
            deadline_at=deadline_at,
            attributes=attributes or {},
        )

    def child(self, operation: str, attributes: Mapping[str, object] | None = None) -> UserExecutionContext:
        """A context for a part of this one's work: same thread and run, a new request id, this one's as parent.

        Raises:
            InvalidContextError: ``operation`` is blank.
            DepthExceededError: the new context would be deeper than ten.
        """
        if not operation.strip():
            raise InvalidContextError("operation: expected a name, got a blank text", details={"place": "operation"})
        if self.depth >= MAX_DEPTH:
            raise DepthExceededError(f"operations may be nested {MAX_DEPTH} deep", details={"limit": MAX_DEPTH})
        return UserExecutionContext(
            scope=self.scope,
            thread_id=self.thread_id,
            run_id=self.run_id,
            request_id=RequestId.new(),
            trace_id=self.trace_id,
            created_at=self.created_at,
            execution_id=self.execution_id,
            parent_request_id=self.request_id,
            deadline_at=self.deadline_at,
            depth=self.depth + 1,
            operation=operation,
            attributes={**self.attributes, **(attributes or {})},
        )

    def to_dict(self) -> dict[str, object]:
        """The ids and times as JSON-ready values; no permission, no e-mail address, no credential, secrets masked."""
        return {
            "tenant_id": str(self.scope.tenant_id),
            "user_id": str(self.scope.user_id),
            "thread_id": str(self.thread_id),
            "run_id": str(self.run_id),
            "request_id": str(self.request_id),
            "parent_request_id": None if self.parent_request_id is None else str(self.parent_request_id),
            "execution_id": None if self.execution_id is None else str(self.execution_id),
            "trace_id": str(self.trace_id),
            "operation": self.operation,
            "depth": self.depth,
            "created_at": self.created_at.isoformat(),
            "deadline_at": None if self.deadline_at is None else self.deadline_at.isoformat(),
            "attributes": copy.deepcopy(masked(self.attributes)),
        }


_TYPES: Mapping[str, type] = {
    "scope": Scope,
    "thread_id": ThreadId,
    "run_id": RunId,
    "request_id": RequestId,
    "trace_id": TraceId,
    "created_at": datetime,
    "execution_id": ExecutionId,
    "parent_request_id": RequestId,
    "deadline_at": datetime,
    "depth": int,
    "operation": str,
    "attributes": Mapping,
}
_OPTIONAL = frozenset({"execution_id", "parent_request_id", "deadline_at"})


def check_context(value: object) -> UserExecutionContext:
    """The context itself.

    Raises:
        InvalidContextError: it is something else, such as a mutable bag of state; the text names what is expected.
    """
    if isinstance(value, UserExecutionContext):
        return value
    raise InvalidContextError(
        f"expected a UserExecutionContext, got {_described(value)}: a mutable object that travels between users "
        "cannot stand in for a frozen context"
    )


class CleanUps:
    """What has to be undone when a context ends, newest first."""

    def __init__(self) -> None:
        self._pending: list[CleanUp] = []
        self.failures: list[Exception] = []

    def add(self, clean_up: CleanUp) -> None:
        """Run ``clean_up`` when the context ends."""
        self._pending.append(clean_up)

    async def run(self) -> None:
        """Every clean-up has run once, last added first; what one raised is in ``failures``.

        Cancellation: the clean-up at work is cut short, the others run, then it travels on.
        """
        interruption: BaseException | None = None
        while self._pending:
            clean_up = self._pending.pop()
            try:
                await clean_up()
            except Exception as error:  # noqa: BLE001 -- one failing clean-up must not keep the next from running
                self.failures.append(error)
            except BaseException as error:  # noqa: BLE001 -- nor may a cancellation, which is raised at the end
                interruption = interruption or error
        if interruption is not None:
            raise interruption


@asynccontextmanager
async def managed_user_context(
    context: UserExecutionContext,
) -> AsyncGenerator[tuple[UserExecutionContext, CleanUps]]:
    """Yield the context with its clean-ups, and run them at the end, also on an error and on cancellation.

    Guarantees: clean-ups run last in, first out; one that raises stops none of the others. When the body itself ended
    well, the failures are raised together afterwards; else the body's own error is the one that travels.

    Raises:
        InvalidContextError: ``context`` is no context.
        ExceptionGroup: clean-ups failed after a body that did not.
    """
    clean_ups = CleanUps()
    checked = check_context(context)
    try:
        yield checked, clean_ups
    finally:
        await clean_ups.run()
    if clean_ups.failures:
        raise ExceptionGroup("clean-ups failed", clean_ups.failures)


def _described(value: object) -> str:
    if value is None:
        return "None"
    kind = type(value).__name__
    return f"the text of another kind ({kind})" if isinstance(value, str) else f"a {kind}"
