"""Whether a value fits a JSON Schema, and where it does not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Never

import jsonschema_rs
import msgspec
from jsonschema_rs import ValidationError, ValidationErrorKind

from cloche.errors import InvalidInputError

MAX_PROBLEMS = 20
# Of a larger value only the first problem is told: each costs time, and every item of a list may have one.
_MAX_EXAMINED_BYTES = 16 * 1024
_MAX_PLACE = 100
_MAX_MESSAGE = 400
_SHOWN = "the value"  # what messages say in place of what somebody typed
# A pattern whose search takes longer counts as not matched: nobody's input may hold the process up.
_PATTERNS = jsonschema_rs.FancyRegexOptions(backtrack_limit=100_000)


def check_fits(value: Mapping[str, object], schema: Mapping[str, object], *, place: str) -> None:
    """Return when the value, which is JSON, fits the schema; ``place`` is how the value itself is called.

    Raises:
        InvalidInputError: it does not; the message and ``details["problems"]`` name each place, up to ``MAX_PROBLEMS``.
            Or the schema cannot be understood, or refers to something outside itself, which is never fetched.
    """
    try:
        validator = jsonschema_rs.validator_for(
            dict(schema), mask=_SHOWN, pattern_options=_PATTERNS, retriever=_refuse_to_fetch
        )
    except ValueError as error:
        raise InvalidInputError(
            f"{place}: the schema that it must fit cannot be understood, so nothing can be taken in its place",
            details={"place": place, "problems": []},
        ) from error
    instance = dict(value)
    try:
        validator.validate(instance)
    except ValidationError as error:
        is_small = len(msgspec.json.encode(instance)) <= _MAX_EXAMINED_BYTES
        errors = validator.iter_errors(instance) if is_small else [error]
        raise _refusal([problem for error in errors for problem in _problems(error, place)]) from None


def _refusal(found: Sequence[tuple[str, str]]) -> InvalidInputError:
    problems = [{"place": place[:_MAX_PLACE], "message": message[:_MAX_MESSAGE]} for place, message in found]
    told = problems[:MAX_PROBLEMS]
    return InvalidInputError(
        "; ".join(f"{problem['place']}: {problem['message']}" for problem in told),
        details={"place": told[0]["place"], "problems": told},
    )


def _problems(error: ValidationError, root: str) -> Iterator[tuple[str, str]]:
    place = root + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.instance_path)
    match error.kind:
        case ValidationErrorKind.Required(property=name):
            yield f"{place}.{name}", "a value is needed here"
        case ValidationErrorKind.AdditionalProperties(unexpected=names):
            yield from ((f"{place}.{name}", "there is no such field") for name in names)
        case _:
            yield place, error.message


def _refuse_to_fetch(uri: str) -> Never:
    raise ValueError(f"{uri} is outside the schema")
