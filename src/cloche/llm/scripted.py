"""``scripted:demo``: a model that follows fixed rules, so that Cloche can be tried and tested without a provider.

It never claims to be a language model: every answer says what it is.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic_ai.messages import (
    FinishReason,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    ModelResponsePart,
    ModelResponseStreamEvent,
    TextContent,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import Model, ModelRequestParameters, StreamedResponse
from pydantic_ai.usage import RequestUsage

from cloche.clock import Clock, SystemClock
from cloche.errors import ModelRefusedError
from cloche.llm.config import SCRIPTED_MODEL, SCRIPTED_PROVIDER

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
    from datetime import datetime

    from pydantic_ai.settings import ModelSettings
    from pydantic_ai.tools import RunContext, ToolDefinition

INTRODUCTION = "I am Cloche's scripted demonstration model, not a language model."
WORD_DELAY_S = 0.02
_QUOTE_CHARS = 200
_RESULT_CHARS = 600
_RULE_CHARS = 2000  # the rules read this much of a message; it also bounds what their patterns cost
_DETAILS = {"usage": "words, not tokens: a scripted answer costs nothing"}

_TIME_WORDS = re.compile(
    r"\b(time|date|clock|hour|weekday|today|tonight|tomorrow|yesterday|what day|which day)\b", re.IGNORECASE
)
_DATES = re.compile(r"\b\d{4}-\d{2}-\d{2}\b|\b\d{1,4}[./]\d{1,2}[./]\d{2,4}\b|\b\d{1,2}:\d{2}\b")
_SPOKEN = (
    (re.compile(r"\b(?:multiplied by|times)\b|(?<=\d) ?[x×·](?= ?\d)", re.IGNORECASE), "*"),
    (re.compile(r"\bdivided by\b|÷", re.IGNORECASE), "/"),
    (re.compile(r"\bplus\b", re.IGNORECASE), "+"),
    (re.compile(r"\bminus\b|−", re.IGNORECASE), "-"),
)
_NUMBER = r"[-+]?\s*\(*\s*[-+]?\d+(?:\.\d+)?\s*\)*"
_SUM = re.compile(rf"{_NUMBER}(?:\s*(?:\*\*|//|[-+*/%^])\s*{_NUMBER})+")
_SEARCH = re.compile(
    r"\b(?:search|find|look up|look for)\b"
    r"(?:\s+(?:for|me|my|our|in|through|all|the|a|any|threads?|messages?|conversations?|chats?|about|where|that|with))*"
    r"\s+(?P<query>\S.*)",
    re.IGNORECASE | re.DOTALL,
)
_QUOTED = re.compile(r"[\"“”'‘’](?P<query>[^\"“”'‘’]{2,})[\"“”'‘’]")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    """What the person last wrote, what was there before, and what the tools have answered since."""

    text: str
    attachments: int
    earlier: tuple[str, ...]
    results: tuple[ToolReturnPart[Any], ...]
    seed: str


class ScriptedModel(Model[None]):
    """A model without a provider: deterministic, word by word, using the tools that it is offered.

    It knows three tools by name: ``clock`` for words of time and date, ``calculator`` for a sum in the text, and
    ``search_threads`` for "search" and "find". Usage is counted in words, and the response says so.
    """

    def __init__(self, *, delay_s: float = WORD_DELAY_S, clock: Clock | None = None) -> None:
        """Wait ``delay_s`` seconds before each word of a streamed answer, so that people see it arrive."""
        super().__init__()
        self._delay_s = delay_s
        self._clock = clock or SystemClock()

    @property
    def model_name(self) -> str:
        """``demo``; with the system it is the configured name, ``scripted:demo``."""
        return SCRIPTED_MODEL

    @property
    def system(self) -> str:
        """``scripted``, in the place of a provider."""
        return SCRIPTED_PROVIDER

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        """The whole answer at once."""
        _, parameters = self.prepare_request(model_settings, model_request_parameters)
        parts = _answer(messages, parameters)
        return ModelResponse(
            parts=parts,
            model_name=self.model_name,
            provider_name=self.system,
            provider_details=dict(_DETAILS),
            usage=_usage(messages, parts),
            finish_reason=_finish_reason(parts),
            timestamp=self._clock.now(),
        )

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[StreamedResponse]:
        """The same answer word by word."""
        _, parameters = self.prepare_request(model_settings, model_request_parameters)
        parts = _answer(messages, parameters)
        yield _ScriptedStream(
            model_request_parameters=parameters,
            planned=parts,
            total=_usage(messages, parts),
            delay_s=self._delay_s,
            started_at=self._clock.now(),
        )


@dataclass
class _ScriptedStream(StreamedResponse):
    planned: Sequence[ModelResponsePart] = ()
    total: RequestUsage = field(default_factory=RequestUsage)
    delay_s: float = 0.0
    started_at: datetime = field(kw_only=True)

    async def _get_event_iterator(self) -> AsyncIterator[ModelResponseStreamEvent]:
        self.provider_details = dict(_DETAILS)
        for index, part in enumerate(self.planned):
            async for event in self._events_of(index, part):
                if self.cancelled:
                    return
                yield event
        self.finish_reason = _finish_reason(self.planned)
        self._usage = self.total

    async def _events_of(self, index: int, part: ModelResponsePart) -> AsyncIterator[ModelResponseStreamEvent]:
        if isinstance(part, ToolCallPart):
            yield self._parts_manager.handle_part(vendor_part_id=index, part=part)
            return
        assert isinstance(part, TextPart | ThinkingPart)
        for word in _words(part.content):
            await asyncio.sleep(self.delay_s)
            for event in self._word_events(index, part, word):
                yield event

    def _word_events(self, index: int, part: TextPart | ThinkingPart, word: str) -> Iterator[ModelResponseStreamEvent]:
        if isinstance(part, ThinkingPart):
            return self._parts_manager.handle_thinking_delta(vendor_part_id=index, content=word)
        return self._parts_manager.handle_text_delta(vendor_part_id=index, content=word)

    async def close_stream(self) -> None:
        """There is no connection to close."""

    @property
    def model_name(self) -> str:
        return SCRIPTED_MODEL

    @property
    def provider_name(self) -> str:
        return SCRIPTED_PROVIDER

    @property
    def provider_url(self) -> None:
        return None

    @property
    def timestamp(self) -> datetime:
        return self.started_at


def _answer(messages: Sequence[ModelMessage], parameters: ModelRequestParameters) -> list[ModelResponsePart]:
    if not parameters.allow_text_output:
        message = "The scripted demonstration model answers with text only; this agent asks for another output."
        raise ModelRefusedError(message)
    turn = _read(messages)
    tools = {tool.name: tool for tool in parameters.declared_function_tools}
    used = {result.tool_name for result in turn.results}
    for name, argument, why in _wishes(turn.text):
        if name in tools and name not in used:
            thought = f"{why}, so I call the tool {name}."
            return [ThinkingPart(content=thought), _call(tools[name], argument, turn)]
    if turn.results:
        return [TextPart(content=_report(turn))]
    return [ThinkingPart(content="No rule of mine asks for a tool."), TextPart(content=_echo(turn, tools))]


def _wishes(text: str) -> Iterator[tuple[str, str, str]]:
    """The tools that the text asks for, each with its argument and the reason, in a fixed order."""
    text = " ".join(text[:_RULE_CHARS].split())
    if _TIME_WORDS.search(text):
        yield "clock", "", "The message has a word of time or date"
    if expression := _expression(text):
        yield "calculator", expression, "The message has a sum"
    if query := _query(text):
        yield "search_threads", query, "The message asks to search"


def _expression(text: str) -> str | None:
    text = _DATES.sub(" ", text)
    for pattern, sign in _SPOKEN:
        text = pattern.sub(f" {sign} ", text)
    found = _SUM.search(" ".join(text.split()))
    return None if found is None else _balanced(found[0].strip())


def _balanced(expression: str) -> str:
    surplus = expression.count(")") - expression.count("(")
    while surplus > 0 and expression.endswith(")"):
        expression, surplus = expression[:-1].rstrip(), surplus - 1
    while surplus < 0 and expression.startswith("("):
        expression, surplus = expression[1:].lstrip(), surplus + 1
    return expression


def _query(text: str) -> str | None:
    found = _SEARCH.search(text)
    if found is None:
        return None
    quoted = _QUOTED.search(found["query"])
    query = quoted["query"] if quoted else found["query"]
    return query.strip(" \t\n.?!\"'“”‘’") or None


def _call(tool: ToolDefinition, argument: str, turn: _Turn) -> ToolCallPart:
    seed = f"{turn.seed}\n{tool.name}\n{len(turn.results)}".encode()
    call_id = f"scripted_{hashlib.sha256(seed).hexdigest()[:16]}"
    return ToolCallPart(tool.name, _arguments(tool.parameters_json_schema, argument), tool_call_id=call_id)


def _arguments(schema: Mapping[str, Any], argument: str) -> dict[str, str]:
    """The argument under the name that the schema gives its first text; nothing for a tool that needs nothing."""
    properties: Mapping[str, Mapping[str, Any]] = schema.get("properties", {})
    required: Sequence[str] = schema.get("required", ())
    texts = [name for name, shape in properties.items() if shape.get("type") == "string"]
    target = next((name for name in texts if name in required), next(iter(texts), None))
    if target is None or (not argument and target not in required):
        return {}
    return {target: argument or "UTC"}


def _report(turn: _Turn) -> str:
    sentences = [_outcome(result) for result in turn.results]
    return " ".join([INTRODUCTION, *sentences])


def _outcome(result: ToolReturnPart[Any]) -> str:
    content = _shortened(result.model_response_str(wrap_if_error=False), _RESULT_CHARS)
    match result.outcome:
        case "success":
            return f"The tool {result.tool_name} answered: {content}"
        case "denied":
            return f"The tool {result.tool_name} was not allowed to run: {content}"
        case _:
            return f"The tool {result.tool_name} did not succeed: {content}"


def _echo(turn: _Turn, tools: Mapping[str, ToolDefinition]) -> str:
    sentences = [INTRODUCTION]
    if turn.text:
        count = len(turn.text.split())
        sentences.append(f"You wrote “{_shortened(turn.text, _QUOTE_CHARS)}”, {count} word{'s' * (count != 1)}.")
    else:
        sentences.append("Your message has no text.")
    if turn.attachments:
        sentences.append(f"I cannot read its {turn.attachments} attachment{'s' * (turn.attachments != 1)}.")
    if turn.earlier:
        before = _shortened(turn.earlier[-1], _QUOTE_CHARS)
        sentences.append(f"It is message {len(turn.earlier) + 1} of yours here; before it you wrote “{before}”.")
    sentences.append(_offer(tools))
    return " ".join(sentences)


def _offer(tools: Mapping[str, ToolDefinition]) -> str:
    examples = {
        "clock": "the time",
        "calculator": "a calculation such as 17 * 23",
        "search_threads": "a search such as “find invoices”",
    }
    known = [example for name, example in examples.items() if name in tools]
    if not known:
        return "No tool that I know is offered to me, so this is all I can say."
    listed = " or ".join([", ".join(known[:-1]), known[-1]]) if len(known) > 1 else known[0]
    return f"Ask me for {listed}, and I will use a tool."


def _read(messages: Sequence[ModelMessage]) -> _Turn:
    prompts: list[tuple[str, int]] = []
    results: list[ToolReturnPart[Any]] = []
    seed = ""
    for message in messages:
        if not isinstance(message, ModelRequest):
            continue
        returned = [part for part in message.parts if isinstance(part, ToolReturnPart)]
        spoken = [part for part in message.parts if isinstance(part, UserPromptPart)]
        # Beside a tool's result, a user prompt is the tool's own content, not something that a person wrote.
        if spoken and not returned:
            prompts.append(_spoken(spoken))
            results = []
            seed = f"{message.run_id}\n{len(prompts)}\n{prompts[-1][0]}"
        results.extend(returned)
    text, attachments = prompts[-1] if prompts else ("", 0)
    earlier = tuple(earlier_text for earlier_text, _ in prompts[:-1])
    return _Turn(text=text, attachments=attachments, earlier=earlier, results=tuple(results), seed=seed)


def _spoken(parts: Sequence[UserPromptPart]) -> tuple[str, int]:
    texts: list[str] = []
    attachments = 0
    for part in parts:
        for item in (part.content,) if isinstance(part.content, str) else part.content:
            if isinstance(item, str):
                texts.append(item)
            elif isinstance(item, TextContent):
                texts.append(item.content)
            else:
                attachments += 1
    return "\n".join(text for text in texts if text.strip()).strip(), attachments


def _usage(messages: Sequence[ModelMessage], parts: Sequence[ModelResponsePart]) -> RequestUsage:
    read = sum(_count(part) for message in messages for part in message.parts)
    return RequestUsage(input_tokens=read, output_tokens=sum(_count(part) for part in parts))


def _count(part: object) -> int:
    match part:
        case UserPromptPart():
            return len(_spoken([part])[0].split())
        case ToolReturnPart():
            return len(part.model_response_str().split())
        case ToolCallPart():
            return len(part.args_as_json_str().split())
        case TextPart() | ThinkingPart():
            return len(part.content.split())
        case _:
            return 0


def _finish_reason(parts: Sequence[ModelResponsePart]) -> FinishReason:
    return "tool_call" if any(isinstance(part, ToolCallPart) for part in parts) else "stop"


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+", text)


def _shortened(text: str, limit: int) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else f"{flat[: limit - 1].rstrip()}…"
