"""The journal as a durable-execution engine of pydantic-ai, whose durable unit is our step.

A model request is a model step, and a call of a tool that the agent brings itself goes through the dispatcher's gate.
What is no unit here: Cloche's own tools, which the dispatcher journals without pydantic-ai.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, Literal, TypeVar, cast

from pydantic_ai.durable_exec import (
    JSON_CODEC,
    BaseDurabilityCapability,
    BoundDurableOperation,
    DurabilityEngineSpec,
    DurableOperation,
    DurableOperationBackend,
    DynamicToolsetCallToolParams,
    EventStreamHandlerId,
    JournalOperationNamer,
    ModelRequestParams,
    ToolsetCallToolId,
    ToolsetCallToolParams,
    durable_unit_scope,
)
from pydantic_ai.exceptions import ToolFailed
from pydantic_ai.messages import (
    AgentStreamEvent,
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelResponse,
    PartDeltaEvent,
    PartEndEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
)
from pydantic_ai.models import Model
from pydantic_ai.tools import RunContext, ToolDefinition
from pydantic_core import PydanticSerializationError, from_json, to_json

from cloche.agents.author_tools import author_tool_spec, foreign_result
from cloche.domain.steps import StepKind
from cloche.domain.text import sound_text, sound_value
from cloche.domain.usage import Usage
from cloche.errors import ModelError, ModelTimeoutError, ToolFailedError
from cloche.execution.run_handle import RunHandle, StepHandle
from cloche.llm.failures import model_failures
from cloche.tools.dispatcher import ForeignResult, ToolDispatcher

ParamsT = TypeVar("ParamsT")
WireT = TypeVar("WireT")
ResultT = TypeVar("ResultT")

ToolCall = ToolsetCallToolParams | DynamicToolsetCallToolParams

# Not the model's name: a run that waited for a person goes on with the model that the server has then.
_REQUEST = "request"
_THOUGHT_CHARS = 240
# What differs between two attempts at the same request.
_UNSTABLE = ("timestamp", "run_id", "conversation_id", "metadata", "instructions")
_SYSTEM = "system-prompt"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCalls:
    """How the requests to the model are made: under which name they are billed, and who hears how they went."""

    name: str
    timeout: timedelta
    on_success: Callable[[], None]
    on_failure: Callable[[ModelError], None]


class JournalBackend(DurableOperationBackend[None]):
    """Binds each durable operation of pydantic-ai to a step of the run. One object for each run.

    It implements ``bind`` and not ``CallableOperationBackend.execute``, because only ``bind`` sees the typed
    parameters, and a step needs the messages or the tool's arguments for its identity, its events and its cost.
    """

    def __init__(self, run: RunHandle, dispatcher: ToolDispatcher, calls: ModelCalls) -> None:
        self._run = run
        self._dispatcher = dispatcher
        self._calls = calls
        self._namer = JournalOperationNamer(run.spec.name)
        self._step: StepHandle | None = None  # the model step at work; a run makes one request at a time
        self.said = ""

    def bind(
        self, operation: DurableOperation[ParamsT, WireT, ResultT]
    ) -> BoundDurableOperation[ParamsT, WireT, ResultT]:
        """The operation, so that calling it is a step."""
        return _Bound(operation, self._call)

    def config_for_tool(
        self, operation: DurableOperation[ParamsT, WireT, ResultT], *, tool: object | None, tool_name: str
    ) -> Literal[False] | None:
        """None: no tool runs outside the journal, and there is nothing else to configure."""
        return None

    def registrations(self) -> Sequence[Callable[..., object]]:
        """Nothing: no worker of pydantic-ai's has to know the operations."""
        return ()

    async def observe(self, _context: RunContext[Any], events: AsyncIterable[AgentStreamEvent]) -> None:
        """The live stream of a model request is shown. Called inside its step, and never on replay."""
        step = self._step
        assert step is not None, "a model streams outside a model step"
        thought = ""
        async for event in events:
            text, thinking = _shown(event)
            if text:
                await step.write(sound_text(text))
            if thinking or thought:
                ended = isinstance(event, PartEndEvent) and isinstance(event.part, ThinkingPart)
                whole, thought = _split(thought + sound_text(thinking), ended=ended)
                step.think(whole)

    async def _call(self, operation: DurableOperation[ParamsT, Any, ResultT], params: ParamsT) -> ResultT:
        if isinstance(operation.operation_id, EventStreamHandlerId):
            # The events of tools: the dispatcher has shown them.
            return cast("ResultT", None)
        if isinstance(params, ModelRequestParams):
            result = await self._request(operation, params)
            self.said = _text(result)
            return result
        if isinstance(operation.operation_id, ToolsetCallToolId) and isinstance(
            params, ToolsetCallToolParams | DynamicToolsetCallToolParams
        ):
            return await self._call_tool(operation, params)

        async def work(_step: StepHandle) -> bytes:
            with durable_unit_scope():
                result = await operation.handler(params)
            return _kept(operation, result)

        name = self._namer.operation_name(operation.operation_id)
        return _loaded(operation, await self._run.step(StepKind.VALUE, name, b"", work))

    async def _request(self, operation: DurableOperation[ParamsT, Any, ResultT], params: ModelRequestParams) -> ResultT:
        async def work(step: StepHandle) -> bytes:
            self._step = step
            try:
                with durable_unit_scope():
                    result = await self._answered(operation.handler(cast("ParamsT", params)))
            except ModelError as error:
                self._calls.on_failure(error)
                raise
            finally:
                self._step = None
            self._calls.on_success()
            step.cost(self._calls.name, _usage(result))
            return _kept(operation, result)

        return _loaded(operation, await self._run.step(StepKind.MODEL, _REQUEST, _identity(params.messages), work))

    async def _answered(self, request: Awaitable[ResultT]) -> ResultT:
        limit_s = self._calls.timeout.total_seconds()
        try:
            async with asyncio.timeout(limit_s):
                with model_failures():
                    return await request
        except TimeoutError as error:
            raise ModelTimeoutError(f"The model did not finish its answer within {limit_s:g} s.") from error

    async def _call_tool(self, operation: DurableOperation[Any, Any, ResultT], params: ToolCall) -> ResultT:
        async def work() -> ForeignResult:
            with durable_unit_scope():
                result = await operation.handler(params)
            try:
                return foreign_result(operation.result_codec.dump(result))
            except (PydanticSerializationError, TypeError, ValueError) as error:
                raise ToolFailedError(f"{params.name} returned something that has no JSON form") from error

        spec = author_tool_spec(params.name, _definition(params))
        result = await self._dispatcher.call_foreign(self._run, spec, params.tool_args, work)
        if result.payload:
            return _loaded(operation, result.payload)
        raise ToolFailed("the call failed" if result.failure is None else result.failure.message)


@dataclass(frozen=True)
class _Bound(BoundDurableOperation[ParamsT, WireT, ResultT], Generic[ParamsT, WireT, ResultT]):
    _operation: DurableOperation[ParamsT, WireT, ResultT]
    _call: Callable[[DurableOperation[ParamsT, WireT, ResultT], ParamsT], Awaitable[ResultT]]

    @property
    def operation(self) -> DurableOperation[ParamsT, WireT, ResultT]:
        return self._operation

    async def __call__(self, params: ParamsT, *, config: object | None = None) -> ResultT:
        return await self._call(self._operation, params)


class JournalDurability(BaseDurabilityCapability[Any]):
    """The capability that a run gives its agent: inside that run everything is journaled. One object for each run."""

    engine_spec = DurabilityEngineSpec(
        engine_name="Cloche",
        durable_unit_noun="step",
        durable_container_noun="run",
        codec=JSON_CODEC,
        wrapped_toolset_kinds=frozenset({"function", "mcp", "dynamic"}),
        toolset_lifecycles={"function": "enter-always", "mcp": "enter-in-durable-unit", "dynamic": "enter-never"},
        journal_discovery=True,
        # The journal numbers steps in the order in which they are asked for.
        sequential_tools_in_durable_context=True,
        # A toolset added to the run would go past the journal; Cloche's own is none of these kinds.
        unsupported_runtime_toolset_kinds=frozenset({"function", "mcp", "dynamic"}),
    )

    def __init__(self, backend: JournalBackend, *, name: str, models: Mapping[str, Model[Any]]) -> None:
        super().__init__(models=models, event_stream_handler=backend.observe, name=name)
        self._backend = backend

    @property
    def in_durable_context(self) -> bool:
        """True: it is made for one run and used in no other."""
        return True

    def get_durable_operation_backend(self) -> DurableOperationBackend[None]:
        """The run's journal."""
        return self._backend


def _kept(operation: DurableOperation[Any, Any, ResultT], result: ResultT) -> bytes:
    return to_json(sound_value(operation.result_codec.dump(result)))


def _loaded(operation: DurableOperation[Any, Any, ResultT], payload: bytes) -> ResultT:
    return operation.result_codec.load(from_json(payload))


def _definition(params: ToolCall) -> ToolDefinition | None:
    if isinstance(params, DynamicToolsetCallToolParams):
        return params.tool_def
    return None if params.tool is None else params.tool.tool_def


def _shown(event: AgentStreamEvent) -> tuple[str, str]:
    """The text of the message, and of the thought, that the event adds."""
    match event:
        case PartStartEvent(part=TextPart(content=text)):
            return text, ""
        case PartDeltaEvent(delta=TextPartDelta(content_delta=text)):
            return text, ""
        case PartStartEvent(part=ThinkingPart(content=thought)):
            return "", thought
        case PartDeltaEvent(delta=ThinkingPartDelta(content_delta=str(thought))):
            return "", thought
        case _:
            return "", ""


def _split(thought: str, *, ended: bool) -> tuple[str, str]:
    """What of the thought is shown now, in whole lines where it has any, and what waits for more."""
    if ended or len(thought) > _THOUGHT_CHARS:
        return thought, ""
    line, end, rest = thought.rpartition("\n")
    return (line + end, rest) if line.strip() else ("", thought)


def _text(result: object) -> str:
    assert isinstance(result, ModelResponse), "a request to a model gave something else"
    return "".join(part.content for part in result.parts if isinstance(part, TextPart))


def _usage(result: object) -> Usage:
    assert isinstance(result, ModelResponse), "a request to a model gave something else"
    used = result.usage
    return Usage(input_tokens=used.input_tokens, output_tokens=used.output_tokens, model_calls=1)


def _identity(messages: Sequence[ModelMessage]) -> bytes:
    """The conversation as JSON, without what may differ from attempt to attempt."""
    dumped = cast("list[dict[str, Any]]", ModelMessagesTypeAdapter.dump_python(list(messages), mode="json"))
    for message in dumped:
        for name in _UNSTABLE:
            message.pop(name, None)
        # A system prompt may be computed by the agent, and hold the time.
        message["parts"] = [_stable(part) for part in message["parts"] if part["part_kind"] != _SYSTEM]
    return to_json(dumped)


def _stable(part: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in part.items() if name not in _UNSTABLE}
