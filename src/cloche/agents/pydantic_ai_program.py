"""Runs a pydantic-ai agent as a program: every request to its model and every call of a tool is a step of the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Never, cast

from pydantic_ai import Agent
from pydantic_ai.capabilities import AgentCapability, HandleDeferredToolCalls, ReinjectSystemPrompt
from pydantic_ai.exceptions import ToolFailed, UnexpectedModelBehavior
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, UserPromptPart
from pydantic_ai.models import Model
from pydantic_ai.tools import (
    DeferredToolRequests,
    DeferredToolResults,
    RunContext,
    ToolApproved,
    ToolDefinition,
    ToolDenied,
)
from pydantic_ai.toolsets import AbstractToolset, ToolsetTool
from pydantic_ai.usage import UsageLimits
from pydantic_core import SchemaValidator, core_schema, to_json

from cloche.agents.journal_durability import JournalBackend, JournalDurability, ModelCalls
from cloche.domain.approvals import Approval, ApprovalState
from cloche.domain.context import UserExecutionContext
from cloche.domain.messages import Message, MessageRole
from cloche.domain.permissions import decide
from cloche.errors import AgentFailedError, ModelError, ModelProtocolError
from cloche.execution.run_handle import RunHandle
from cloche.tools.dispatcher import ToolDispatcher

_MODEL = "cloche"
_RETRIES = 2  # small models get a tool's JSON wrong now and then
_ANY_OBJECT = SchemaValidator(core_schema.dict_schema(core_schema.str_schema(), core_schema.any_schema()))


class PydanticAIProgram:
    """One run of a pydantic-ai agent. The ``Agent`` object is shared by all runs and holds nothing of a user."""

    def __init__(
        self,
        agent: Agent[Never, object],
        *,
        model: Model[Any],
        dispatcher: ToolDispatcher,
        on_success: Callable[[], None],
        on_failure: Callable[[ModelError], None],
    ) -> None:
        """Run ``agent`` on ``model``; the callbacks hear of every request to it that is really made."""
        self._agent = cast("Agent[object, object]", agent)
        self._model = model
        self._dispatcher = dispatcher
        self._on_success = on_success
        self._on_failure = on_failure
        if agent.model is None:
            # pydantic-ai binds durability to agents that have a model only; each run names its own all the same.
            agent.model = model

    async def run(self, run: RunHandle) -> str | None:
        """See ``Program.run``.

        Raises:
            ModelError: the provider failed, or did not give what the agent asks for.
            JournalMismatchError: the agent left out a step of an earlier attempt.
        """
        calls = ModelCalls(
            name=run.spec.model,
            timeout=run.spec.limits.step_timeout,
            on_success=self._on_success,
            on_failure=self._on_failure,
        )
        backend = JournalBackend(run, self._dispatcher, calls)
        history = [_as_model_message(message) for message in await run.history() if message.text.strip()]
        try:
            result = await self._agent.run(
                run.message.text,
                model=self._model,
                deps=_deps(self._agent, run.context),
                message_history=history or None,
                run_id=str(run.run.id),
                conversation_id=str(run.run.thread_id),
                toolsets=[_DispatchedTools(self._dispatcher, run)],
                capabilities=self._capabilities(run, backend, with_history=bool(history)),
                usage_limits=UsageLimits(request_limit=None),  # the agent's limit of steps bounds them
            )
        except UnexpectedModelBehavior as error:
            raise ModelProtocolError("The model gave nothing that the agent accepts, also when asked again.") from error
        run.require_whole_replay()
        return _unsaid(result.output, backend.said)

    def _capabilities(
        self, run: RunHandle, backend: JournalBackend, *, with_history: bool
    ) -> Sequence[AgentCapability[object]]:
        async def approve(context: RunContext[object], requests: DeferredToolRequests) -> DeferredToolResults:
            return await _decided(run, context, requests)

        extra = {} if self._model is self._agent.model else {_MODEL: self._model}
        capabilities: list[AgentCapability[object]] = [
            JournalDurability(backend, name=run.spec.name, models=extra),
            HandleDeferredToolCalls(approve),
        ]
        if with_history:
            # The thread's messages hold no system prompt, and with a history pydantic-ai adds none by itself.
            capabilities.append(ReinjectSystemPrompt())
        return capabilities


class _DispatchedTools(AbstractToolset[object]):
    """Cloche's own tools that the agent lists and the run's user is granted; the dispatcher journals each call."""

    def __init__(self, dispatcher: ToolDispatcher, run: RunHandle) -> None:
        self._dispatcher = dispatcher
        self._run = run

    @property
    def id(self) -> str:
        """Its name among the agent's toolsets."""
        return "cloche"

    async def get_tools(self, ctx: RunContext[object]) -> dict[str, ToolsetTool[object]]:
        """The tools by name. The dispatcher checks the arguments, so that a wrong call is journaled and shown too."""
        granted = self._run.context.scope.permissions
        return {
            name: ToolsetTool(
                toolset=self,
                tool_def=ToolDefinition(
                    name=name,
                    description=tool.spec.description,
                    parameters_json_schema=dict(tool.spec.schema),
                ),
                max_retries=_RETRIES,
                args_validator=_ANY_OBJECT,
            )
            for name, tool in self._dispatcher.tools.items()
            if decide(granted, tool.spec.permission).allowed
        }

    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[object], tool: ToolsetTool[object]
    ) -> object:
        """The tool's value.

        Raises:
            ToolFailed: the call did not succeed; the model is told.
        """
        result = await self._dispatcher.call(self._run, name, tool_args)
        if result.failure is None:
            return result.value
        raise ToolFailed(result.failure.message)


def _deps(agent: Agent[Never, object], context: UserExecutionContext) -> UserExecutionContext | None:
    """What the agent's tools get as ``ctx.deps``: the context where the agent's ``deps_type`` takes it, or None.

    Raises:
        AgentFailedError: the agent needs deps of a type that Cloche cannot make.
    """
    try:
        if isinstance(context, agent.deps_type):
            return context
        if isinstance(None, agent.deps_type):
            return None
    except TypeError:  # a type that only a checker understands
        pass
    raise AgentFailedError(
        f"the agent's deps_type is {agent.deps_type!r}; Cloche gives a UserExecutionContext, so declare that or None"
    )


async def _decided(run: RunHandle, context: RunContext[object], requests: DeferredToolRequests) -> DeferredToolResults:
    """A person's word on each call that needs it. What is to be carried out elsewhere is left to pydantic-ai."""
    results = DeferredToolResults()
    for call in requests.approvals:
        definition = context.tools.get(call.tool_name)
        approval = await run.ask(
            tool=call.tool_name,
            question=f"May {call.tool_name} run with these arguments?",
            arguments=call.args_as_dict(),
            schema={} if definition is None else definition.parameters_json_schema,
        )
        results.approvals[call.tool_call_id] = _verdict(approval)
    return results


def _verdict(approval: Approval) -> ToolApproved | ToolDenied:
    if approval.state is not ApprovalState.APPROVED:
        return ToolDenied(f"the approval was {approval.state}")
    edited = approval.edited_arguments
    return ToolApproved(override_args=None if edited is None else dict(edited))


def _as_model_message(message: Message) -> ModelMessage:
    if message.role is MessageRole.ASSISTANT:
        return ModelResponse(parts=[TextPart(message.text)], timestamp=message.created_at)
    return ModelRequest(parts=[UserPromptPart(message.text, timestamp=message.created_at)])


def _unsaid(output: object, said: str) -> str | None:
    """The output as text, or None when the last message that the model wrote is that text already."""
    text = output if isinstance(output, str) else to_json(output, fallback=str).decode()
    return None if "".join(text.split()) == "".join(said.split()) else text
