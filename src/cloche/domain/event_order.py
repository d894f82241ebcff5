"""The checker of a run's event order, which tests, the fault kit and ``cloche doctor`` all use."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from cloche.domain.events import (
    EVENT_BY_TYPE,
    TERMINAL_TYPES,
    AgentCompleted,
    AgentStarted,
    ApprovalDelegated,
    ApprovalRequested,
    ApprovalResolved,
    Envelope,
    EventData,
    MessageCompleted,
    MessageDelta,
    RunQueued,
    StepRestarted,
    ToolCompleted,
    ToolExecuting,
    ToolProgress,
    Violation,
)

_BEFORE_START = frozenset({"message_created", "run_queued"})
_ANY_TIME = frozenset({"thread_updated", "approval_resolved"}) | TERMINAL_TYPES


def decoded(envelope: Envelope) -> EventData:
    """The envelope's data as its own class.

    Raises:
        msgspec.ValidationError: the type is none of the union, or the data does not fit it.
    """
    kind = EVENT_BY_TYPE.get(envelope.type)
    if kind is None:
        raise msgspec.ValidationError(f"no such event type: {envelope.type}")
    return msgspec.json.decode(envelope.data, type=kind)


def check_run(events: Iterable[Envelope]) -> list[Violation]:
    """Every rule of order that these events of one run break; empty when they are a whole and right story."""
    walk = _Walk()
    last = 0
    for envelope in events:
        last = envelope.seq
        walk.step(envelope)
    walk.end(last)
    return walk.violations


def check_gapless(seqs: Sequence[int], *, after: int) -> list[Violation]:
    """The places where the numbers of a thread's events, read after ``after``, are not one more each time."""
    found: list[Violation] = []
    expected = after + 1
    for seq in seqs:
        if seq != expected:
            found.append(Violation(rule="gapless", seq=seq, detail=f"expected {expected}, got {seq}"))
        expected = seq + 1
    return found


@dataclass(slots=True)
class _Walk:
    violations: list[Violation] = field(default_factory=list[Violation])
    seen: list[str] = field(default_factory=list[str])
    last_seq: int = 0
    run_id: str | None = None
    attempt: int = 0
    is_retry: bool = False
    terminal: str | None = None
    open_tools: set[str] = field(default_factory=set[str])
    closed_tools: set[str] = field(default_factory=set[str])
    open_messages: set[str] = field(default_factory=set[str])
    closed_messages: set[str] = field(default_factory=set[str])
    open_approvals: set[str] = field(default_factory=set[str])

    def step(self, envelope: Envelope) -> None:
        seq, kind = envelope.seq, envelope.type
        if seq <= self.last_seq:
            self._break("increasing", seq, f"{seq} after {self.last_seq}")
        self.last_seq = seq
        if self.run_id not in (None, envelope.run_id):
            self._break("one_run", seq, f"{envelope.run_id} among the events of {self.run_id}")
        self.run_id = envelope.run_id
        if self.terminal is not None:
            self._break("terminal_is_last", seq, f"{kind} after {self.terminal}")
        try:
            data = decoded(envelope)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            self._break("shape", seq, str(error))
            data = None
        self._check_beginning(kind, seq, is_retry=isinstance(data, RunQueued) and data.retry_of is not None)
        self.seen.append(kind)
        if data is None:
            return
        self._check_data(data, seq)
        if kind in TERMINAL_TYPES:
            self.terminal = kind

    def end(self, seq: int) -> None:
        if self.terminal is None:
            self._break("one_terminal", seq, "the run has no terminal event")
            return
        for tool in sorted(self.open_tools):
            self._break("tool_completed", seq, f"{tool} was executing and never completed")
        if self.terminal == AgentCompleted.type:
            for message in sorted(self.open_messages):
                self._break("message_completed", seq, f"{message} has deltas and was never completed")

    def _check_beginning(self, kind: str, seq: int, *, is_retry: bool) -> None:
        position = len(self.seen)
        if is_retry and position:
            self._break("beginning", seq, "a retry has no message of its own, and begins with its queueing")
        self.is_retry = self.is_retry or (is_retry and not position)
        expected = ("run_queued",) if self.is_retry else ("message_created", "run_queued")
        if position < len(expected) and kind != expected[position]:
            self._break("beginning", seq, f"expected {expected[position]}, got {kind}")
        if position >= len(expected) and kind in _BEFORE_START:
            self._break("beginning", seq, f"a second {kind}")
        needs_start = kind not in _BEFORE_START | _ANY_TIME and kind != AgentStarted.type
        if needs_start and not self.attempt:
            self._break("agent_started_first", seq, f"{kind} before agent_started")
        if kind == AgentCompleted.type and not self.attempt:
            self._break("agent_started_first", seq, "agent_completed without agent_started")

    def _check_data(self, data: EventData, seq: int) -> None:
        match data:
            case AgentStarted():
                if data.attempt <= self.attempt:
                    self._break("once_per_attempt", seq, f"attempt {data.attempt} after {self.attempt}")
                self.attempt = data.attempt
            case ToolExecuting() | ToolProgress() | ToolCompleted():
                self._check_tool(data, seq)
            case MessageDelta() | MessageCompleted():
                self._check_message(data, seq)
            case ApprovalRequested() | ApprovalDelegated() | ApprovalResolved():
                self._check_approval(data, seq)
            case StepRestarted():
                self.open_tools.discard(data.tool_call_id or "")
                self.open_messages.discard(data.message_id or "")
            case _:
                pass

    def _check_tool(self, data: ToolExecuting | ToolProgress | ToolCompleted, seq: int) -> None:
        call = data.tool_call_id
        if isinstance(data, ToolExecuting):
            if call in self.open_tools or call in self.closed_tools:
                self._break("tool_once", seq, f"{call} began twice")
            self.open_tools.add(call)
            return
        if call not in self.open_tools:
            self._break("tool_executing_first", seq, f"{data.type} of {call}, which is not executing")
        if isinstance(data, ToolCompleted):
            self.open_tools.discard(call)
            self.closed_tools.add(call)

    def _check_message(self, data: MessageDelta | MessageCompleted, seq: int) -> None:
        message = data.message_id
        if message in self.closed_messages:
            self._break("deltas_before_completion", seq, f"{data.type} of {message} after its completion")
        if isinstance(data, MessageDelta):
            self.open_messages.add(message)
        else:
            self.open_messages.discard(message)
            self.closed_messages.add(message)

    def _check_approval(self, data: ApprovalRequested | ApprovalDelegated | ApprovalResolved, seq: int) -> None:
        approval = data.approval_id
        match data:
            case ApprovalRequested():
                self.open_approvals.add(approval)
            case ApprovalDelegated():
                if approval not in self.open_approvals:
                    self._break("delegated_while_open", seq, f"{data.type} of {approval}, which is not open")
            case ApprovalResolved():
                self.open_approvals.discard(approval)

    def _break(self, rule: str, seq: int, detail: str) -> None:
        self.violations.append(Violation(rule=rule, seq=seq, detail=detail))
