"""A context is frozen, names whom it works for, and cannot be replaced by a bag of state."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta

import pytest

from cloche.domain.context import MAX_DEPTH, CleanUps, UserExecutionContext, check_context, managed_user_context
from cloche.domain.permissions import Role, permissions_of
from cloche.domain.scope import Principal, Scope
from cloche.errors import DepthExceededError, InvalidContextError
from cloche.ids import ExecutionId, RequestId, RunId, SessionId, TenantId, ThreadId, TraceId, UserId

NOW = datetime(2031, 1, 1, tzinfo=UTC)


def a_scope() -> Scope:
    return Scope(
        tenant_id=TenantId.new(),
        user_id=UserId.new(),
        session_id=SessionId.new(),
        permissions=permissions_of(Role.ADMIN),
    )


def a_context(**changes: object) -> UserExecutionContext:
    given: dict[str, object] = {"thread_id": ThreadId.new(), "run_id": RunId.new(), "created_at": NOW, **changes}
    return UserExecutionContext.from_request(a_scope(), **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [one.name for one in fields(UserExecutionContext)])
def test_no_field_can_be_set_afterwards(name: str):
    context = a_context()

    with pytest.raises(FrozenInstanceError):
        setattr(context, name, None)
    with pytest.raises((FrozenInstanceError, TypeError, AttributeError)):
        context.something_more = 1  # type: ignore[attr-defined]


def test_a_context_from_a_request_makes_the_ids_that_are_missing_and_keeps_the_others():
    made, kept = a_context(), a_context(request_id=RequestId("request_x"), trace_id=TraceId("trace_x"), deadline_at=NOW)

    assert RequestId.parse(made.request_id)
    assert TraceId.parse(made.trace_id)
    assert made.request_id != a_context().request_id
    assert (kept.request_id, kept.trace_id, kept.deadline_at) == ("request_x", "trace_x", NOW)
    assert (made.depth, made.parent_request_id, made.operation) == (0, None, "request")


def test_a_child_works_on_the_same_run_under_a_request_id_of_its_own():
    context = replace(a_context(attributes={"a": 1, "b": 1}), execution_id=ExecutionId.new(), deadline_at=NOW)

    child = context.child("tool:search", {"b": 2})

    for name in ("scope", "thread_id", "run_id", "trace_id", "execution_id", "created_at", "deadline_at"):
        assert getattr(child, name) == getattr(context, name)
    assert child.request_id != context.request_id
    assert child.parent_request_id == context.request_id
    assert (child.depth, child.operation) == (1, "tool:search")
    assert child.attributes == {"a": 1, "b": 2}
    assert context.attributes == {"a": 1, "b": 1}
    assert child.child("again").parent_request_id == child.request_id


def test_children_go_ten_deep_and_no_deeper():
    context = a_context()
    for _ in range(MAX_DEPTH):
        context = context.child("deeper")

    with pytest.raises(DepthExceededError) as refused:
        context.child("too deep")
    assert context.depth == MAX_DEPTH
    assert refused.value.details == {"limit": MAX_DEPTH}


@pytest.mark.parametrize("operation", ["", " ", "\n"])
def test_a_child_needs_a_name_for_what_it_does(operation: str):
    with pytest.raises(InvalidContextError, match="operation"):
        a_context().child(operation)


def test_a_context_as_a_dict_is_json_and_tells_no_permission_address_session_or_secret():
    context = a_context(attributes={"page": [1, {"x": None}], "api_key": "s3cret"}, deadline_at=NOW)

    told = context.to_dict()
    text = json.dumps(told)

    assert told["tenant_id"] == str(context.scope.tenant_id)
    assert told["created_at"] == "2031-01-01T00:00:00+00:00"
    assert told["deadline_at"] == told["created_at"]
    assert all(type(value) in (str, int, dict, type(None)) for value in told.values())
    assert str(context.scope.session_id) not in text
    for permission in context.scope.permissions:
        assert permission not in text
    assert "email" not in text
    assert "s3cret" not in text


def test_a_fresh_context_as_a_dict_says_none_for_what_it_has_not():
    told = a_context().to_dict()

    assert (told["parent_request_id"], told["execution_id"], told["deadline_at"]) == (None, None, None)


def test_what_the_caller_does_to_its_own_mapping_changes_nothing():
    inner = ["a"]
    attributes = {"list": inner}
    context = a_context(attributes=attributes)

    inner.append("b")
    attributes["more"] = ["c"]
    told = context.to_dict()["attributes"]
    assert isinstance(told, dict)
    told["list"].append("d")

    assert context.attributes == {"list": ["a"]}
    with pytest.raises(TypeError):
        context.attributes["list"] = []  # type: ignore[index]


def test_contexts_share_no_attributes():
    context = a_context(attributes={"list": ["a"]})
    child = context.child("part")

    child.attributes["list"].append("b")  # type: ignore[attr-defined]

    assert context.attributes == {"list": ["a"]}


@pytest.mark.parametrize("alive", [threading.Lock(), (value for value in ())], ids=["a lock", "a generator"])
def test_an_attribute_that_is_alive_is_refused(alive: object):
    with pytest.raises(InvalidContextError, match="attributes"):
        a_context(attributes={"session": alive})


@pytest.mark.parametrize(
    ("field_name", "wrong"),
    [
        ("thread_id", "thread_1"),
        ("thread_id", RunId("run_x")),
        ("thread_id", None),
        ("run_id", ThreadId("thread_x")),
        ("request_id", RunId("run_x")),
        ("trace_id", "trace"),
        ("created_at", "2031-01-01"),
        ("execution_id", RunId("run_x")),
        ("parent_request_id", "request_1"),
        ("deadline_at", 5),
        ("depth", "deep"),
        ("operation", None),
        ("attributes", ["a"]),
    ],
)
def test_a_field_of_the_wrong_kind_is_refused_and_named(field_name: str, wrong: object):
    with pytest.raises(InvalidContextError) as refused:
        replace(a_context(), **{field_name: wrong})

    assert refused.value.details == {"place": field_name}
    assert str(refused.value).startswith(f"{field_name}: expected a")


def test_a_principal_or_a_dict_is_no_scope():
    principal = Principal(
        tenant_id=TenantId.new(),
        user_id=UserId.new(),
        session_id=SessionId.new(),
        email="ada@example.org",
        role="admin",
    )

    for wrong in (principal, {"user_id": "user_1"}, None):
        with pytest.raises(InvalidContextError, match="scope: expected a Scope") as refused:
            replace(a_context(), scope=wrong)  # type: ignore[arg-type]
        assert "ada@example.org" not in str(refused.value)


@dataclass
class DeepAgentState:
    """What older systems passed between users."""

    user_id: str = "user_1"
    metadata: dict[str, object] = field(default_factory=dict)


@pytest.mark.parametrize("wrong", [DeepAgentState(), {"user_id": "user_1"}, None, "user_1", UserExecutionContext])
def test_a_bag_of_state_cannot_stand_in_for_a_context(wrong: object):
    with pytest.raises(InvalidContextError, match="UserExecutionContext") as refused:
        check_context(wrong)

    assert "user_1" not in str(refused.value)


def test_a_context_passes_the_check_as_itself():
    context = a_context()

    assert check_context(context) is context


# Clean-ups


class Undone:
    """What was undone, in order."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def add(self, clean_ups: CleanUps, name: str, error: BaseException | None = None) -> None:
        async def clean_up() -> None:
            self.names.append(name)
            if error is not None:
                raise error

        clean_ups.add(clean_up)


async def test_clean_ups_run_last_in_first_out():
    undone, context = Undone(), a_context()

    async with managed_user_context(context) as (same, clean_ups):
        assert same is context
        for name in ("first", "second", "third"):
            undone.add(clean_ups, name)
        assert undone.names == []

    assert undone.names == ["third", "second", "first"]


async def test_clean_ups_run_when_the_body_raises_and_its_error_travels():
    undone = Undone()

    async def body() -> None:
        async with managed_user_context(a_context()) as (_, clean_ups):
            undone.add(clean_ups, "first")
            undone.add(clean_ups, "second", RuntimeError("clean-up"))
            raise ValueError("body")

    with pytest.raises(ValueError, match="body"):
        await body()
    assert undone.names == ["second", "first"]


async def test_one_failing_clean_up_stops_none_of_the_others_and_is_told():
    undone = Undone()

    async def body() -> None:
        async with managed_user_context(a_context()) as (_, clean_ups):
            undone.add(clean_ups, "first", OSError("one"))
            undone.add(clean_ups, "second")
            undone.add(clean_ups, "third", ValueError("two"))

    with pytest.raises(ExceptionGroup) as told:
        await body()
    assert undone.names == ["third", "second", "first"]
    assert [str(error) for error in told.value.exceptions] == ["two", "one"]


async def test_clean_ups_run_when_the_body_is_cancelled():
    undone, inside = Undone(), asyncio.Event()

    async def body() -> None:
        async with managed_user_context(a_context()) as (_, clean_ups):
            undone.add(clean_ups, "first")
            inside.set()
            await asyncio.get_running_loop().create_future()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(body())
        await inside.wait()
        task.cancel()

    assert task.cancelled()
    assert undone.names == ["first"]


async def test_a_second_cancellation_in_the_middle_of_a_clean_up_stops_none_of_the_others():
    undone, inside, cleaning = Undone(), asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        cleaning.set()
        await asyncio.get_running_loop().create_future()

    async def body() -> None:
        async with managed_user_context(a_context()) as (_, clean_ups):
            undone.add(clean_ups, "first")
            clean_ups.add(slow)
            inside.set()
            await asyncio.get_running_loop().create_future()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(body())
        await inside.wait()
        task.cancel()
        await cleaning.wait()
        task.cancel()

    assert task.cancelled()
    assert undone.names == ["first"]


async def test_a_clean_up_runs_once_even_when_they_are_run_again():
    undone, clean_ups = Undone(), CleanUps()
    undone.add(clean_ups, "first")

    await clean_ups.run()
    await clean_ups.run()

    assert undone.names == ["first"]


async def test_no_block_is_entered_without_a_context():
    with pytest.raises(InvalidContextError, match="UserExecutionContext"):
        async with managed_user_context(DeepAgentState()):  # type: ignore[arg-type]
            pytest.fail("the block was entered")


def test_a_deadline_may_be_carried():
    at = NOW + timedelta(minutes=1)

    assert a_context(deadline_at=at).child("part").deadline_at == at
