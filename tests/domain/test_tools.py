"""What of a tool call is shown, and how much of its result is kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.domain.tools import MASK, MAX_RESULT_BYTES, ToolResult, capped, masked


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "Password",
        "user_password",
        "passwd",
        "client_secret",
        "access_token",
        "token",
        "API_KEY",
        "apiKey",
        "api-key",
        "X-Api-Key",
        "Authorization",
        "credentials",
        "private_key",
        "passphrase",
        "Set-Cookie",
    ],
)
@pytest.mark.parametrize("value", ["s3cret", 7, None, ["s3cret"], {"inner": "s3cret"}])
def test_a_value_whose_name_says_that_it_is_secret_is_masked_whole(name: str, value: object):
    assert masked({name: value, "city": "Oslo"}) == {name: MASK, "city": "Oslo"}


def test_secrets_are_masked_at_every_depth():
    given_ = {"a": {"b": [{"token": "s3cret", "c": 1}, "d"], "e": {"password": "s3cret"}}}

    assert masked(given_) == {"a": {"b": [{"token": MASK, "c": 1}, "d"], "e": {"password": MASK}}}


def test_a_tool_names_more_secrets_of_its_own():
    assert masked({"pin": "1234", "amount": 3}, frozenset({"pin"})) == {"pin": MASK, "amount": 3}
    assert masked({"card": {"pin": "1234"}}, frozenset({"pin"})) == {"card": {"pin": MASK}}


def test_masking_leaves_what_was_given_as_it_was():
    inner = {"token": "s3cret"}
    given_ = {"inner": inner}

    masked(given_)

    assert given_ == {"inner": {"token": "s3cret"}}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "word"]), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["a", "b", "city"]), json_values))
def test_arguments_without_secrets_are_shown_as_they_are(arguments: dict[str, object]):
    assert masked(arguments) == arguments


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=400), st.integers(min_value=0, max_value=300))
def test_a_text_is_kept_up_to_its_limit_in_bytes_and_says_what_was_cut(text: str, limit: int):
    kept = capped(text, limit)

    size = len(text.encode())
    if size <= limit:
        assert kept == text
    else:
        beginning, marker = kept.rsplit("\n… [cut", 1)
        assert text.startswith(beginning)
        assert limit - 3 <= len(beginning.encode()) <= limit
        assert str(size) in marker
        assert str(limit) in marker


def test_a_result_of_fifty_megabytes_is_cut():
    kept = capped("x" * 50_000_000)

    assert len(kept) < MAX_RESULT_BYTES + 100
    assert "50000000" in kept


def test_half_a_character_does_not_keep_a_text_from_being_cut():
    assert capped("\ud800" * 10, 5).startswith("?????")


def test_whether_a_result_was_replayed_does_not_make_it_another_one():
    first = ToolResult(tool_call_id="t", tool="it", ok=True, value=1)

    assert first == ToolResult(tool_call_id="t", tool="it", ok=True, value=1, replayed=True)
