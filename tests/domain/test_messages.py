"""What a person may send as a message."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.domain.messages import MAX_PARTS, MAX_TEXT_BYTES, Message, MessageRole, TextPart, user_parts
from cloche.errors import InvalidInputError, PayloadTooLargeError
from cloche.ids import MessageId, ThreadId

characters = st.characters(exclude_categories=("Cs",), exclude_characters="\x00")
ordinary = st.text(characters, min_size=1, max_size=200).filter(lambda text: text.strip())


@given(ordinary)
def test_a_text_is_taken_exactly_as_it_is(text: str):
    assert user_parts(text=text) == (TextPart(text=text),)


@given(st.lists(ordinary, min_size=1, max_size=MAX_PARTS))
def test_parts_are_taken_in_their_order(texts: list[str]):
    found = user_parts(parts=[{"type": "text", "text": text} for text in texts])

    assert [part.text for part in found] == texts


@pytest.mark.parametrize("wrong", [3, True, ["a"], {"text": "a"}, b"a"])
def test_a_text_of_another_kind_is_refused_with_its_place(wrong: object):
    with pytest.raises(InvalidInputError) as refused:
        user_parts(text=wrong)

    assert refused.value.details["place"] == "$.text"


@pytest.mark.parametrize(
    "wrong",
    [
        "a text",
        {"type": "text", "text": "a"},
        [{"type": "image", "text": "a"}],
        [{"type": "text", "text": 3}],
        [{"type": "text"}],
        [None],
    ],
)
def test_parts_that_this_server_does_not_know_are_refused_with_their_place(wrong: object):
    with pytest.raises(InvalidInputError) as refused:
        user_parts(parts=wrong)

    assert refused.value.details["place"] == "$.parts"


@pytest.mark.parametrize("given_", [{}, {"text": "a", "parts": [{"type": "text", "text": "a"}]}])
def test_exactly_one_of_text_and_parts_is_given(given_: dict[str, object]):
    with pytest.raises(InvalidInputError):
        user_parts(**given_)


@pytest.mark.parametrize("empty", ["", " ", "\n\t", "\u2003"])
def test_an_empty_message_is_refused(empty: str):
    with pytest.raises(InvalidInputError, match="empty"):
        user_parts(text=empty)
    with pytest.raises(InvalidInputError, match="empty"):
        user_parts(parts=[{"type": "text", "text": empty}])


def test_no_parts_at_all_are_an_empty_message():
    with pytest.raises(InvalidInputError, match="empty"):
        user_parts(parts=[])


@pytest.mark.parametrize("character", ["x", "ä", "😀"])
def test_the_size_is_counted_in_bytes_over_all_parts(character: str):
    fitting = MAX_TEXT_BYTES // len(character.encode())

    user_parts(text=character * fitting)
    with pytest.raises(PayloadTooLargeError) as refused:
        user_parts(text=character * (fitting + 1))
    with pytest.raises(PayloadTooLargeError):
        user_parts(parts=[{"type": "text", "text": character * fitting}, {"type": "text", "text": "x"}])

    assert refused.value.details["limit_bytes"] == MAX_TEXT_BYTES


def test_a_message_has_a_greatest_number_of_parts():
    part = {"type": "text", "text": "a"}

    assert len(user_parts(parts=[part] * MAX_PARTS)) == MAX_PARTS
    with pytest.raises(PayloadTooLargeError):
        user_parts(parts=[part] * (MAX_PARTS + 1))


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "a\x00b"])
def test_half_a_character_or_nul_is_refused_with_its_place_and_not_with_a_crash(text: str):
    with pytest.raises(InvalidInputError) as refused:
        user_parts(text=text)
    with pytest.raises(InvalidInputError):
        user_parts(parts=[{"type": "text", "text": text}])

    assert refused.value.details["place"] == "$.text"


def test_the_text_of_a_message_joins_its_parts():
    message = Message(
        id=MessageId.new(),
        thread_id=ThreadId.new(),
        run_id=None,
        seq=1,
        role=MessageRole.USER,
        parts=(TextPart(text="one"), TextPart(text="two")),
        client_message_id=None,
        created_at=datetime(2031, 1, 1, tzinfo=UTC),
    )

    assert message.text == "one\n\ntwo"
