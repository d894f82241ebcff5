"""Ids: the grammar, the order, the types, and everything that is no id."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError
from functools import partial
from itertools import pairwise
from uuid import RFC_4122, UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cloche.errors import InvalidIdError
from cloche.ids import (
    AgentId,
    ApprovalId,
    ExecutionId,
    IDType,
    KeyId,
    MessageId,
    MetricId,
    ParsedId,
    RequestId,
    RunId,
    SessionId,
    StructuredId,
    SuffixSource,
    TenantId,
    ThreadId,
    ToolId,
    TraceId,
    TransactionId,
    TypedId,
    UserId,
    WebsocketId,
    find_structured_id,
    generate_id,
    generate_user_context_ids,
    id_at,
    is_valid_id_format,
    is_valid_id_format_compatible,
    parse_id,
)

# The example of TypeID's own specification.
SPEC_SUFFIX = "01h455vb4pex5vsknk084sn02q"
SPEC_UUID = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
MAX_MS = 2**48 - 1

CLASSES: dict[IDType, type[TypedId]] = {
    IDType.USER: UserId,
    IDType.SESSION: SessionId,
    IDType.REQUEST: RequestId,
    IDType.AGENT: AgentId,
    IDType.TOOL: ToolId,
    IDType.TRANSACTION: TransactionId,
    IDType.WEBSOCKET: WebsocketId,
    IDType.EXECUTION: ExecutionId,
    IDType.TRACE: TraceId,
    IDType.METRIC: MetricId,
    IDType.THREAD: ThreadId,
    IDType.RUN: RunId,
    IDType.TENANT: TenantId,
    IDType.MESSAGE: MessageId,
    IDType.APPROVAL: ApprovalId,
    IDType.KEY: KeyId,
}

ADVERSARIAL_LABELS = [
    "websocket_phase1",
    "agent_tracking",
    "thread_0_id_0",
    "run",
    "run_run_run",
    "my_thread",
    "a_",
    "a____",
    "user_1757409218490_5_deadbeef",
    "x" * 31,
    f"t{SPEC_SUFFIX}",
]

# Whole texts that no validator of either kind may accept.
NO_IDS = [
    "",
    " ",
    "run",
    "run_",
    "_",
    "test-user-123",
    "user_12",
    "invalid_x",
    "fake_run",
    "pending_auth",
    "awaiting_auth_1",
    "temp_auth_1",
    "staging-e2e-user-001",
    "123456789012345678",
    SPEC_SUFFIX,
    f"_{SPEC_SUFFIX}",
    f"run{SPEC_SUFFIX}",
    f"run__{SPEC_SUFFIX}",
    f"run-{SPEC_SUFFIX}",
    f"_run_{SPEC_SUFFIX}",
    f"runner_{SPEC_SUFFIX}",
    f"rerun_{SPEC_SUFFIX}",
    f"bogus_{SPEC_SUFFIX}",
    f"run_bogus_{SPEC_SUFFIX}",
    f"RUN_{SPEC_SUFFIX}",
    f"run_{SPEC_SUFFIX.upper()}",
    f"run_{SPEC_SUFFIX}_",
    f"run_{SPEC_SUFFIX}\n",
    f"run_{SPEC_SUFFIX}\x00",
    f"run_{SPEC_SUFFIX}0",
    f"run_{SPEC_SUFFIX[:-1]}",
    f" run_{SPEC_SUFFIX}",
    f"run_8{SPEC_SUFFIX[1:]}",
    f"run_{SPEC_SUFFIX[:-1]}i",
    f"run_{SPEC_SUFFIX[:-1]}l",
    f"run_{SPEC_SUFFIX[:-1]}o",
    f"run_{SPEC_SUFFIX[:-1]}u",
    f"run_{SPEC_SUFFIX[:-1]}\u0661",
    f"run_{SPEC_SUFFIX[:-1]}\uff11",
    f"1test_run_{SPEC_SUFFIX}",
    f"Test_run_{SPEC_SUFFIX}",
    f"te-st_run_{SPEC_SUFFIX}",
    f"t\u00e9st_run_{SPEC_SUFFIX}",
    f"{'x' * 32}_run_{SPEC_SUFFIX}",
    "550e8400-e29b-41d4-a716-446655440000\n",
    "550e8400-e29b-41d4-a716-44665544000",
    "550e8400-e29b-41d4-a716-44665544000g",
    "550e8400e29b-41d4-a716-4466554400000",
    "550e8400-e29b-41d4-a716-44665544000\u0660",
    "{550e8400-e29b-41d4-a716-446655440000}",
    "run_7_58174c51\n",
    "run_7_58174C51",
    "run_7_58174c5",
    "run_7_58174c511",
    "run_\u0667_58174c51",
    "run_x_58174c51",
    "run__58174c51",
    "bogus_7_58174c51",
    "_run_7_58174c51",
    "1_run_7_58174c51",
    f"{'x' * 65}_run_7_58174c51",
    f"run_{'1' * 19}_58174c51",
    "bogus_chat_1757409218490_5_58174c51",
    "thread_chat_175740921849_5_58174c51",
    "thread_chat_17574092184900_5_58174c51",
    "thread_chat_1757409218490_58174c51",
    "thread__1757409218490_5_58174c51",
    "thread_chat_175740921849\u0660_5_58174c51",
]
NO_TEXTS: list[object] = [None, 7, 7.5, True, b"run_" + SPEC_SUFFIX.encode(), ["run"], object(), IDType, SPEC_UUID]

labels = st.from_regex(r"[a-z][a-z0-9_]{0,30}", fullmatch=True)
kinds = st.sampled_from(IDType)


class HandClock:
    """Nanoseconds that a test sets."""

    def __init__(self, ms: int) -> None:
        self.ms = ms

    def __call__(self) -> int:
        return self.ms * 1_000_000


def ones(count: int) -> bytes:
    return b"\xff" * count


def zeros(count: int) -> bytes:
    return bytes(count)


def number_of(suffix: str) -> int:
    """The slow and plain way to read a suffix."""
    number = 0
    for character in suffix:
        number = number * 32 + ALPHABET.index(character)
    return number


def ms_of(suffix: str) -> int:
    return number_of(suffix) >> 80


def increases(ids: list[str]) -> bool:
    return all(earlier < later for earlier, later in pairwise(ids))


def fitting_types(text: str) -> list[IDType]:
    return [kind for kind in IDType if is_valid_id_format_compatible(text, kind)]


def refusal(call: Callable[[], object]) -> InvalidIdError:
    with pytest.raises(InvalidIdError) as caught:
        call()
    return caught.value


# What an id looks like


def test_the_kinds_are_the_agreed_sixteen() -> None:
    words = (
        "user session request agent tool transaction websocket execution trace metric thread run "
        "tenant message approval key"
    )

    found = [str(kind) for kind in IDType]

    assert found == words.split()


@given(kind=kinds)
def test_an_id_without_a_label_is_a_type_word_and_26_characters(kind: IDType) -> None:
    made = generate_id(kind)

    head, _, suffix = made.rpartition("_")
    assert head == kind.value
    assert len(suffix) == 26
    assert set(suffix) <= set(ALPHABET)
    assert suffix[0] <= "7"
    assert made.__class__ is str


@given(kind=kinds)
def test_the_suffix_is_a_uuid_of_version_7(kind: IDType) -> None:
    parsed = parse_id(generate_id(kind))

    assert parsed.uuid.version == 7
    assert parsed.uuid.variant == RFC_4122
    assert parsed.uuid.int == number_of(parsed.suffix)
    assert parsed.created_at_ms == parsed.uuid.int >> 80


@given(ms=st.integers(0, MAX_MS - 100), noise=st.binary(min_size=10, max_size=10), ids=st.integers(1, 40))
@example(ms=0, noise=b"\x00" * 10, ids=3)
@example(ms=MAX_MS - 100, noise=b"\xff" * 10, ids=3)
def test_version_and_variant_hold_for_every_time_and_all_random_bits(ms: int, noise: bytes, ids: int) -> None:
    source = SuffixSource(HandClock(ms), lambda count: (noise * (count // 10 + 1))[:count])

    uuids = [UUID(int=number_of(source.next())) for _ in range(ids)]

    assert {uuid.version for uuid in uuids} == {7}
    assert {uuid.variant for uuid in uuids} == {RFC_4122}
    assert all(is_valid_id_format(f"run_{source.next()}") for _ in range(ids))


def test_the_random_bits_of_a_suffix_stand_where_the_uuid_has_them() -> None:
    bits = 0b10_1100_1110_1111 << 60 | 0x123456789ABCDEF
    source = SuffixSource(HandClock(0x0123456789AB), (bits << 6).to_bytes)

    made = UUID(int=number_of(source.next()))

    assert made.int >> 80 == 0x0123456789AB
    assert made.int >> 64 & 0xFFF == 0b10_1100_1110_11
    assert made.int & (1 << 62) - 1 == 0b11 << 60 | 0x123456789ABCDEF


def test_the_example_of_the_specification_is_read_as_it_says() -> None:
    parsed = parse_id(f"run_{SPEC_SUFFIX}")

    assert parsed == ParsedId(
        type=IDType.RUN, label=None, suffix=SPEC_SUFFIX, uuid=SPEC_UUID, created_at_ms=0x01890A5DAC96
    )


def test_what_was_read_off_an_id_cannot_be_changed() -> None:
    parsed = parse_id(f"run_{SPEC_SUFFIX}")

    with pytest.raises(FrozenInstanceError):
        parsed.label = "other"  # pyright: ignore[reportAttributeAccessIssue] - this is what must fail


# Order and uniqueness


def test_ids_increase_in_one_thread() -> None:
    made = [generate_id(IDType.RUN) for _ in range(5_000)]

    assert increases(made)


@given(kind=kinds, label=st.none() | labels)
def test_a_later_id_is_greater_as_text(kind: IDType, label: str | None) -> None:
    earlier = generate_id(kind, prefix=label)
    later = generate_id(kind, prefix=label)

    assert earlier < later


@pytest.mark.slow
def test_ten_threads_never_make_the_same_id_and_each_sees_them_increase() -> None:
    def make(_: int) -> list[str]:
        return [generate_id(IDType.TRACE) for _ in range(20_000)]

    with ThreadPoolExecutor(10) as pool:
        made = list(pool.map(make, range(10)))

    assert len({one for ids in made for one in ids}) == 200_000
    assert all(increases(ids) for ids in made)


@given(times=st.lists(st.integers(-(10**6), 10**13), min_size=1, max_size=60))
@example(times=[1_000, 999, 998, 0, -5, 1_000, 1_001])
def test_suffixes_increase_whatever_the_clock_does(times: list[int]) -> None:
    clock = HandClock(0)
    source = SuffixSource(clock)

    made: list[str] = []
    for clock.ms in times:
        made += [source.next(), source.next()]

    assert increases(made)


def test_a_clock_that_stepped_back_leaves_the_time_where_it_was() -> None:
    clock = HandClock(5_000)
    source = SuffixSource(clock)
    source.next()

    clock.ms = 1_000
    during = source.next()
    clock.ms = 5_001
    after = source.next()

    assert ms_of(during) == 5_000
    assert ms_of(after) == 5_001


def test_a_clock_before_1970_gives_times_from_zero_on() -> None:
    source = SuffixSource(HandClock(-1_000))

    made = [source.next() for _ in range(3)]

    assert increases(made)
    assert ms_of(made[0]) == 0


def test_a_standing_clock_gives_more_ids_than_one_draw_of_steps() -> None:
    source = SuffixSource(HandClock(5_000))

    made = [source.next() for _ in range(5_000)]

    assert increases(made)
    assert {ms_of(suffix) for suffix in made} == {5_000}


def test_steps_of_nothing_but_zeros_still_lead_on() -> None:
    source = SuffixSource(HandClock(5_000), zeros)

    made = [number_of(source.next()) for _ in range(3_000)]

    assert [later - earlier for earlier, later in pairwise(made)] == [1] * 2_999


def test_a_step_is_random_and_at_most_two_to_the_25() -> None:
    source = SuffixSource(HandClock(5_000))

    made = [number_of(source.next()) for _ in range(500)]

    steps = [later - earlier for earlier, later in pairwise(made)]
    assert all(1 <= step <= 2**25 for step in steps)
    assert len(set(steps)) > 450


def test_the_upper_half_counts_on_when_the_lower_one_is_full() -> None:
    drawn = iter([((1 << 30) - 1 << 6).to_bytes(10), bytes(4096)])
    source = SuffixSource(HandClock(5_000), lambda _: next(drawn))

    earlier, later = number_of(source.next()), number_of(source.next())

    assert later - earlier == 1
    assert earlier & (1 << 30) - 1 == (1 << 30) - 1
    assert later & (1 << 60) - 1 == 1 << 30


def test_a_millisecond_without_room_goes_over_into_the_next() -> None:
    source = SuffixSource(HandClock(5_000), ones)

    made = [source.next() for _ in range(4)]

    assert increases(made)
    assert [ms_of(suffix) for suffix in made] == [5_000, 5_001, 5_002, 5_003]


def test_each_millisecond_draws_fresh_random_bits() -> None:
    clock = HandClock(5_000)
    source = SuffixSource(clock)

    randoms: set[int] = set()
    for clock.ms in range(5_000, 5_100):
        randoms.add(number_of(source.next()) & (1 << 62) - 1)

    assert len(randoms) == 100


def test_a_source_that_was_restarted_goes_on_increasing_with_other_bits() -> None:
    source = SuffixSource(HandClock(5_000))
    before = [source.next() for _ in range(3)]

    source.restart()
    after = [source.next() for _ in range(3)]

    assert increases(before + after)
    assert ms_of(after[0]) == 5_001


def test_a_forked_child_never_repeats_its_parent_even_while_the_clock_stands() -> None:
    script = """
import os, sys, time
time.time_ns = lambda: 1_757_409_218_490_000_000
from cloche.ids import IDType, generate_id
generate_id(IDType.RUN), generate_id(IDType.RUN)
child = os.fork()
sys.stdout.write("".join(generate_id(IDType.RUN) + "\\n" for _ in range(50)))
sys.stdout.flush()
if child:
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
os._exit(0)
"""

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=15)

    made = done.stdout.split()
    assert len(made) == 100
    assert len(set(made)) == 100


# Labels


@given(kind=kinds, label=labels)
def test_a_labelled_id_is_read_back_as_it_was_made(kind: IDType, label: str) -> None:
    made = generate_id(kind, prefix=label)

    parsed = parse_id(made)

    assert (parsed.type, parsed.label) == (kind, label)
    assert made == f"{label}_{kind.value}_{parsed.suffix}"
    assert is_valid_id_format(made)
    assert is_valid_id_format_compatible(made, kind)


@pytest.mark.parametrize("label", [*ADVERSARIAL_LABELS, *IDType])
def test_the_type_is_the_word_before_the_suffix_whatever_the_label_says(label: str) -> None:
    made = {kind: generate_id(kind, prefix=label) for kind in IDType}

    parsed = {kind: parse_id(text) for kind, text in made.items()}

    assert [(one.type, one.label) for one in parsed.values()] == [(kind, label) for kind in IDType]
    assert all(is_valid_id_format(text) for text in made.values())
    assert all(CLASSES[kind].parse(text) == text for kind, text in made.items())
    assert all(fitting_types(text) == [kind] for kind, text in made.items())


@given(kind=kinds, words=st.lists(kinds, min_size=1, max_size=3))
def test_labels_that_end_with_a_type_word_do_not_change_the_type(kind: IDType, words: list[IDType]) -> None:
    label = "_".join(words)[:31].strip("_")

    parsed = parse_id(generate_id(kind, prefix=label))

    assert (parsed.type, parsed.label) == (kind, label)


@pytest.mark.parametrize(
    "label",
    ["", "_", "_a", "1a", "A", "aB", "a-b", "a b", "a\n", "a.b", "\u00e9", "a\u0661", "x" * 32, "a" * 10_000],
)
def test_what_is_no_label_is_refused(label: str) -> None:
    for make in (lambda: generate_id(IDType.RUN, prefix=label), lambda: RunId.new(label)):
        error = refusal(make)

        assert error.code == "invalid_id"
        assert error.message.startswith("a label is a letter a-z and up to 30 of a-z, 0-9 and _, got '")
        assert len(error.message) < 500


@pytest.mark.parametrize("kind", ["run", "bogus", None, 7, RunId])
def test_an_id_is_made_for_an_id_type_only(kind: object) -> None:
    with pytest.raises(TypeError, match="an IDType is needed"):
        generate_id(kind)  # pyright: ignore[reportArgumentType] - this is what must fail


# What is no id


@pytest.mark.parametrize("text", NO_IDS)
def test_text_that_is_no_id_is_refused_everywhere(text: str) -> None:
    assert not is_valid_id_format(text)
    assert not is_valid_id_format_compatible(text)
    assert fitting_types(text) == []
    assert refusal(lambda: parse_id(text)).message.startswith("expected an id, got text that is no id ('")
    assert refusal(lambda: RunId.parse(text)).message.startswith("expected a run id, got text that is no id ('")
    assert find_structured_id(text) is None


@pytest.mark.parametrize("value", NO_TEXTS)
def test_what_is_no_text_is_no_id(value: object) -> None:
    shown = f"got a value that is no text ({type(value).__name__})"

    assert not is_valid_id_format(value)
    assert not is_valid_id_format_compatible(value)
    assert not is_valid_id_format_compatible(value, IDType.RUN)
    assert refusal(lambda: parse_id(value)).message == f"expected an id, {shown}"
    assert refusal(lambda: RunId.parse(value)).message == f"expected a run id, {shown}"


@pytest.mark.parametrize("place", range(26))
def test_every_character_of_the_suffix_is_checked(place: int) -> None:
    allowed = {0: "01234567", 10: "ef", 13: "89abrstv"}.get(place, ALPHABET)
    others = [chr(code) for code in range(256)] + ["\u0660", "\uff10", "\u212a", "\U0001d7d8"]

    accepted = {
        character
        for character in others
        if is_valid_id_format(f"run_{SPEC_SUFFIX[:place]}{character}{SPEC_SUFFIX[place + 1 :]}")
    }

    assert accepted == set(allowed)


@given(number=st.integers(0, 2**128 - 1))
@example(number=SPEC_UUID.int)
def test_only_uuids_of_version_7_make_a_valid_suffix(number: int) -> None:
    suffix = "".join(ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))
    uuid = UUID(int=number)

    accepted = is_valid_id_format(f"run_{suffix}")

    assert accepted == (uuid.variant == RFC_4122 and uuid.version == 7)


@given(text=st.text())
def test_the_three_readers_agree_on_any_text(text: str) -> None:
    accepted = is_valid_id_format(text)

    if accepted:
        assert parse_id(text).suffix == text[-26:]
    else:
        refusal(lambda: parse_id(text))
        refusal(lambda: RunId.parse(text))


# What older systems hold


@pytest.mark.parametrize(
    "uuid",
    [
        "550e8400-e29b-41d4-a716-446655440000",
        "550E8400-E29B-41D4-A716-446655440000",
        "01890a5d-ac96-774b-bcce-b302099a8057",
        "00000000-0000-0000-0000-000000000000",
    ],
)
def test_a_uuid_fits_every_type_but_is_no_id_of_this_program(uuid: str) -> None:
    assert is_valid_id_format_compatible(uuid)
    assert fitting_types(uuid) == list(IDType)
    assert not is_valid_id_format(uuid)


@pytest.mark.parametrize("prefix", ["", "test_", "websocket_phase1_", "agent_tracking_", "thread_0_id_0_", "run_"])
def test_a_counted_id_has_the_type_before_its_counter(prefix: str) -> None:
    for kind in IDType:
        text = f"{prefix}{kind.value}_17_0f3c9a2e"

        assert is_valid_id_format_compatible(text)
        assert fitting_types(text) == [kind]
        assert not is_valid_id_format(text)
        assert find_structured_id(text) == StructuredId(type=kind, counter=17, created_at_ms=None)


@pytest.mark.parametrize("operation", ["chat", "golden_path", "run", "thread_7", "agent-exec", "x_1757409218490"])
def test_a_dated_id_has_the_type_at_its_head(operation: str) -> None:
    for kind in IDType:
        text = f"{kind.value}_{operation}_1757409218490_528_58174c51"

        assert is_valid_id_format_compatible(text)
        assert fitting_types(text) == [kind]
        assert not is_valid_id_format(text)
        assert find_structured_id(text) == StructuredId(type=kind, counter=528, created_at_ms=1757409218490)


def test_an_id_of_this_program_is_no_structured_id() -> None:
    found = find_structured_id(generate_id(IDType.RUN, prefix="test"))

    assert found is None


# Ids of another time


@given(kind=kinds, at_ms=st.integers(0, MAX_MS))
@example(kind=IDType.RUN, at_ms=0)
@example(kind=IDType.RUN, at_ms=MAX_MS)
def test_an_id_at_a_time_says_that_time(kind: IDType, at_ms: int) -> None:
    parsed = parse_id(id_at(kind, at_ms))

    assert (parsed.type, parsed.label, parsed.created_at_ms) == (kind, None, at_ms)
    assert parsed.uuid.version == 7
    assert parsed.uuid.variant == RFC_4122


def test_ids_at_one_time_differ() -> None:
    made = {id_at(IDType.RUN, 5_000) for _ in range(1_000)}

    assert len(made) == 1_000


@pytest.mark.parametrize("at_ms", [-1, MAX_MS + 1])
def test_a_time_out_of_bounds_is_refused(at_ms: int) -> None:
    error = refusal(lambda: id_at(IDType.RUN, at_ms))

    assert error.message == f"the time of an id lies between 0 and {MAX_MS} ms, got {at_ms}"


# One class per kind


def test_there_is_one_class_for_every_kind() -> None:
    assert list(CLASSES) == list(IDType)
    assert {made.kind: made for made in TypedId.__subclasses__()} == CLASSES
    assert {made.__name__ for made in CLASSES.values()} == {f"{kind.value.title()}Id" for kind in IDType}


@pytest.mark.parametrize("kind", IDType)
def test_a_typed_id_is_a_text_of_its_kind(kind: IDType) -> None:
    typed = CLASSES[kind]

    made = typed.new()
    labelled = typed.new("test")

    assert made.__class__ is labelled.__class__ is typed
    assert parse_id(made).type is parse_id(labelled).type is kind
    assert parse_id(labelled).label == "test"
    assert typed.parse(made) == made
    assert typed.parse(str(made)).__class__ is typed
    assert made == str(made)
    assert hash(made) == hash(str(made))
    assert pickle.loads(pickle.dumps(made)).__class__ is typed
    assert not hasattr(made, "__dict__")


@pytest.mark.parametrize("wanted", IDType)
def test_the_id_of_another_kind_is_refused_by_name(wanted: IDType) -> None:
    others = [kind for kind in IDType if kind is not wanted]

    errors = [refusal(partial(CLASSES[wanted].parse, CLASSES[got].new(wanted.value))) for got in others]

    named = {kind: f"{'an' if kind.value[0] in 'ae' else 'a'} {kind.value} id" for kind in IDType}
    assert [error.message for error in errors] == [f"expected {named[wanted]}, got {named[got]}" for got in others]
    assert [error.details for error in errors] == [{"expected": wanted.value, "got": got.value} for got in others]


def test_a_run_id_where_a_thread_id_is_expected_is_said_plainly() -> None:
    error = refusal(lambda: ThreadId.parse(RunId.new()))

    assert error.message == "expected a thread id, got a run id"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("hello", "'hello'"),
        ("", "''"),
        ("a\nb\x00\u202e", r"'a\nb\x00\u202e'"),
        ("\ud800", r"'\ud800'"),
        ("x" * 40, f"'{'x' * 40}'"),
        ("x" * 41, f"'{'x' * 40}'…"),
        ("\u00e9" * 100_000, "'" + r"\xe9" * 40 + "'…"),
    ],
)
def test_text_that_is_no_id_is_shown_short_and_escaped(text: str, shown: str) -> None:
    error = refusal(lambda: ThreadId.parse(text))

    assert error.message == f"expected a thread id, got text that is no id ({shown})"


def test_the_constructor_takes_a_row_as_it_is() -> None:
    row = RunId("what the database holds")

    assert row == "what the database holds"


# The ids of a context


def test_a_context_gets_a_thread_a_run_and_a_request_labelled_with_the_operation() -> None:
    user = UserId.new()

    made = generate_user_context_ids(user, "chat")

    assert [one.__class__ for one in made] == [ThreadId, RunId, RequestId]
    assert [parse_id(one).label for one in made] == ["chat"] * 3
    assert len({one[-26:] for one in made}) == 3
    assert not any(user[-26:] in one for one in made)


@pytest.mark.parametrize("operation", ["", "Chat", "agent-exec", "chat\n", "x" * 32])
def test_an_operation_that_is_no_label_is_refused(operation: str) -> None:
    error = refusal(lambda: generate_user_context_ids(UserId.new(), operation))

    assert error.message.startswith("a label is")


@pytest.mark.parametrize("user", ["", "  ", None, 7])
def test_a_context_without_a_user_is_refused(user: object) -> None:
    error = refusal(lambda: generate_user_context_ids(user, "chat"))  # pyright: ignore[reportArgumentType] - must fail

    assert error.message.startswith("expected a user id, got ")
