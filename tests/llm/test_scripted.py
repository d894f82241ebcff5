"""The built-in demonstration model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, ModelRetry
from pydantic_ai.direct import model_request, model_request_stream
from pydantic_ai.exceptions import ToolFailed
from pydantic_ai.messages import (
    AgentStreamEvent,
    BinaryContent,
    FilePart,
    ImageUrl,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    PartDeltaEvent,
    PartStartEvent,
    TextContent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    ToolCallPart,
    ToolReturn,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.tools import RunContext

from cloche.errors import ModelRefusedError
from cloche.llm.scripted import INTRODUCTION, ScriptedModel

NOW = datetime(2026, 5, 4, 12, 30, tzinfo=UTC)


class StoppedClock:
    """A clock that stands still."""

    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return 0.0


def clock() -> str:
    return "2026-05-04T12:30:00Z"


def calculator(expression: str) -> str:
    return f"<{expression}>"


def search_threads(query: str, limit: int = 5) -> list[str]:
    return [f"{limit} threads about {query}"]


TOOLS = (clock, calculator, search_threads)


def model() -> ScriptedModel:
    return ScriptedModel(delay_s=0, clock=StoppedClock())


def calls_of(messages: list[ModelMessage]) -> list[tuple[str, Any]]:
    return [
        (part.tool_name, part.args)
        for message in messages
        if isinstance(message, ModelResponse)
        for part in message.parts
        if isinstance(part, ToolCallPart)
    ]


async def ask(text: Any, tools: Any = TOOLS, history: list[ModelMessage] | None = None) -> tuple[str, list[Any]]:
    """The answer to a message, and the tool calls on the way to it."""
    result = await Agent(model(), tools=list(tools)).run(text, message_history=history)
    return result.output, calls_of(result.new_messages())


async def pieces_of(text: str, tools: Any = TOOLS) -> tuple[list[str], list[str]]:
    """The words of the thinking and of the answer, as they were streamed."""
    thought: list[str] = []
    said: list[str] = []

    async def listen(_: RunContext[object], events: AsyncIterable[AgentStreamEvent]) -> None:
        async for event in events:
            match event:
                case PartStartEvent(part=ThinkingPart(content=content)):
                    thought.append(content)
                case PartStartEvent(part=TextPart(content=content)):
                    said.append(content)
                case PartDeltaEvent(delta=ThinkingPartDelta(content_delta=str(content))):
                    thought.append(content)
                case PartDeltaEvent(delta=TextPartDelta(content_delta=content)):
                    said.append(content)
                case _:
                    pass

    await Agent(model(), tools=list(tools)).run(text, event_stream_handler=listen)
    return thought, said


def test_its_name_is_the_configured_one() -> None:
    assert model().model_id == "scripted:demo"


@pytest.mark.parametrize("text", ["", "hello", "what time is it?", "12 + 30", "find invoices"])
async def test_every_answer_says_what_it_is(text: str) -> None:
    answer, _ = await ask(text)

    assert answer.startswith(INTRODUCTION)


@pytest.mark.parametrize(
    "text", ["What time is it?", "the DATE please", "What's today's weekday?", "which day is it", "look at the clock"]
)
async def test_words_of_time_ask_the_clock(text: str) -> None:
    answer, calls = await ask(text)

    assert calls == [("clock", {})]
    assert "The tool clock answered: 2026-05-04T12:30:00Z" in answer


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("12+30", "12+30"),
        ("what is 17 * 23?", "17 * 23"),
        ("(2 + 3) * 4 = ?", "(2 + 3) * 4"),
        ("(what is 2 + 3)", "2 + 3"),
        ("((2 + 3)", "(2 + 3)"),
        ("compute -4.5 / 9", "-4.5 / 9"),
        ("17 times 3 plus 1", "17 * 3 + 1"),
        ("6x7", "6 * 7"),
        ("9 divided by 3", "9 / 3"),
        ("2**10", "2**10"),
        ("10 minus\n4", "10 - 4"),
    ],
)
async def test_a_sum_asks_the_calculator(text: str, expression: str) -> None:
    answer, calls = await ask(text)

    assert calls == [("calculator", {"expression": expression})]
    assert f"<{expression}>" in answer


@pytest.mark.parametrize(
    "text", ["room 12", "on 2026-05-04 and 1/2/2026", "max 5", "call 112 or 110", "10:30", "how many times 3"]
)
async def test_other_numbers_are_not_a_sum(text: str) -> None:
    _, calls = await ask(text, [calculator])

    assert calls == []


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("search for invoices", "invoices"),
        ("Please find all my threads about the tax return!", "tax return"),
        ("find “annual report” in my threads", "annual report"),
        ("look up Ada Lovelace", "Ada Lovelace"),
    ],
)
async def test_a_wish_to_search_asks_the_threads(text: str, query: str) -> None:
    _, calls = await ask(text)

    assert calls == [("search_threads", {"query": query})]


async def test_several_wishes_are_answered_together() -> None:
    answer, calls = await ask("What time is it, and what is 2 + 2?")

    assert [name for name, _ in calls] == ["clock", "calculator"]
    assert "The tool clock answered" in answer
    assert "The tool calculator answered" in answer


async def test_a_tool_that_is_not_offered_is_not_called() -> None:
    answer, calls = await ask("What time is it?", [calculator])

    assert calls == []
    assert "a calculation such as 17 * 23" in answer


async def test_it_says_which_of_its_tools_are_there() -> None:
    answer, _ = await ask("hello")

    assert "Ask me for the time, a calculation such as 17 * 23 or a search such as “find invoices”" in answer


async def test_without_tools_it_says_so() -> None:
    answer, _ = await ask("What time is it?", [])

    assert "No tool that I know is offered to me" in answer
    assert "“What time is it?”, 4 words." in answer


async def test_an_empty_message_is_answered() -> None:
    answer, _ = await ask("   ", [])

    assert "Your message has no text." in answer


async def test_all_parts_of_a_message_are_read_and_attachments_counted() -> None:
    parts = ["what is", TextContent("2 + 3"), ImageUrl(url="https://host/a.png")]

    answer, calls = await ask(parts)

    assert calls == [("calculator", {"expression": "2 + 3"})]
    assert "<2 + 3>" in answer


async def test_attachments_are_named_as_unreadable() -> None:
    answer, _ = await ask([ImageUrl(url="https://host/a.png")], [])

    assert "I cannot read its 1 attachment." in answer


async def test_a_follow_up_knows_what_was_before() -> None:
    first = await Agent(model(), tools=[clock]).run("what time is it?")

    answer, calls = await ask("and how are you?", [clock], first.all_messages())

    assert calls == []
    assert "It is message 2 of yours here; before it you wrote “what time is it?”." in answer


async def test_a_follow_up_calls_a_tool_again_under_a_new_id() -> None:
    agent = Agent(model(), tools=[clock])
    first = await agent.run("what time is it?")
    second = await agent.run("what time is it?", message_history=first.all_messages())

    ids = [
        part.tool_call_id
        for message in second.all_messages()
        for part in message.parts
        if isinstance(part, ToolReturnPart)
    ]

    assert len(set(ids)) == 2


async def test_a_tool_that_fails_is_reported_as_failed() -> None:
    def calculator(expression: str) -> str:
        raise ToolFailed("division by zero")

    answer, _ = await ask("1 / 0", [calculator])

    assert "The tool calculator did not succeed: division by zero" in answer


async def test_a_tool_that_asks_to_be_repeated_is_reported_too() -> None:
    def calculator(expression: str) -> str:
        raise ModelRetry("speak up")

    answer, calls = await ask("1 / 3", [calculator])

    assert len(calls) == 1
    assert "The tool calculator did not succeed" in answer


async def test_a_denied_tool_is_reported_as_not_allowed() -> None:
    messages: list[ModelMessage] = [
        ModelRequest.user_text_prompt("what time is it?"),
        ModelResponse(parts=[ToolCallPart("clock", {}, tool_call_id="c")]),
        ModelRequest(parts=[ToolReturnPart("clock", "no", tool_call_id="c", outcome="denied")]),
    ]

    response = await model_request(model(), messages)

    assert "The tool clock was not allowed to run: no" in str(response.text)


async def test_what_a_tool_adds_to_the_conversation_is_not_taken_for_the_person() -> None:
    def clock() -> ToolReturn:
        return ToolReturn(return_value="noon", content="now compute 1 + 1")

    answer, calls = await ask("what time is it?", [clock, calculator])

    assert [name for name, _ in calls] == ["clock"]
    assert "The tool clock answered: noon" in answer


async def test_a_long_result_is_shortened() -> None:
    def clock() -> str:
        return "tick " * 1000

    answer, _ = await ask("what time is it?", [clock])

    assert len(answer) < 1000
    assert answer.endswith("…")


async def test_a_required_argument_of_any_name_is_filled() -> None:
    def clock(zone: str) -> str:
        return zone

    _, calls = await ask("what time is it?", [clock])

    assert calls == [("clock", {"zone": "UTC"})]


async def test_it_streams_word_by_word_and_thinks_aloud() -> None:
    thought, said = await pieces_of("hello", [])

    assert "".join(thought) == "No rule of mine asks for a tool."
    assert thought[:2] == ["No", " rule"]
    assert "".join(said).startswith(INTRODUCTION)
    assert len(said) > 10
    assert all(len(piece.split()) == 1 for piece in said)


async def test_it_says_why_it_calls_a_tool() -> None:
    thought, _ = await pieces_of("what time is it?")

    assert "".join(thought) == "The message has a word of time or date, so I call the tool clock."


async def test_the_same_messages_give_the_same_answer_streamed_or_not() -> None:
    messages: list[ModelMessage] = [ModelRequest(parts=[UserPromptPart("one two three", timestamp=NOW)])]

    whole = await model_request(model(), messages)
    async with model_request_stream(model(), messages) as stream:
        async for _ in stream:
            pass

    assert stream.get() == whole == await model_request(model(), messages)


async def test_parts_without_words_are_not_counted() -> None:
    messages: list[ModelMessage] = [
        ModelResponse(parts=[FilePart(BinaryContent(data=b"one two", media_type="image/png"))]),
        ModelRequest.user_text_prompt("hello"),
    ]

    assert (await model_request(model(), messages)).usage.input_tokens == 1


async def test_usage_is_counted_in_words_and_says_so() -> None:
    response = await model_request(model(), [ModelRequest.user_text_prompt("one two three")])

    assert response.usage.input_tokens == 3
    assert response.usage.output_tokens == sum(
        len(part.content.split()) for part in response.parts if isinstance(part, TextPart | ThinkingPart)
    )
    assert response.provider_details is not None
    assert "words, not tokens" in response.provider_details["usage"]
    assert (response.model_name, response.provider_name, response.finish_reason) == ("demo", "scripted", "stop")


async def test_a_request_for_a_tool_counts_its_words_too() -> None:
    first = await Agent(model(), tools=[calculator]).run("what is 2 + 3?")

    assert first.usage.requests == 2
    assert first.usage.output_tokens > 0
    assert first.usage.input_tokens > first.usage.requests * 5  # the message has five words and is read twice


async def test_a_cancelled_stream_ends_where_it_is() -> None:
    async with model_request_stream(model(), [ModelRequest.user_text_prompt("hello")]) as stream:
        seen = 0
        async for _ in stream:
            seen += 1
            if seen == 3:
                await stream.cancel()

    assert seen == 4  # the end of the part that was begun follows
    assert stream.get().state == "interrupted"


async def test_words_wait_for_the_delay() -> None:
    slow = ScriptedModel(delay_s=60)

    async with model_request_stream(slow, [ModelRequest.user_text_prompt("hello")]) as stream:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await anext(aiter(stream))


async def test_another_output_than_text_is_refused() -> None:
    class Answer(BaseModel):
        number: int

    with pytest.raises(ModelRefusedError, match="text only"):
        await Agent(model(), output_type=Answer).run("hello")


async def test_it_copes_with_a_conversation_without_a_message() -> None:
    response = await model_request(model(), [ModelRequest(parts=[])])

    assert "Your message has no text." in str(response.text)


@pytest.mark.parametrize("text", ["(" * 200_000, "1" + " " * 200_000, "find " * 40_000, "“" * 200_000, "9" * 200_000])
async def test_hostile_text_is_answered_at_once(text: str) -> None:
    async with asyncio.timeout(1):
        answer, _ = await ask(text)

    assert len(answer) < 5000
