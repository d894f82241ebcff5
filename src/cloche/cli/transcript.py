"""One thread as a client knows it: a pure fold of what the server says. Reading and showing are others' work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto

import msgspec

from cloche.api.wire.frames import StreamOpened
from cloche.domain.event_order import decoded
from cloche.domain.events import (
    TERMINAL_TYPES,
    AgentCompleted,
    ApprovalRequested,
    ApprovalResolved,
    Envelope,
    EventData,
    MessageCreated,
)
from cloche.events.snapshot import Snapshot


class GapError(Exception):
    """An event is missing: come back with the position."""


class Resumption(Enum):
    """How a stream began."""

    FIRST = auto()
    NOTHING_MISSED = auto()
    TRIMMED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """Where the client stands.

    Attributes:
        thread_id: whose story it is.
        position: the number of the last event that was taken.
        epoch: of the log that the position counts in; None before the stream has opened.
        live: runs that have not ended, oldest first.
        approvals: questions that wait for a person, oldest first, each with its run.
        run_of: the run of each message that was sent, by the id that its client gave it.
        ended: how runs ended; True when well.
    """

    thread_id: str
    position: int = 0
    epoch: int | None = None
    live: tuple[str, ...] = ()
    approvals: Mapping[str, tuple[str | None, ApprovalRequested]] = field(
        default_factory=dict[str, tuple[str | None, ApprovalRequested]]
    )
    run_of: Mapping[str, str] = field(default_factory=dict[str, str])
    ended: Mapping[str, bool] = field(default_factory=dict[str, bool])

    def is_ended(self, client_message_id: str) -> bool:
        """The run of this message has ended."""
        return self.run_of.get(client_message_id) in self.ended

    def has_ended_well(self, client_message_id: str) -> bool:
        """The run of this message has completed."""
        return self.ended.get(self.run_of.get(client_message_id, ""), False)


def with_opening(transcript: Transcript, opening: StreamOpened) -> tuple[Transcript, Resumption]:
    """The transcript after a stream began, and how it did. A snapshot replaces all that was known."""
    if opening.recovered:
        how = Resumption.FIRST if transcript.epoch is None else Resumption.NOTHING_MISSED
        position = max(transcript.position, opening.from_seq - 1)
        return replace(transcript, epoch=opening.epoch, position=position), how
    live = () if opening.snapshot is None else tuple(run.run_id for run in opening.snapshot.runs)
    missed = {} if opening.snapshot is None else _ended_unseen(transcript, opening.snapshot)
    anew = replace(
        transcript,
        live=live,
        epoch=opening.epoch,
        position=opening.from_seq - 1,
        approvals={},
        ended={**missed, **transcript.ended},
    )
    return anew, Resumption.TRIMMED


def _ended_unseen(transcript: Transcript, snapshot: Snapshot) -> dict[str, bool]:
    """Our runs whose last events are gone. All that is known of their ends is whether they left an answer."""
    live = {run.run_id for run in snapshot.runs}
    answered = {one.run_id for one in snapshot.messages if one.role == "assistant"}
    return {run: run in answered for run in transcript.run_of.values() if run not in live}


def with_acceptance(transcript: Transcript, client_message_id: str, run_id: str) -> Transcript:
    """The transcript after the server took a message."""
    return replace(transcript, run_of={**transcript.run_of, client_message_id: run_id})


def with_event(transcript: Transcript, envelope: Envelope) -> tuple[Transcript, EventData | None]:
    """The transcript after one more event, and what the event says; None for one taken before, or of no known kind.

    Raises:
        GapError: the event before this one has not come.
    """
    if envelope.seq <= transcript.position:
        return transcript, None
    if envelope.seq != transcript.position + 1:
        raise GapError(f"event {envelope.seq} came after {transcript.position}")
    moved = replace(transcript, position=envelope.seq)
    try:
        event = decoded(envelope)
    except msgspec.ValidationError:
        return moved, None
    return _told(moved, envelope.run_id, event), event


def _told(transcript: Transcript, run_id: str | None, event: EventData) -> Transcript:
    if run_id is not None and event.type in TERMINAL_TYPES:
        return replace(
            transcript,
            live=tuple(run for run in transcript.live if run != run_id),
            approvals={key: held for key, held in transcript.approvals.items() if held[0] != run_id},
            ended={**transcript.ended, run_id: isinstance(event, AgentCompleted)},
        )
    match event:
        case MessageCreated() if run_id is not None:
            sent = event.client_message_id
            known = transcript if sent is None else with_acceptance(transcript, sent, run_id)
            # A snapshot has named its live runs before their events come.
            return known if run_id in known.live else replace(known, live=(*known.live, run_id))
        case ApprovalRequested():
            asked = {**transcript.approvals, event.approval_id: (run_id, event)}
            return replace(transcript, approvals=asked)
        case ApprovalResolved():
            open_ones = {key: held for key, held in transcript.approvals.items() if key != event.approval_id}
            return replace(transcript, approvals=open_ones)
        case _:
            return transcript
