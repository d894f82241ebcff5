"""The errors of the program: each with a code of its own, a text for people, and nothing shared."""

from __future__ import annotations

import re

import pytest

from cloche import errors as errors_module
from cloche.errors import ClocheError, QuotaExceededError, ToolFailedError

KINDS = [kind for kind in vars(errors_module).values() if isinstance(kind, type) and issubclass(kind, ClocheError)]


def test_every_error_has_a_code_of_its_own():
    codes = [kind.code for kind in KINDS]

    assert len(set(codes)) == len(codes)
    assert [code for code in codes if not re.fullmatch(r"[a-z][a-z_]*[a-z]", code)] == []


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_without_a_text_says_what_its_kind_is(kind: type[ClocheError]):
    error = kind()

    assert kind.__name__.endswith("Error")
    assert error.message == str(error) == (kind.__doc__ or "").split("\n", 1)[0]
    assert error.message
    assert error.details == {}
    assert error.retry_after_s is None


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_is_in_the_drawing(kind: type[ClocheError]):
    assert re.search(rf"\b{kind.__name__}\b", errors_module.__doc__ or "")


def test_an_error_carries_what_it_was_given():
    error = QuotaExceededError("too many", details={"limit": 3}, retry_after_s=5)

    assert (error.message, error.details, error.retry_after_s) == ("too many", {"limit": 3}, 5)


def test_details_are_the_error_s_own():
    details: dict[str, object] = {"limit": 3}
    error = ToolFailedError("no", details=details)

    details["limit"] = 4

    assert error.details == {"limit": 3}
    assert ToolFailedError("no").details == {}
