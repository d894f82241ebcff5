from __future__ import annotations

import json
import math
import re
import time
from typing import cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.api.wire.nasty import MALFORMED, NOT_OBJECTS, WRONG_SHAPE, Nasty

from cloche.api.wire.strict_json import DEFAULT, FRAME, JsonLimits, JsonValue, parse, require_object
from cloche.errors import ClocheError, ConfigurationError, InvalidInputError, PayloadTooLargeError

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
INTEGERS = st.integers(-(2**63) + 1, 2**63 - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | INTEGERS | FLOATS | TEXTS,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(TEXTS, inner, max_size=6),
    max_leaves=40,
)
FRAGMENTS = st.sampled_from(
    [
        *("{", "}", "[", "]", '"', ":", ",", "\\", "\\u0000", "\\ud800", "\\udc00", "\\u00e9", "\\n", "\x00", "\x01"),
        *("NaN", "-Infinity", "1e999", "9" * 20, "-0", "1.5", "true", "null", " ", "\n", "\ufeff", "\ud800", "😀"),
        *('"a":', '"a":1,', '"__proto__":', '{"a":1,"a":2}', "[" * 40, "]" * 40, "1" * 5_000),
    ]
)


def refusal(body: bytes | str, limits: JsonLimits = DEFAULT) -> dict[str, object]:
    with pytest.raises((InvalidInputError, PayloadTooLargeError)) as caught:
        parse(body, limits)
    return caught.value.details


def check_any_input(body: bytes | str, limits: JsonLimits = DEFAULT) -> None:
    """Whatever comes is either refused by our own error, naming place and reason, or is safe to print again."""
    refused: ClocheError | None = None
    value: JsonValue = None
    try:
        value = parse(body, limits)
    except (InvalidInputError, PayloadTooLargeError) as error:
        refused = error
    if refused is None:
        printed = json.dumps(value, ensure_ascii=False, allow_nan=False)
        assert printed.encode().decode() == printed
        assert "\\u0000" not in printed.replace("\\\\", "")
    else:
        assert set(refused.details) >= {"place", "reason"}
        assert re.match(r"\$|byte \d+$", str(refused.details["place"]))
        assert json.dumps(refused.details).encode()
        assert refused.message.encode()


@pytest.mark.parametrize("nasty", [pytest.param(nasty, id=nasty.name) for nasty in MALFORMED])
def test_every_malformed_body_is_refused_with_its_place(nasty: Nasty) -> None:
    details = refusal(nasty.body)

    assert re.match(r"\$|byte \d+$", str(details["place"]))
    assert details["reason"]


@pytest.mark.parametrize("nasty", [pytest.param(nasty, id=nasty.name) for nasty in MALFORMED])
def test_every_malformed_frame_is_refused_as_text_too(nasty: Nasty) -> None:
    if nasty.as_text is not None:
        details = refusal(nasty.as_text, FRAME)

        assert details["reason"]


@pytest.mark.parametrize("nasty", [pytest.param(nasty, id=nasty.name) for nasty in WRONG_SHAPE])
def test_json_of_the_wrong_shape_is_still_json(nasty: Nasty) -> None:
    parse(nasty.body)


@pytest.mark.parametrize("nasty", [pytest.param(nasty, id=nasty.name) for nasty in NOT_OBJECTS])
def test_a_value_that_is_no_object_is_refused_where_an_object_is_wanted(nasty: Nasty) -> None:
    value = parse(nasty.body)

    with pytest.raises(InvalidInputError) as caught:
        require_object(value)

    assert caught.value.details == {"place": "$", "reason": "not_an_object"}


def test_an_object_passes_where_an_object_is_wanted() -> None:
    assert require_object(parse(b'{"a":[1]}')) == {"a": [1]}


def test_the_corpus_is_large_and_its_names_are_unique() -> None:
    names = [nasty.name for nasty in MALFORMED + WRONG_SHAPE]

    assert len(names) == len(set(names))
    assert len(MALFORMED) >= 200
    assert len(WRONG_SHAPE) >= 100


def test_no_hostile_body_costs_more_than_a_quarter_of_a_second() -> None:
    for nasty in MALFORMED:
        started = time.process_time()

        refusal(nasty.body)

        assert time.process_time() - started < 0.25, nasty.name


@pytest.mark.parametrize(
    ("body", "reason", "place"),
    [
        pytest.param(rb'{"parts":[{"text":"a\u0000b"}]}', "nul", "$.parts[0].text", id="nul"),
        pytest.param(rb'{"a":{"x\u0000y":1}}', "nul", r'$.a["x\u0000y"]', id="nul-in-a-key"),
        pytest.param(b'{"a":"\x00"}', "nul", "byte 6", id="nul-raw"),
        pytest.param('{"é":"\x00"}'.encode(), "nul", "byte 7", id="nul-raw-behind-two-bytes"),
        pytest.param(rb'[0,["\ud800"]]', "lone_surrogate", "$[1][0]", id="high-surrogate"),
        pytest.param(rb'["\uDFFF"]', "lone_surrogate", "$[0]", id="low-surrogate"),
        pytest.param(rb'{"\udc00":1}', "lone_surrogate", r'$["\udc00"]', id="surrogate-in-a-key"),
        pytest.param('{"é":"\ud800"}', "lone_surrogate", "byte 7", id="surrogate-in-a-frame"),
        pytest.param(b'{"a":[1,NaN]}', "not_finite", "$.a[1]", id="nan"),
        pytest.param(b'{"a":-Infinity}', "not_finite", "$.a", id="minus-infinity"),
        pytest.param(b'{"a":{"b":1e999}}', "not_finite", "$.a.b", id="overflow"),
        pytest.param(b"[0." + b"1" * 500 + b"]", "number_length", "$[0]", id="long-fraction"),
        pytest.param(b"9223372036854775808", "integer_range", "$", id="integer"),
        pytest.param(b"-9223372036854775808", "integer_range", "$", id="integer-below"),
        pytest.param(b'{"a":' + b"7" * 5_000 + b"}", "integer_range", "$.a", id="5000-digits"),
        pytest.param(b'{"a":[{"c":1,"b":2,"d":3,"b":2}]}', "duplicate_key", "$.a[0].b", id="duplicate"),
        pytest.param(b'{"a":1,"\\u0061":2}', "duplicate_key", "$.a", id="duplicate-by-escape"),
        pytest.param(b'{"a b":1,"a b":2}', "duplicate_key", '$["a b"]', id="duplicate-with-a-space"),
        pytest.param(b"", "empty", "byte 0", id="empty"),
        pytest.param("", "empty", "byte 0", id="empty-frame"),
        pytest.param(b" \n", "empty", "byte 2", id="blank"),
        pytest.param(b'{"a":1}x', "trailing", "byte 7", id="trailing"),
        pytest.param(b'{"a":1', "malformed", "byte 6", id="cut"),
        pytest.param(b'["a\tb"]', "control_character", "byte 3", id="raw-tab"),
        pytest.param(b"\xef\xbb\xbf{}", "bom", "byte 0", id="bom"),
        pytest.param("\ufeff{}", "bom", "byte 0", id="bom-in-a-frame"),
        pytest.param("{}".encode("utf-16-le"), "encoding", "byte 0", id="utf-16"),
        pytest.param("{}".encode("utf-32"), "encoding", "byte 0", id="utf-32"),
        pytest.param(b'["\xff"]', "encoding", "byte 2", id="not-utf-8"),
        pytest.param(b'["\xed\xa0\x80"]', "encoding", "byte 2", id="surrogate-as-bytes"),
        pytest.param(b"[" * 33, "depth", "byte 32", id="depth"),
        pytest.param(b"[" + b"0," * 10_000 + b"0]", "too_many_items", "byte 20000", id="items"),
        pytest.param(b'{"a":NaN', "malformed", "byte 8", id="broken-behind-a-fault"),
    ],
)
def test_a_refusal_names_the_reason_and_the_place(body: bytes | str, reason: str, place: str) -> None:
    assert refusal(body) == {"place": place, "reason": reason}


def test_a_long_key_is_cut_in_the_place() -> None:
    details = refusal(b'{"' + b"k" * 50_000 + b'":NaN}')

    assert details["place"] == '$["' + "k" * 40 + '\\u2026"]'


@pytest.mark.parametrize(
    ("number", "value"),
    [
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775807", -(2**63) + 1),
        ("-0", 0),
        ("1.7976931348623157e308", 1.7976931348623157e308),
        ("5e-324", 5e-324),
        ("1e-999", 0.0),
        ("1E+2", 100.0),
    ],
)
def test_numbers_at_the_edge_keep_their_value(number: str, value: float) -> None:
    found = parse(number)

    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    "text",
    [
        "Grüße, 你好, नमस्ते",
        "😀👩\u200d👩\u200d👧 \U0010ffff",
        "שלום \u202eabc\u202c مرحبا",
        "e\u0301 Z\u0351\u036b a\u0308",
        'line\nline\r\n\ttab "quoted" back\\slash /',
        "\u2028\u2029\ufeff\ufffd\uffff\x7f\x85\u200b",
        "\x1b[31m\x07",
        r"\u0000 and \ud800 as words",
        '{"a":[NaN]} ]]}}{{[[ "',
        "[" * 5_000 + '"' * 1_000 + "," * 20_000,
        "Ω" * 30_000,
        "a" * 60_000,
    ],
)
@pytest.mark.parametrize("ensure_ascii", [True, False])
def test_ordinary_text_passes_unchanged(text: str, ensure_ascii: bool) -> None:
    printed = json.dumps({"text": text, text[:50]: 1}, ensure_ascii=ensure_ascii)

    assert parse(printed.encode()) == {"text": text, text[:50]: 1}
    assert parse(printed) == {"text": text, text[:50]: 1}


def test_keys_that_are_special_elsewhere_are_ordinary_here() -> None:
    body: JsonValue = {"__proto__": {"a": 1}, "constructor": {"prototype": {}}, "__class__": 1, "": 2, "toString": 3}

    assert parse(json.dumps(body)) == body


def test_the_same_key_in_different_objects_is_no_duplicate() -> None:
    assert parse(b'{"a":{"a":1},"b":[{"a":1},{"a":1}]}') == {"a": {"a": 1}, "b": [{"a": 1}, {"a": 1}]}


def test_a_body_at_every_limit_passes_and_one_beyond_is_refused() -> None:
    limits = JsonLimits(max_bytes=40, max_depth=3, max_items=6)

    assert parse(b'["' + b"a" * 36 + b'"]', limits) == ["a" * 36]
    assert parse('["' + "é" * 18 + '"]', limits) == ["é" * 18]
    assert parse(b"[[[1]]]", limits) == [[[1]]]
    assert parse(b"[1,2,3,4,5,6]", limits) == [1, 2, 3, 4, 5, 6]
    assert parse(b"[[1],[2],[3]]", limits) == [[1], [2], [3]]
    assert parse(b'{"a":1,"b":{"c":[2,3]}}', JsonLimits(max_items=5)) == {"a": 1, "b": {"c": [2, 3]}}
    assert refusal(b'["' + b"a" * 37 + b'"]', limits) == {"place": "$", "reason": "size", "limit_bytes": 40}
    assert refusal('["' + "é" * 19 + '"]', limits)["reason"] == "size"
    assert refusal(b"[[[[1]]]]", limits)["reason"] == "depth"
    assert refusal(b"[1,2,3,4,5,6,7]", limits)["reason"] == "too_many_items"
    assert refusal(b'{"a":1,"b":{"c":[2,3]}}', JsonLimits(max_items=4))["reason"] == "too_many_items"


def test_a_size_refusal_is_its_own_error() -> None:
    with pytest.raises(PayloadTooLargeError):
        parse(b" " * (FRAME.max_bytes + 1), FRAME)


def test_the_densest_json_is_counted_by_its_members() -> None:
    body = b"[" + b",".join([b'{"a":"b"}'] * 100) + b"]"

    assert parse(body, JsonLimits(max_items=200)) == [{"a": "b"}] * 100
    assert refusal(body, JsonLimits(max_items=199))["reason"] == "too_many_items"


def test_strings_without_commas_between_them_are_not_read_to_the_end() -> None:
    body = b"[" + b"[]," * 33 + b'""' * 500

    assert refusal(body, JsonLimits(max_items=70))["reason"] == "too_many_items"
    assert refusal(body, JsonLimits(max_items=700))["reason"] == "malformed"


def test_brackets_and_commas_in_strings_do_not_count() -> None:
    text = '[{"' * 40 + "," * 20_000 + "\\"

    assert parse(json.dumps([[text], {text: text}])) == [[text], {text: text}]


def test_brackets_behind_an_escaped_quote_do_not_count_and_behind_a_closed_string_do() -> None:
    limits = JsonLimits(max_depth=2)

    assert parse(rb'[["\\\"[[[["]]', limits) == [['\\"[[[[']]
    assert refusal(rb'[["\\",[1]]]', limits)["reason"] == "depth"


def test_depth_counts_nesting_and_not_brackets() -> None:
    assert parse(b"[" + b"[]," * 100 + b"[]]") == [[] for _ in range(101)]


@pytest.mark.parametrize("limits", [{"max_depth": 0}, {"max_depth": 101}, {"max_bytes": 0}, {"max_items": 0}], ids=str)
def test_limits_that_cannot_work_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError):
        JsonLimits(**limits)


def test_the_deepest_allowed_limit_needs_no_deep_stack() -> None:
    limits = JsonLimits(max_depth=100)

    assert parse(b"[" * 100 + b"]" * 100, limits)
    assert refusal(b"[" * 100 + rb'"\u0000"' + b"]" * 100, limits)["place"] == "$" + "[0]" * 100


@pytest.mark.slow
@given(VALUES, st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_whatever_is_json_comes_back_as_it_was(value: JsonValue, ensure_ascii: bool, indent: int | str | None) -> None:
    printed = json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)

    assert parse(printed.encode()) == value
    assert parse(printed) == value


@given(st.binary(max_size=400))
@example(b"\x00")
@example(b"\xef\xbb\xbf")
def test_any_bytes_are_parsed_or_refused(body: bytes) -> None:
    check_any_input(body)


@given(st.text(st.characters(), max_size=400))
def test_any_text_is_parsed_or_refused(body: str) -> None:
    check_any_input(body)


@given(st.lists(FRAGMENTS | st.text(max_size=3), max_size=30).map("".join))
def test_any_row_of_json_fragments_is_parsed_or_refused(body: str) -> None:
    check_any_input(body)
    check_any_input(body.encode("utf-8", "surrogatepass"))
    check_any_input(body, JsonLimits(max_bytes=1_000, max_depth=1, max_items=2))


@pytest.mark.slow
@given(VALUES.map(json.dumps), st.data())
def test_json_with_a_piece_put_in_or_taken_out_is_parsed_or_refused(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 8)))
    mutated = text[:start] + data.draw(FRAGMENTS | st.just("")) + text[end:]

    check_any_input(mutated)
    check_any_input(mutated.encode("utf-8", "surrogatepass"))


@pytest.mark.slow
@given(VALUES.map(lambda value: json.dumps(value).encode()), st.data())
def test_json_with_a_byte_changed_is_parsed_or_refused(body: bytes, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(body) - 1))
    mutated = body[:index] + data.draw(st.binary(max_size=2)) + body[index + 1 :]

    check_any_input(mutated)


@pytest.mark.slow
@given(VALUES, st.sampled_from([r'"\u0000"', r'"\ud83d"', "NaN", "1e999", "9" * 30, r'{"k":1,"k":1}']), st.data())
@settings(max_examples=200)
def test_a_fault_anywhere_is_found_at_its_place(value: JsonValue, fault: str, data: st.DataObject) -> None:
    steps = data.draw(st.lists(st.sampled_from(["a", "text", 0, 2]), max_size=20))
    body = fault
    for step in reversed(steps):
        other = json.dumps(value)
        body = f"[{(other + ',') * step}{body}]" if isinstance(step, int) else f'{{"other":{other},"{step}":{body}}}'
    place = "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)

    details = refusal(body, JsonLimits(max_depth=100))

    assert details["place"] == (place + ".k" if details["reason"] == "duplicate_key" else place)


@given(st.floats())
def test_no_float_comes_in_that_is_not_finite(value: float) -> None:
    try:
        found = parse(json.dumps([value]))
    except ClocheError:
        assert not math.isfinite(value)
    else:
        assert math.isfinite(cast(list[float], found)[0])
