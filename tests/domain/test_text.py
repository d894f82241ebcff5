"""What foreign code says becomes text that can be stored and sent."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from cloche.domain.text import REPLACEMENT, is_sound, sound_text, sound_value

any_text = st.text(st.characters(exclude_categories=()))


@given(any_text)
def test_a_mended_text_is_sound_and_a_sound_one_is_left_alone(text: str):
    mended = sound_text(text)

    mended.encode()
    assert "\x00" not in mended
    assert is_sound(mended)
    assert (mended == text) is is_sound(text)
    assert len(mended) == len(text)


@given(st.lists(any_text))
def test_mended_pieces_add_up_to_the_mended_whole(pieces: list[str]):
    assert "".join(map(sound_text, pieces)) == sound_text("".join(pieces))


def test_two_halves_that_came_apart_are_two_replacements():
    assert sound_text("a\ud83d\ude00\x00") == f"a{REPLACEMENT * 3}"


def test_emoji_and_line_separators_are_ordinary_text():
    assert is_sound("😀\u2028\u2029\ufeff\U0010ffff")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=10,
)


@given(json_values)
def test_a_json_value_is_mended_at_every_depth(value: object):
    mended = sound_value(value)

    text = json.dumps(mended, ensure_ascii=False)
    text.encode()
    assert "\\u0000" not in text.replace("\\\\", "")


def test_a_value_without_unsound_text_is_equal_afterwards():
    value = {"a": [1, 2.5, None, True, {"b": "text"}]}

    assert sound_value(value) == value
    assert sound_value({1: "a\x00"}) == {1: f"a{REPLACEMENT}"}
