import base64

import pytest

from cloche.errors import InvalidCursorError, InvalidInputError
from cloche.storage.pages import DEFAULT_LIMIT, MAX_LIMIT, PageRequest, cursor_of, page_request


def encoded(text: str | bytes) -> str:
    return base64.urlsafe_b64encode(text.encode() if isinstance(text, str) else text).decode().rstrip("=")


def test_a_page_has_a_usual_size_and_begins_at_the_newest() -> None:
    assert page_request("runs") == PageRequest(limit=DEFAULT_LIMIT, before=None)


@pytest.mark.parametrize("limit", [1, MAX_LIMIT])
def test_a_page_may_have_any_size_within_its_bounds(limit: int) -> None:
    assert page_request("runs", limit=limit).limit == limit


@pytest.mark.parametrize("limit", [0, -1, MAX_LIMIT + 1])
def test_a_size_beyond_the_bounds_is_refused_with_its_place(limit: int) -> None:
    with pytest.raises(InvalidInputError, match="between 1 and 100") as refused:
        page_request("runs", limit=limit)

    assert refused.value.details == {"place": "limit"}


@pytest.mark.parametrize("number", [0, 1, 10**17])
@pytest.mark.parametrize("identity", ["", "run_01kb", "~"])
def test_a_cursor_says_where_it_was_made(number: int, identity: str) -> None:
    cursor = cursor_of("runs", number, identity)

    assert cursor.replace("-", "").replace("_", "").isalnum()
    assert page_request("runs", cursor=cursor).before == (number, identity)


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "?",
        "a",
        "ü",
        "\x00",
        "\ud800",
        cursor_of("threads", 1, "run_01kb"),
        encoded("runs|1"),
        encoded("runs|1|a|b"),
        encoded("runs||a"),
        encoded("runs|-1|a"),
        encoded("runs|1.5|a"),
        encoded("runs|²|a"),
        encoded("runs|٣|a"),
        encoded("runs|" + "9" * 19 + "|a"),
        encoded(b"runs|1|\xff"),
    ],
)
def test_a_cursor_that_is_none_of_this_list_s_is_refused_with_its_place(cursor: str) -> None:
    with pytest.raises(InvalidCursorError) as refused:
        page_request("runs", cursor=cursor)

    assert refused.value.details == {"place": "cursor"}
