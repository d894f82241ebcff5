"""What goes over a live connection: the operations of a client, and what the server says besides events.

The shapes only; the AsyncAPI document is made from them. How frames are read is known in ``cloche.api.ws.protocol``.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from cloche.domain.approvals import ApprovalDecision
from cloche.domain.messages import Part
from cloche.domain.permissions import Permission
from cloche.domain.runs import OnBusy, OnPendingApproval
from cloche.events.feed import ThreadState
from cloche.events.snapshot import Snapshot
from cloche.events.subscription import Opening
from cloche.ids import ApprovalId, RunId, ThreadId, TypedId

SUBPROTOCOL = "cloche.v1"
MAX_REF = 64

Ref = str | int | None
Position = Annotated[int, msgspec.Meta(ge=0)]
_RefField = Annotated[str, msgspec.Meta(max_length=MAX_REF)] | int | None


class Operation(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag="", forbid_unknown_fields=True):
    """One thing that a client asks for. ``ref`` comes back with the one answer to it."""

    ref: _RefField = None


class Auth(Operation, frozen=True, kw_only=True, tag="auth"):
    """Say who you are: the first frame where no credential came with the upgrade, later to stay beyond a token's end."""

    token: str


class Subscribe(Operation, frozen=True, kw_only=True, tag="subscribe"):
    """Follow a thread after a position; without one, from its beginning. A second one for a thread replaces the first."""

    thread_id: ThreadId
    after: Position | None = None
    epoch: int | None = None


class Unsubscribe(Operation, frozen=True, kw_only=True, tag="unsubscribe"):
    """Follow the thread no more."""

    thread_id: ThreadId


class Watch(Operation, frozen=True, kw_only=True, tag="watch"):
    """Hear of your threads and approvals as a list shows them, whichever threads you follow."""


class Unwatch(Operation, frozen=True, kw_only=True, tag="unwatch"):
    """Hear of them no more."""


class Send(Operation, frozen=True, kw_only=True, tag="send"):
    """Send a message, as ``text`` or as ``parts``; without a thread, to a fresh one."""

    client_message_id: str
    thread_id: ThreadId | None = None
    text: str | None = None
    parts: tuple[Part, ...] | None = None
    agent: str | None = None
    on_busy: OnBusy = OnBusy.ENQUEUE
    on_pending_approval: OnPendingApproval = OnPendingApproval.REJECT


class Cancel(Operation, frozen=True, kw_only=True, tag="cancel"):
    """Stop a run."""

    run_id: RunId


class Decide(Operation, frozen=True, kw_only=True, tag="decide"):
    """Answer an approval; ``arguments`` replace those that the agent proposed."""

    approval_id: ApprovalId
    decision: ApprovalDecision
    arguments: dict[str, object] | None = None


class Ping(Operation, frozen=True, kw_only=True, tag="ping"):
    """Ask for the server's time."""


AnyOperation = Auth | Subscribe | Unsubscribe | Watch | Unwatch | Send | Cancel | Decide | Ping

OPERATIONS: tuple[type[AnyOperation], ...] = (
    Auth,
    Subscribe,
    Unsubscribe,
    Watch,
    Unwatch,
    Send,
    Cancel,
    Decide,
    Ping,
)

NEEDED_PERMISSION: dict[type[AnyOperation], Permission | None] = {
    Auth: None,
    Subscribe: Permission.THREADS_READ,
    Unsubscribe: Permission.THREADS_READ,
    Watch: Permission.THREADS_READ,
    Unwatch: Permission.THREADS_READ,
    Send: Permission.RUNS_WRITE,
    Cancel: Permission.RUNS_WRITE,
    Decide: Permission.APPROVALS_DECIDE,
    Ping: None,
}
"""The one right that each operation needs; None: whoever is signed in may."""


class ReadyLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What this connection takes at most."""

    frame_bytes: int
    subscriptions: int
    ops_per_second: int


class Notice(msgspec.Struct, frozen=True, kw_only=True, tag_field="notice", tag=""):
    """What the server says unasked, besides events."""


class ConnectionReady(Notice, frozen=True, kw_only=True, tag="connection_ready"):
    """The connection is somebody's; operations are taken. The server pings every ``heartbeat_s`` seconds."""

    websocket_id: str
    user_id: str
    heartbeat_s: float
    limits: ReadyLimits


class StreamOpened(Notice, frozen=True, kw_only=True, tag="stream_opened", omit_defaults=True):
    """Where a thread's stream begins: before its first events, and again whenever history was lost meanwhile.

    ``recovered``: exactly what was missed follows. Otherwise ``snapshot`` stands for everything before ``from_seq``.
    """

    thread_id: str
    recovered: bool
    from_seq: int
    head_seq: int
    epoch: int
    run_id: str | None = None
    snapshot: Snapshot | None = None


class ErrorMembers(msgspec.Struct, frozen=True, kw_only=True):
    """An error as every edge shows it."""

    code: str
    message: str
    retryable: bool
    details: dict[str, object]
    request_id: str | None


class StreamClosed(Notice, frozen=True, kw_only=True, tag="stream_closed"):
    """A thread is followed no more, because of the error; the connection stays."""

    thread_id: str
    error: ErrorMembers


class ThreadsChanged(Notice, frozen=True, kw_only=True, tag="threads_changed"):
    """Threads of the user, as they are now, of which a list shows something else than before."""

    threads: tuple[ThreadState, ...]


class ApprovalsChanged(Notice, frozen=True, kw_only=True, tag="approvals_changed"):
    """How many open approvals the user may decide now, one's own and those given to one."""

    pending: int


class Draining(Notice, frozen=True, kw_only=True, tag="draining"):
    """The server goes away. Connect again and subscribe after these positions."""

    positions: dict[str, int]


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to an operation that was done; what else it holds depends on the operation."""

    ref: Ref
    ok: Literal[True]


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to an operation that was not done."""

    ref: Ref
    ok: Literal[False]
    error: ErrorMembers


def _plain(value: object) -> str:
    if isinstance(value, TypedId):
        return str(value)
    raise TypeError(f"a {type(value).__name__} has no JSON form")


_ENCODER = msgspec.json.Encoder(enc_hook=_plain)


def encode_frame(value: object) -> bytes:
    """The value as compact JSON; typed ids are texts."""
    return _ENCODER.encode(value)


def opened(opening: Opening, snapshot: Snapshot | None, run_id: RunId | None = None) -> StreamOpened:
    """What a follower is told first."""
    return StreamOpened(
        thread_id=opening.thread_id,
        recovered=opening.recovered,
        from_seq=opening.from_seq,
        head_seq=opening.head_seq,
        epoch=opening.epoch,
        run_id=run_id,
        snapshot=snapshot,
    )
