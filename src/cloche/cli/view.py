"""How a thread looks in a terminal: each event becomes pieces of styled text. Pure, but for remembering the open line."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import msgspec

from cloche.domain.events import (
    AgentCancelled,
    AgentCompleted,
    AgentFailed,
    AgentStarted,
    AgentThinking,
    AgentTimedOut,
    ApprovalDelegated,
    ApprovalRequested,
    ApprovalResolved,
    EventData,
    MessageCompleted,
    MessageCreated,
    MessageDelta,
    RunQueued,
    StepRestarted,
    SubagentCompleted,
    SubagentStarted,
    ToolCompleted,
    ToolExecuting,
    ToolProgress,
)
from cloche.domain.messages import Part
from cloche.events.snapshot import Snapshot

PLAIN = ""
DIM = "dim"
GOOD = "green"
BAD = "red"
WARNING = "yellow"
TOOL = "cyan"
PERSON = "bold"
THOUGHT = "dim italic"

MAX_SHOWN = 240
_MILLISECONDS_A_SECOND = 1000


@dataclass(frozen=True, slots=True)
class Piece:
    """Some text in one style."""

    text: str
    style: str = PLAIN


def printable(text: str) -> str:
    """The text without what a terminal would obey: control characters but for line ends and tabs."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in "\n\t" else "" if one == "\r" else "\ufffd" for one in text)


def shortened(value: object, limit: int = MAX_SHOWN) -> str:
    """A value on one line: text as it is, all else as JSON."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    flat = " ".join(printable(text).split())
    return flat if len(flat) <= limit else f"{flat[: limit - 1]}…"


def duration(milliseconds: int) -> str:
    """How long something took, as people say it."""
    if milliseconds < _MILLISECONDS_A_SECOND:
        return f"{milliseconds} ms"
    return f"{milliseconds / _MILLISECONDS_A_SECOND:.1f} s"


def text_of(parts: Collection[Part]) -> str:
    """The text of a message's parts."""
    return "\n\n".join(part.text for part in parts)


class View:
    """Shows one thread, event after event.

    Text and thoughts stream: their pieces continue the line that is open. Everything else has lines of its own.

    Args:
        is_own: whether the person at this terminal sent the message with this client's id; it is not shown again.
    """

    def __init__(self, is_own: Callable[[str], bool]) -> None:
        self._is_own = is_own
        self._open: tuple[str, str] | None = None
        self._is_mid_line = False
        self._drafts: dict[str, str] = {}
        self._calls: set[str] = set()
        self._thoughts: set[int] = set()
        self._shows: Mapping[type[EventData], Callable[..., list[Piece]]] = {
            MessageCreated: self._message_created,
            RunQueued: self._run_queued,
            AgentStarted: self._agent_started,
            AgentThinking: self._agent_thinking,
            MessageDelta: self._message_delta,
            MessageCompleted: self._message_completed,
            ToolExecuting: self._tool_executing,
            ToolProgress: self._tool_progress,
            ToolCompleted: self._tool_completed,
            ApprovalRequested: self._approval_requested,
            ApprovalDelegated: self._approval_delegated,
            ApprovalResolved: self._approval_resolved,
            SubagentStarted: self._subagent_started,
            SubagentCompleted: self._subagent_completed,
            StepRestarted: self._step_restarted,
            AgentCompleted: self._agent_completed,
            AgentFailed: self._agent_failed,
            AgentTimedOut: self._agent_failed,
            AgentCancelled: self._agent_cancelled,
        }

    def show(self, event: EventData) -> list[Piece]:
        """What is written for the event; nothing for what a terminal need not show."""
        shown = self._shows.get(type(event))
        return [] if shown is None else shown(event)

    def show_snapshot(self, snapshot: Snapshot) -> list[Piece]:
        """The state that stands for a history that is gone."""
        pieces = self._end_line()
        self._forget_run()
        if snapshot.messages_cut:
            pieces += self._line("… older messages are not shown", DIM)
        for message in snapshot.messages:
            style = PERSON if message.role == "user" else PLAIN
            speaker = "you: " if message.role == "user" else ""
            pieces += self._line(f"{speaker}{printable(text_of(message.parts))}", style)
        return pieces

    def note(self, text: str, style: str = DIM) -> list[Piece]:
        """A line about the connection or the program."""
        return self._line(printable(text), style)

    def begin_prompt(self) -> list[Piece]:
        """Whatever stands open is ended, so that a person can be asked on a line of their own."""
        return self._end_line()

    def _line(self, text: str, style: str) -> list[Piece]:
        return [*self._end_line(), Piece(f"{text}\n", style)]

    def _end_line(self) -> list[Piece]:
        was_mid_line, self._is_mid_line, self._open = self._is_mid_line, False, None
        return [Piece("\n")] if was_mid_line else []

    def _forget_run(self) -> None:
        self._drafts.clear()
        self._calls.clear()
        self._thoughts.clear()

    def _stream(self, kind: str, key: str, text: str, style: str) -> list[Piece]:
        if not text:
            return []
        pieces = [] if self._open == (kind, key) else self._end_line()
        self._open = (kind, key)
        self._is_mid_line = not text.endswith("\n")
        return [*pieces, Piece(printable(text), style)]

    def _message_created(self, event: MessageCreated) -> list[Piece]:
        if event.client_message_id is not None and self._is_own(event.client_message_id):
            return []
        return self._line(f"you: {printable(text_of(event.parts))}", PERSON)

    def _run_queued(self, event: RunQueued) -> list[Piece]:
        if not event.position:
            return []
        return self._line(f"waits for {event.position} run{'s' * (event.position > 1)} before it", DIM)

    def _agent_started(self, event: AgentStarted) -> list[Piece]:
        again = f", attempt {event.attempt}" if event.attempt > 1 else ""
        return self._line(f"{printable(event.agent)} · {printable(event.model)}{again}", DIM)

    def _agent_thinking(self, event: AgentThinking) -> list[Piece]:
        self._thoughts.add(event.step)
        return self._stream("thought", str(event.step), event.text, THOUGHT)

    def _message_delta(self, event: MessageDelta) -> list[Piece]:
        self._drafts[event.message_id] = self._drafts.get(event.message_id, "") + event.text
        return self._stream("text", event.message_id, event.text, PLAIN)

    def _message_completed(self, event: MessageCompleted) -> list[Piece]:
        text = text_of(event.parts)
        draft = self._drafts.pop(event.message_id, "")
        pieces: list[Piece] = []
        if not text.startswith(draft):
            pieces = self._line("— the text above is void; the whole message is:", WARNING)
            draft = ""
        return [*pieces, *self._stream("text", event.message_id, text[len(draft) :], PLAIN), *self._end_line()]

    def _tool_executing(self, event: ToolExecuting) -> list[Piece]:
        self._calls.add(event.tool_call_id)
        effect = " (changes something outside)" if event.effect == "external" else ""
        return self._line(f"⚙ {printable(event.tool)} {shortened(event.arguments)}{effect}", TOOL)

    def _tool_progress(self, event: ToolProgress) -> list[Piece]:
        percent = "" if event.fraction is None else f" {event.fraction:.0%}"
        return self._line(f"  {shortened(event.text)}{percent}", DIM)

    def _tool_completed(self, event: ToolCompleted) -> list[Piece]:
        self._calls.discard(event.tool_call_id)
        named = f"{printable(event.tool)} {duration(event.duration_ms)}"
        if event.ok:
            return self._line(f"✓ {named} → {shortened(event.result)}", GOOD)
        why = "" if event.error is None else f": {shortened(event.error.message)} ({event.error.code})"
        return self._line(f"✗ {named}{why}", BAD)

    def _approval_requested(self, event: ApprovalRequested) -> list[Piece]:
        return [
            *self._line(f"? {shortened(event.question)}", WARNING),
            *self._line(f"  {printable(event.tool)} {shortened(event.arguments, limit=2000)}", TOOL),
        ]

    def _approval_delegated(self, event: ApprovalDelegated) -> list[Piece]:
        if event.to is None:
            return self._line("  nobody else may answer any more", DIM)
        return self._line(f"  {shortened(event.to_name or event.to)} may answer, too", DIM)

    def _approval_resolved(self, event: ApprovalResolved) -> list[Piece]:
        said = {"approve": "approved", "deny": "denied"}.get(event.decision, event.decision)
        edited = ", with other arguments" if event.arguments is not None else ""
        return self._line(f"  {said}{edited}", GOOD if event.decision == "approve" else WARNING)

    def _subagent_started(self, event: SubagentStarted) -> list[Piece]:
        return self._line(f"↳ {printable(event.agent)} begins", DIM)

    def _subagent_completed(self, event: SubagentCompleted) -> list[Piece]:
        return self._line(f"↳ {printable(event.agent)} {'is done' if event.ok else 'failed'}", DIM if event.ok else BAD)

    def _step_restarted(self, event: StepRestarted) -> list[Piece]:
        draft = self._drafts.pop(event.message_id or "", "")
        if not draft and event.tool_call_id not in self._calls and event.step not in self._thoughts:
            return []  # nothing of the step was shown, as when a run goes on after an approval
        self._calls.discard(event.tool_call_id or "")
        self._thoughts.discard(event.step)
        what = "the text above is void" if draft else "what it showed above is void"
        return self._line(f"— the step was interrupted and begins again; {what}", WARNING)

    def _agent_completed(self, event: AgentCompleted) -> list[Piece]:
        self._forget_run()
        usage = event.usage
        facts = [duration(event.duration_ms)]
        if usage.input_tokens or usage.output_tokens:
            facts.append(f"{usage.input_tokens} + {usage.output_tokens} tokens")
        if usage.tool_calls:
            facts.append(f"{usage.tool_calls} tool call{'s' * (usage.tool_calls > 1)}")
        return self._line(f"done in {', '.join(facts)}", DIM)

    def _agent_failed(self, event: AgentFailed | AgentTimedOut) -> list[Piece]:
        self._forget_run()
        word = "timed out" if isinstance(event, AgentTimedOut) else "failed"
        again = "; it may be tried again" if event.retryable else ""
        return self._line(f"{word}: {printable(event.message)} ({event.code}){again}", BAD)

    def _agent_cancelled(self, event: AgentCancelled) -> list[Piece]:
        self._forget_run()
        receipt = event.receipt
        pieces = self._line(f"cancelled: {printable(event.message)}", WARNING)
        for word, names in (
            ("stopped", receipt.stopped),
            ("done before", receipt.already_done),
            ("unknown", receipt.unknown),
        ):
            if names:
                pieces += self._line(f"  {word}: {shortened(', '.join(names))}", DIM)
        return pieces


class AnswersOnly:
    """The other way to show a run, for programs that read it: whole answers on standard output, and nothing else."""

    def __init__(self, is_own_run: Callable[[str | None], bool]) -> None:
        self._is_own_run = is_own_run

    def show(self, event: EventData, run_id: str | None) -> list[Piece]:
        """What is written for the event of this run."""
        if not isinstance(event, MessageCompleted) or not self._is_own_run(run_id):
            return []
        return [Piece(f"{text_of(event.parts)}\n")]

    def complaint(self, event: EventData, run_id: str | None) -> str | None:
        """What is said on standard error: why a run that was asked for here did not complete."""
        if not isinstance(event, AgentFailed | AgentTimedOut | AgentCancelled) or not self._is_own_run(run_id):
            return None
        return f"{printable(event.message)} ({event.code})"
