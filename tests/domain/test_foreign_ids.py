"""Old ids and the new ones they get."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cloche.domain.foreign_ids import IdMapping, UnmappedId, UnmappedReason, map_foreign_ids
from cloche.ids import IDType, ThreadId, parse_id

UUID_TEXT = "550e8400-e29b-41d4-a716-446655440000"

kinds = st.sampled_from(IDType)


def reasons(mapping: IdMapping) -> list[tuple[str, UnmappedReason]]:
    return [(one.value, one.reason) for one in mapping.unmapped]


def test_nothing_maps_to_nothing() -> None:
    mapping = map_foreign_ids([], IDType.THREAD)

    assert mapping == IdMapping(kind=IDType.THREAD, mapped={}, unmapped=())


@pytest.mark.parametrize(
    "value",
    [
        UUID_TEXT,
        "thread_7_0f3c9a2e",
        "test_thread_7_0f3c9a2e",
        "thread_chat_1757409218490_5_58174c51",
        "my thread",
        "thread",
        "bogus_7_0f3c9a2e",
        "42",
        "日本語",
        "x" * 256,
        f"  {'x' * 256}\n",
        "'; drop table threads; --",
    ],
)
def test_any_shape_gets_an_id_of_the_kind(value: str) -> None:
    mapping = map_foreign_ids([value], IDType.THREAD)

    assert list(mapping.mapped) == [value]
    assert ThreadId.parse(mapping.mapped[value])
    assert mapping.unmapped == ()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", UnmappedReason.EMPTY),
        (" \t\r\n", UnmappedReason.EMPTY),
        ("x" * 257, UnmappedReason.TOO_LONG),
        ("a\x00b", UnmappedReason.CONTROL_CHARACTERS),
        ("a\nb", UnmappedReason.CONTROL_CHARACTERS),
        ("a\x7f", UnmappedReason.CONTROL_CHARACTERS),
        ("a\x9fb", UnmappedReason.CONTROL_CHARACTERS),
        ("a\u200bb", UnmappedReason.CONTROL_CHARACTERS),
        ("\u202ea", UnmappedReason.CONTROL_CHARACTERS),
        ("a\u2028b", UnmappedReason.CONTROL_CHARACTERS),
        ("a\ud800", UnmappedReason.CONTROL_CHARACTERS),
    ],
)
def test_what_cannot_be_an_id_says_why(value: str, reason: UnmappedReason) -> None:
    mapping = map_foreign_ids([value], IDType.THREAD)

    assert mapping.mapped == {}
    assert mapping.unmapped == (UnmappedId(value=value, reason=reason),)


def test_a_space_that_only_looks_odd_is_no_control_character() -> None:
    mapping = map_foreign_ids(["a\xa0b"], IDType.THREAD)

    assert mapping.unmapped == ()


@pytest.mark.parametrize(
    "value",
    [
        "run_01h455vb4pex5vsknk084sn02q",
        "thread_run_01h455vb4pex5vsknk084sn02q",
        "run_7_0f3c9a2e",
        "thread_run_7_0f3c9a2e",
        "run_thread_1757409218490_5_58174c51",
    ],
)
def test_the_id_of_another_type_is_not_taken_over(value: str) -> None:
    mapping = map_foreign_ids([value], IDType.THREAD)

    assert mapping.mapped == {}
    assert mapping.unmapped == (UnmappedId(value=value, reason=UnmappedReason.OTHER_TYPE, found=IDType.RUN),)


def test_values_that_differ_in_white_space_only_are_duplicates_of_the_first() -> None:
    mapping = map_foreign_ids([" a", "a", "a", "b", "a\n", "A"], IDType.THREAD)

    assert list(mapping.mapped) == [" a", "b", "A"]
    assert reasons(mapping) == [(value, UnmappedReason.DUPLICATE) for value in ("a", "a", "a\n")]


def test_what_is_wrong_with_a_value_is_said_before_that_it_came_twice() -> None:
    mapping = map_foreign_ids(["", "", "run_7_0f3c9a2e", "run_7_0f3c9a2e"], IDType.THREAD)

    assert [reason for _, reason in reasons(mapping)] == [UnmappedReason.EMPTY] * 2 + [UnmappedReason.OTHER_TYPE] * 2


def test_milliseconds_survive() -> None:
    mapping = map_foreign_ids(["thread_chat_1757409218490_5_58174c51"], IDType.THREAD)

    (made,) = mapping.mapped.values()
    assert parse_id(made).created_at_ms == 1757409218490


@given(
    dated=st.lists(
        st.tuples(st.integers(10**12, 10**12 + 5), st.integers(0, 10**6)), unique=True, min_size=2, max_size=40
    )
)
@example(dated=[(10**12, 10), (10**12, 9), (10**12, 100)])
def test_dated_ids_keep_their_order_by_time_and_counter(dated: list[tuple[int, int]]) -> None:
    values = {f"thread_chat_{ms}_{counter}_58174c51": (ms, counter) for ms, counter in dated}

    mapping = map_foreign_ids(values, IDType.THREAD)

    in_order = [mapping.mapped[value] for value in sorted(values, key=values.__getitem__)]
    assert all(earlier < later for earlier, later in pairwise(in_order))
    assert list(mapping.mapped) == list(values)


def test_ids_without_a_time_get_new_ones_in_the_order_given() -> None:
    values = ["z", "y", "thread_9_0f3c9a2e", "thread_8_0f3c9a2e", UUID_TEXT]

    mapping = map_foreign_ids(values, IDType.THREAD)

    made = list(mapping.mapped.values())
    assert all(earlier < later for earlier, later in pairwise(made))


def test_an_id_of_this_program_stays_as_it_is() -> None:
    made = ThreadId.new("chat")

    mapping = map_foreign_ids([f" {made} "], IDType.THREAD)

    assert mapping.mapped == {f" {made} ": made}


@given(values=st.lists(st.text(max_size=12)), kind=kinds)
def test_mapping_the_result_again_changes_nothing(values: list[str], kind: IDType) -> None:
    once = map_foreign_ids(values, kind)

    twice = map_foreign_ids(once.mapped.values(), kind)

    assert list(twice.mapped.items()) == [(made, made) for made in once.mapped.values()]
    assert twice.unmapped == ()


@given(values=st.lists(st.text(max_size=3) | st.sampled_from([UUID_TEXT, "run_7_0f3c9a2e", "x" * 300])), kind=kinds)
def test_every_value_is_accounted_for_and_no_two_share_an_id(values: list[str], kind: IDType) -> None:
    mapping = map_foreign_ids(iter(values), kind)

    assert sorted([*mapping.mapped, *(one.value for one in mapping.unmapped)]) == sorted(values)
    assert len(set(mapping.mapped.values())) == len(mapping.mapped)
    assert {parse_id(made).type for made in mapping.mapped.values()} <= {kind}


def test_a_mapping_cannot_be_changed() -> None:
    mapping = map_foreign_ids(["a"], IDType.THREAD)

    with pytest.raises(TypeError):
        mapping.mapped["b"] = "c"  # pyright: ignore[reportIndexIssue] - this is what must fail
