"""The tools that come with the server: what they give, what they refuse, and that they never see another's things."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.clock import SystemClock, to_micros
from cloche.domain.context import UserExecutionContext
from cloche.domain.messages import MessageRole, TextPart
from cloche.domain.scope import Scope
from cloche.domain.tools import Effect
from cloche.errors import ToolError, ToolFailedError, ToolInvalidArgumentsError
from cloche.ids import MessageId, RequestId, RunId, ThreadId, TraceId, UserId
from cloche.storage.database import Transaction
from cloche.storage.messages import MessageRepository
from cloche.storage.sqlite import SqliteDatabase
from cloche.storage.threads import ThreadRepository
from cloche.testing.clock import ManualClock
from cloche.tools.builtin import builtin_tools, calculate
from cloche.tools.tool import Tool, ToolContext
from support.world import add_person

NOON = datetime(2031, 7, 1, 12, 0, 5, 678_000, tzinfo=UTC)


@pytest.fixture
def tools(database: SqliteDatabase) -> Mapping[str, Tool]:
    return builtin_tools(database, ManualClock(NOON))


def context_of(scope: Scope, thread_id: ThreadId | None = None) -> ToolContext:
    context = UserExecutionContext(
        scope=scope,
        thread_id=thread_id or ThreadId.new(),
        run_id=RunId.new(),
        request_id=RequestId.new(),
        trace_id=TraceId.new(),
        created_at=NOON,
    )
    return ToolContext(context=context, tool_call_id="tool_1", progress=lambda _text, _fraction: None)


async def use(made: Tool, context: ToolContext, **arguments: object) -> Any:
    """What the tool gives, as the dispatcher calls it."""
    return await made.invoke(context, made.validate(arguments))


def test_none_of_them_changes_anything(tools: Mapping[str, Tool]):
    assert set(tools) == {"clock", "calculator", "search_threads"}
    for name, made in tools.items():
        assert made.spec.name == name
        assert made.spec.effect is Effect.NONE
        assert made.spec.permission == "tools:basic"
        assert made.spec.description
        assert made.spec.timeout <= timedelta(seconds=5)
        json.dumps(made.spec.schema)


# The clock


@pytest.mark.parametrize(
    ("arguments", "time", "weekday", "zone"),
    [
        ({}, "2031-07-01T12:00:05+00:00", "Tuesday", "UTC"),
        ({"time_zone": "Europe/Berlin"}, "2031-07-01T14:00:05+02:00", "Tuesday", "Europe/Berlin"),
        ({"time_zone": "Pacific/Kiritimati"}, "2031-07-02T02:00:05+14:00", "Wednesday", "Pacific/Kiritimati"),
    ],
)
async def test_the_clock_tells_the_time_of_a_place(
    tools: Mapping[str, Tool], scope: Scope, arguments: dict[str, str], time: str, weekday: str, zone: str
):
    found = await use(tools["clock"], context_of(scope), **arguments)

    assert found == {"time": time, "weekday": weekday, "time_zone": zone}


@pytest.mark.parametrize(
    "zone",
    [
        "",
        "Nowhere/Land",
        "Europe",
        "/etc/passwd",
        "../../../etc/passwd",
        ".",
        "leapseconds",
        "a" * 5000,
        "\ud83d",
        "a\0b",
    ],
)
async def test_a_time_zone_that_there_is_not_is_refused(tools: Mapping[str, Tool], scope: Scope, zone: str):
    with pytest.raises(ToolInvalidArgumentsError):
        await use(tools["clock"], context_of(scope), time_zone=zone)


# The calculator


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("7 / 2", 3.5),
        ("7 // 2", 3),
        ("7 % 4", 3),
        ("2 ** 10", 1024),
        ("2 ^ 10", 1024),
        ("-3 + +5", 2),
        ("--3", 3),
        ("1,250 * 2", 2500),
        ("sqrt(16)", 4.0),
        ("round(2.6)", 3),
        ("abs(-2)", 2),
        ("floor(2.9) + ceil(2.1)", 5),
        ("log(exp(2))", 2.0),
        ("pi", math.pi),
        ("e", math.e),
        (" 4 ", 4),
        ("2 ** 200", 2**200),
    ],
)
async def test_arithmetic_is_worked_out(expression: str, value: float):
    assert await calculate(expression) == value


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "1 +",
        "one plus two",
        "x",
        "1 if 2 else 3",
        "True",
        "'a' * 3",
        "1j",
        "[1]",
        "1 < 2",
        "not 1",
        "~1",
        "1 << 3",
        "sqrt(1, 2)",
        "sqrt()",
        "sqrt(x=1)",
        "sqrt",
        "sqrt.real(1)",
        "print(1)",
        "eval('1')",
        "().__class__",
        "__import__('os').system('true')",
        "(" * 400,
        "lambda: 1",
        "x := 1",
        "1; 2",
    ],
)
async def test_what_is_no_arithmetic_is_refused(expression: str):
    with pytest.raises(ToolInvalidArgumentsError):
        await calculate(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "1 / 0",
        "1 // 0",
        "1 % 0",
        "0 ** -1",
        "sqrt(-1)",
        "log(0)",
        "exp(10000)",
        "2 ** 1001",
        "2 ** -1001",
        "9 ** 999",
        "(9 ** 99 * 9 ** 99) * (9 ** 99 * 9 ** 99)",
        "9 ** 9 ** 9",
        "1e308 * 10",
        "1e400",
        "1e400 - 1e400",
        "1e400 ** 2",
        "round(1e400)",
        "2.5 ** 1000",
        "(-8) ** (1 / 3)",
        "sqrt((-8) ** 0.5)",
        "round((-1) ** 0.5)",
    ],
)
async def test_what_has_no_value_fails_and_says_so(expression: str):
    with pytest.raises(ToolFailedError):
        await calculate(expression)


@pytest.mark.parametrize("expression", ["", "1" * 501])
async def test_an_expression_has_a_length(tools: Mapping[str, Tool], expression: str):
    with pytest.raises(ToolInvalidArgumentsError, match="expression"):
        tools["calculator"].validate({"expression": expression})


numbers = st.integers(-(10**6), 10**6).map(str) | st.sampled_from(["0", "1e300", "0.5", "pi", "e", "2", "-1"])
expressions = st.recursive(
    numbers,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "//", "%", "**"]), inner).map(
            lambda parts: f"({' '.join(parts)})"
        ),
        st.tuples(st.sampled_from(["sqrt", "round", "abs", "floor", "ceil", "log", "exp", "-"]), inner).map(
            lambda parts: f"{parts[0]}({parts[1]})"
        ),
    ),
    max_leaves=8,
)


@given(expressions)
async def test_every_expression_has_a_real_value_or_says_why_not(expression: str):
    try:
        value = await calculate(expression)
    except ToolError:
        return

    assert isinstance(value, int | float)
    assert math.isfinite(value)


@given(st.text(max_size=40) | st.text("0123456789+-*/().,^ e", max_size=40))
async def test_every_text_is_worked_out_or_refused(text: str):
    try:
        value = await calculate(text)
    except ToolError:
        return

    assert isinstance(value, int | float)


# The search


async def say(
    database: SqliteDatabase,
    scope: Scope,
    text: str,
    *more: str,
    thread_id: ThreadId | None = None,
    title: str = "a thread",
    at: datetime = NOON,
) -> ThreadId:
    """A message of the person's, in a thread of its own if none is named."""
    wanted = thread_id or ThreadId.new()

    async def work(tx: Transaction) -> None:
        if thread_id is None:
            await ThreadRepository(scope).create(tx, wanted, title=title, metadata={}, at=at)
        await MessageRepository(scope).create(
            tx,
            MessageId.new(),
            thread_id=wanted,
            run_id=RunId.new(),
            seq=1,
            role=MessageRole.USER,
            parts=tuple(TextPart(text=part) for part in (text, *more)),
            at=at,
        )

    await database.write(work)
    return wanted


async def colleague_of(database: SqliteDatabase, scope: Scope) -> Scope:
    """Another user of the same tenant."""
    user = UserId.new()
    await database.write(
        lambda tx: tx.execute(
            "INSERT INTO users (tenant_id, id, email, name, role, status, created_at, updated_at) "
            "VALUES (?, ?, ?, 'A colleague', 'member', 'active', ?, ?)",
            str(scope.tenant_id),
            str(user),
            f"{user}@example.org",
            to_micros(NOON),
            to_micros(NOON),
        )
    )
    return Scope(tenant_id=scope.tenant_id, user_id=user, permissions=scope.permissions)


async def test_a_search_finds_the_user_s_own_words_newest_first(
    database: SqliteDatabase, tools: Mapping[str, Tool], scope: Scope
):
    first = await say(database, scope, "I fly to Lisbon in May", title="travel")
    await say(database, scope, "the ferns are thirsty", at=NOON + timedelta(hours=1))
    await say(database, scope, "LISBON again", title="more travel", at=NOON + timedelta(hours=2))

    found = await use(tools["search_threads"], context_of(scope, first), words="lisbon")

    assert found == [
        {"thread": "more travel", "by": "user", "at": "2031-07-01T14:00:05.678Z", "text": "LISBON again"},
        {"thread": "this one", "by": "user", "at": "2031-07-01T12:00:05.678Z", "text": "I fly to Lisbon in May"},
    ]


async def test_a_search_never_sees_another_user_s_things(
    database: SqliteDatabase, clock: SystemClock, tools: Mapping[str, Tool], scope: Scope
):
    colleague, stranger = await colleague_of(database, scope), await add_person(database, clock)
    threads = [await say(database, person, "the pass phrase is fern") for person in (colleague, stranger)]

    for thread_id in threads:
        assert await use(tools["search_threads"], context_of(scope, thread_id), words="fern") == []
    for person in (colleague, stranger):
        [found] = await use(tools["search_threads"], context_of(person), words="fern")
        assert found["text"] == "the pass phrase is fern"


async def test_a_search_does_not_see_deleted_threads(database: SqliteDatabase, tools: Mapping[str, Tool], scope: Scope):
    thread_id = await say(database, scope, "fern")
    await database.write(lambda tx: ThreadRepository(scope).delete(tx, thread_id, at=NOON))

    assert await use(tools["search_threads"], context_of(scope), words="fern") == []


@pytest.mark.parametrize(
    "words", ["%", "_", "\\", '"', "100%", "a_b", 'say "no"', "two\nlines", "50% of a_b\\c", "fünf\t€"]
)
async def test_signs_that_mean_something_to_the_database_mean_themselves(
    database: SqliteDatabase, tools: Mapping[str, Tool], scope: Scope, words: str
):
    await say(database, scope, "nothing of the kind")
    await say(database, scope, f"here is {words} indeed")

    found = await use(tools["search_threads"], context_of(scope), words=words)

    assert [hit["text"] for hit in found] == [f"here is {words} indeed"]


async def test_a_search_shows_what_stands_around_the_words(
    database: SqliteDatabase, tools: Mapping[str, Tool], scope: Scope
):
    await say(database, scope, "a" * 500 + " fern " + "b" * 500)

    [found] = await use(tools["search_threads"], context_of(scope), words="fern")

    assert "a fern b" in found["text"]
    assert len(found["text"]) == 240


@pytest.mark.parametrize(("asked", "given_"), [({}, 5), ({"limit": 2}, 2), ({"limit": 20}, 8)])
async def test_a_search_gives_no_more_than_it_was_asked_for(
    database: SqliteDatabase, tools: Mapping[str, Tool], scope: Scope, asked: dict[str, int], given_: int
):
    for number in range(8):
        await say(database, scope, f"fern {number}", at=NOON + timedelta(minutes=number))

    found = await use(tools["search_threads"], context_of(scope), words="fern", **asked)

    assert [hit["text"] for hit in found] == [f"fern {number}" for number in range(7, 7 - given_, -1)]


@pytest.mark.parametrize(
    "arguments",
    [{}, {"words": ""}, {"words": "x" * 201}, {"words": "fern", "limit": 0}, {"words": "fern", "limit": 21}],
)
def test_a_search_without_words_or_for_too_much_is_refused(tools: Mapping[str, Tool], arguments: dict[str, object]):
    with pytest.raises(ToolInvalidArgumentsError):
        tools["search_threads"].validate(arguments)


@pytest.mark.parametrize("words", ["text", "type", "parts"])
async def test_the_form_in_which_messages_are_kept_neither_is_found_nor_hides_what_is(
    database: SqliteDatabase, tools: Mapping[str, Tool], scope: Scope, words: str
):
    await say(database, scope, f"a {words} of mine")
    for number in range(25):
        await say(database, scope, "fern", at=NOON + timedelta(minutes=number))

    found = await use(tools["search_threads"], context_of(scope), words=words)

    assert [hit["text"] for hit in found] == [f"a {words} of mine"]


async def test_every_part_of_a_message_is_searched_and_nothing_between_them(
    database: SqliteDatabase, tools: Mapping[str, Tool], scope: Scope
):
    await say(database, scope, "a fern", "a rose")

    hits = {
        words: [hit["text"] for hit in await use(tools["search_threads"], context_of(scope), words=words)]
        for words in ("fern", "rose", "type", '"},{"')
    }

    assert hits == {"fern": ["a fern\n\na rose"], "rose": ["a fern\n\na rose"], "type": [], '"},{"': []}
