"""What a search found, on the wire."""

from __future__ import annotations

from pydantic import BaseModel, Field

from cloche.api.wire.threads import ThreadAnswer
from cloche.domain.messages import MessageRole

MAX_QUERY = 200
MAX_SNIPPET = 160


class SearchItem(BaseModel):
    """A thread in which the words are."""

    thread: ThreadAnswer
    message_id: str | None = Field(
        description="the newest message that has the words; null when only the title has them"
    )
    role: MessageRole | None = Field(description="who wrote the message")
    snippet: str = Field(description=f"at most {MAX_SNIPPET} characters around the first place where the words are")


class SearchAnswer(BaseModel):
    """What was found, the newest first; at most one item for each thread."""

    items: list[SearchItem]
