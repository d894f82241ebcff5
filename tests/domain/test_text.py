"""What foreign code says becomes text that can be stored and sent."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.domain.text import (
    MAX_FILE_NAME,
    REPLACEMENT,
    file_name,
    is_sound,
    lower_ascii,
    snippet,
    sound_text,
    sound_value,
)

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


TEXT = "one two three " * 40 + "a Needle in the hay " + "four five six " * 40


@pytest.mark.parametrize(
    ("text", "words", "found"),
    [
        ("short", "rt", "short"),
        ("two\n\n lines\tof text", "of", "two lines of text"),
        ("", "x", ""),
        (TEXT, "nowhere", ("one two three " * 40)[:159] + "…"),
    ],
)
def test_a_snippet_is_one_line_and_the_beginning_where_the_words_are_not(text: str, words: str, found: str):
    assert snippet(text, words, limit=160) == found


@pytest.mark.parametrize("limit", [40, 160])
@pytest.mark.parametrize("words", ["needle", "NEEDLE in", "one two", "five six"])
def test_a_snippet_shows_the_words_with_what_is_around_them(words: str, limit: int):
    found = snippet(TEXT, words, limit=limit)

    assert len(found) == limit
    assert words.lower() in found.lower()
    assert found.strip("…") in TEXT


@given(st.text(max_size=300), st.text(max_size=50), st.integers(min_value=3, max_value=200))
def test_a_snippet_is_never_longer_than_it_may_be(text: str, words: str, limit: int):
    assert len(snippet(text, words, limit=limit)) <= limit


def test_only_the_letters_of_ascii_are_lowered():
    assert lower_ascii("ABCxyzÄİẞ") == "abcxyzÄİẞ"


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Roses & tulips", "Roses tulips"),
        ("../../etc/passwd", "etc passwd"),
        ("C:\\Windows\\con.txt", "C Windows con txt"),
        ("a\r\nSet-Cookie: x=1", "a Set-Cookie x=1"),
        ('"; rm -rf ~', "rm -rf"),
        ("\u202egpj.exe", "gpj exe"),
        ("Ärger 日本 🌹", "Ärger 日本 🌹"),
        (" . ", "conversation"),
        ("", "conversation"),
        ("x" * 500, "x" * MAX_FILE_NAME),
    ],
)
def test_a_title_becomes_a_name_that_every_file_system_takes(title: str, name: str):
    assert file_name(title) == name


@given(any_text)
def test_a_file_name_is_never_a_path_nor_empty(title: str):
    name = file_name(title)

    assert 0 < len(name) <= MAX_FILE_NAME
    assert name.isprintable()
    assert not set(name) & set('/\\:*?"<>|.')
