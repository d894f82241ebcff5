import pytest

from cloche.auth.emails import normalise_email
from cloche.errors import InvalidInputError


@pytest.mark.parametrize("spelling", ["ada@example.org", " Ada@Example.ORG ", "\tADA@EXAMPLE.ORG\n", "ada@EXAMPLE.org"])
def test_one_account_has_one_spelling(spelling: str) -> None:
    assert normalise_email(spelling) == "ada@example.org"


@pytest.mark.parametrize(
    "text",
    [
        None,
        7,
        b"ada@example.org",
        "",
        "   ",
        "ada",
        "@",
        "ada@",
        "@example.org",
        "ada@@example.org",
        "ada@home@example.org",
        "ada lovelace@example.org",
        "ada@exam\x00ple.org",
        "ada@exam\nple.org",
        "ada\ud800@example.org",
        "ada\u200b@example.org",
        "a" * 243 + "@example.org",
    ],
)
def test_what_is_no_address_is_refused_and_the_place_named(text: object) -> None:
    with pytest.raises(InvalidInputError) as refused:
        normalise_email(text)

    assert refused.value.details["place"] == "$.email"


def test_254_characters_are_still_an_address() -> None:
    longest = "a" * 242 + "@example.org"

    assert normalise_email(longest) == longest
