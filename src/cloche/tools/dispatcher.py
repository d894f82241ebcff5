"""The one gate through which agents run tools: permission, validation, journal, run, result."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal, NamedTuple, TypeVar, cast

import msgspec
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from cloche.clock import Clock
from cloche.domain.approvals import ApprovalState
from cloche.domain.events import ErrorShown, ToolCompleted, ToolExecuting, ToolProgress
from cloche.domain.permissions import decide
from cloche.domain.steps import StepKind
from cloche.domain.text import sound_text, sound_value
from cloche.domain.tools import (
    MAX_RESULT_BYTES,
    RESULT_MARKER,
    Effect,
    OnUnknown,
    ToolFailure,
    ToolResult,
    ToolSpec,
    capped,
    masked,
)
from cloche.domain.usage import Usage
from cloche.errors import (
    ClocheError,
    LeaseLostError,
    ToolDeniedError,
    ToolError,
    ToolFailedError,
    ToolInvalidArgumentsError,
    ToolOutcomeUnknownError,
    ToolTimeoutError,
    ToolUnknownError,
)
from cloche.execution.run_handle import RunHandle, StepHandle
from cloche.execution.supervision import Supervised
from cloche.telemetry import LogEvent, Telemetry, count
from cloche.tools.process import run_in_process
from cloche.tools.tool import Tool, ToolContext, Verification

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignResult:
    """What a tool of an agent's own framework gave.

    Attributes:
        payload: the framework's own form, which the journal keeps for it; empty when the tool gave nothing because it
            was refused, stopped or raised, and then there is a failure.
        value: the same as a JSON value, for people.
        failure: why it counts as not successful.
    """

    payload: bytes
    value: object = None
    failure: ToolFailure | None = None


ForeignWork = Callable[[], Awaitable[ForeignResult]]


class _Kept(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A result as the journal keeps it."""

    ok: bool
    value: object = None
    code: str = ""
    message: str = ""
    duration_ms: int = 0
    payload: bytes = b""


class _Unchecked(BaseModel):
    """The arguments of a foreign tool, which its framework checks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    name: str
    tool: Tool | None
    arguments: dict[str, object]
    refusal: ToolError | None
    approval_id: str | None = None


class ToolDispatcher:
    """Runs tools for the runs of one agent. What the agent does not list, and what the user is not granted, is denied.

    Guarantees: each call is journaled before it runs; ``tool_executing`` is durable first and ``tool_completed`` follows
    whatever happens; a recorded call is not run again.
    """

    def __init__(
        self,
        tools: Mapping[str, Tool],
        allowed: frozenset[str],
        *,
        clock: Clock,
        telemetry: Telemetry,
        grace: timedelta = timedelta(seconds=2),
    ) -> None:
        self._tools = {name: tool for name, tool in tools.items() if name in allowed}
        self._clock = clock
        self._telemetry = telemetry
        self._grace_s = grace.total_seconds()

    @property
    def tools(self) -> Mapping[str, Tool]:
        """The agent's tools, by name."""
        return self._tools

    async def call(self, run: RunHandle, name: str, arguments: Mapping[str, object]) -> ToolResult:
        """What came of the call; a failure is a result that the model is told, not an error.

        Cancellation: the tool is stopped (a child process killed) within the grace limit, then it travels on.

        Raises:
            LeaseLostError: another execution owns the run.
        """
        given, name = _plain(arguments), sound_text(name)
        call = await self._prepare(run, name, given)
        kept, reference = await self._journaled(run, call, given)
        return ToolResult(
            tool_call_id=reference or "",
            tool=name,
            ok=kept.ok,
            value=kept.value,
            failure=_failure(kept),
            duration_ms=kept.duration_ms,
            replayed=reference is None,
        )

    async def call_foreign(
        self, run: RunHandle, spec: ToolSpec, arguments: Mapping[str, object], work: ForeignWork
    ) -> ForeignResult:
        """Like ``call``, for a tool that the agent's own framework has: ``work`` validates the arguments and runs it.

        Nobody is asked for approval here, and the agent's list of tools is not looked at: the framework has done both.

        Cancellation: as for ``call``.

        Raises:
            LeaseLostError: another execution owns the run.
        """
        tool = Tool(spec=spec, function=work, arguments=_Unchecked, takes_context=False, in_process=False)
        given = _plain(arguments)
        decision = decide(run.context.scope.permissions, spec.permission)
        refusal = None if decision.allowed else ToolDeniedError(decision.reason)
        call = _Call(name=spec.name, tool=tool, arguments=given, refusal=refusal)
        kept, _ = await self._journaled(run, call, given)
        return ForeignResult(payload=kept.payload, value=kept.value, failure=_failure(kept))

    async def _journaled(self, run: RunHandle, call: _Call, given: dict[str, object]) -> tuple[_Kept, str | None]:
        """The outcome, and the step's reference if it was not replayed."""
        payload = msgspec.json.encode({"tool": call.name, "arguments": given}, order="sorted")
        reference: list[str] = []

        async def work(step: StepHandle) -> bytes:
            reference.append(step.reference)
            return await self._work(step, call)

        async def interrupted(step: StepHandle) -> bytes:
            reference.append(step.reference)
            return await self._interrupted(step, call)

        recorded = await run.step(StepKind.TOOL, call.name, payload, work, interrupted=interrupted)
        return msgspec.json.decode(recorded, type=_Kept), reference[0] if reference else None

    async def _prepare(self, run: RunHandle, name: str, arguments: dict[str, object]) -> _Call:
        tool = self._tools.get(name)
        refusal = self._refusal(run, name, tool, arguments)
        # An earlier attempt may have asked a person under other permissions and settings: the journal says whether.
        upcoming = run.upcoming
        needs_approval = tool is not None and tool.spec.needs_approval and refusal is None
        approval_id: str | None = None
        if upcoming is StepKind.APPROVAL or (needs_approval and upcoming is None):
            approval = await run.ask(
                tool=name,
                question=f"May {name} run with these arguments?",
                arguments=arguments,
                schema={} if tool is None else tool.spec.schema,
            )
            approval_id = str(approval.id)
            if approval.state is not ApprovalState.APPROVED:
                refusal = refusal or ToolDeniedError(f"the approval was {approval.state}")
            elif approval.edited_arguments is not None:
                arguments = dict(approval.edited_arguments)
                refusal = self._refusal(run, name, tool, arguments)
        return _Call(name=name, tool=tool, arguments=arguments, refusal=refusal, approval_id=approval_id)

    def _refusal(
        self, run: RunHandle, name: str, tool: Tool | None, arguments: Mapping[str, object]
    ) -> ToolError | None:
        if tool is None:
            known = ", ".join(sorted(self._tools)) or "none"
            return ToolUnknownError(f"there is no tool {name!r} here; there are: {known}")
        decision = decide(run.context.scope.permissions, tool.spec.permission)
        if not decision.allowed:
            return ToolDeniedError(decision.reason)
        try:
            tool.validate(arguments)
        except ToolInvalidArgumentsError as error:
            return error
        return None

    async def _work(self, step: StepHandle, call: _Call) -> bytes:
        executing = _executing(step, call)
        step.is_awaited = call.tool is not None and call.tool.spec.effect is not Effect.NONE
        if call.refusal is not None or call.tool is None:
            step.begin_soon([executing])
            return self._completed(step, call, _failed(call.refusal or ToolUnknownError(), 0))
        if step.is_awaited:
            await step.begin([executing])
        else:
            # What a crash interrupts here is made again, known or not.
            step.begin_soon([executing])
        started = self._clock.monotonic()
        with self._telemetry.span("tool", {"tool": call.name, "run_id": step.run.run.id}):
            kept = await self._run(step, call, call.tool, started)
        return self._completed(step, call, kept)

    async def _interrupted(self, step: StepHandle, call: _Call) -> bytes:
        """The worker died while the call ran; whether its effect happened is not known.

        A tool that is gone meanwhile declares nothing, so its call is reported; and so is one that may not run any more.
        """
        match _on_unknown(call):
            case OnUnknown.REPEAT:
                return await self._work(step, call)
            case OnUnknown.VERIFY:
                verdict = await self._verification(step, call)
                if verdict.happened is False:
                    return await self._work(step, call)
                if verdict.happened:
                    step.restarted = False
                    return self._completed(step, call, self._kept(step, call, verdict.value, 0))
            case OnUnknown.ASK:
                again = await self._asked_again(step, call)
                if again is not None:
                    return await self._work(step, again)
            case OnUnknown.REPORT:
                pass
        step.restarted = False
        error = ToolOutcomeUnknownError(
            f"the server stopped while {call.name} was running: whether it took effect is not known, and it was not "
            "run again"
        )
        return self._completed(step, call, _failed(error, 0))

    async def _verification(self, step: StepHandle, call: _Call) -> Verification:
        """What the tool's own check says; a check that fails tells nothing."""
        tool = call.tool
        assert tool is not None, "a tool without a declaration has no check"
        assert tool.verify is not None, "a tool is not declared without its check"
        context = ToolContext(
            context=step.run.context.child(f"verify:{call.name}"),
            tool_call_id=step.reference,
            progress=lambda _text, _fraction: None,
        )
        checking = _awaited(tool.verify(context, tool.validate(call.arguments)))
        supervised = Supervised(checking, grace_s=self._grace_s)
        supervised.stop_after(tool.spec.timeout.total_seconds())
        ending = await supervised.run()
        if isinstance(ending.error, LeaseLostError):
            raise ending.error
        if ending.error is not None:
            self._telemetry.error(LogEvent.TOOL_CALLED, ending.error, tool=call.name, run=step.run.run.id)
        return ending.value if isinstance(ending.value, Verification) else Verification(happened=None)

    async def _asked_again(self, step: StepHandle, call: _Call) -> _Call | None:
        """The call as a person wants it to be made again, or None."""
        assert call.tool is not None, "a tool without a declaration asks nobody"
        approval = await step.ask(
            tool=call.name,
            question=f"The server stopped while {call.name} was running, and it is not known whether it took effect. "
            "Run it again?",
            arguments=call.arguments,
            schema=call.tool.spec.schema,
        )
        if approval.state is not ApprovalState.APPROVED:
            return None
        if approval.edited_arguments is None:
            return call
        arguments = dict(approval.edited_arguments)
        if call.tool.arguments is _Unchecked:
            refusal = ToolInvalidArgumentsError("the agent's own tools take the arguments that its model gave")
            return replace(call, refusal=refusal)
        return replace(call, arguments=arguments, refusal=self._refusal(step.run, call.name, call.tool, arguments))

    async def _run(self, step: StepHandle, call: _Call, tool: Tool, started: float) -> _Kept:
        supervised = Supervised(self._invoke(step, call, tool), grace_s=self._grace_s)
        supervised.stop_after(tool.spec.timeout.total_seconds())
        ending = await supervised.run()
        duration_ms = int((self._clock.monotonic() - started) * 1000)
        if ending.stopped and not supervised.stopping:
            return _failed(ToolFailedError(f"{call.name} cancelled itself"), duration_ms)
        if ending.stopped:
            limit = tool.spec.timeout.total_seconds()
            return _failed(
                ToolTimeoutError(f"{call.name} did not finish within {limit:g} s and was stopped"), duration_ms
            )
        if isinstance(ending.error, LeaseLostError):
            raise ending.error
        if isinstance(ending.error, ClocheError):
            return _failed(ending.error, duration_ms)
        if ending.error is not None:
            self._telemetry.error(LogEvent.TOOL_CALLED, ending.error, tool=call.name, run=step.run.run.id)
            return _failed(ToolFailedError(f"{call.name} raised {type(ending.error).__name__}"), duration_ms)
        if isinstance(ending.value, ForeignResult):
            return _foreign(ending.value, duration_ms)
        return self._kept(step, call, ending.value, duration_ms)

    def _kept(self, step: StepHandle, call: _Call, value: object, duration_ms: int) -> _Kept:
        try:
            return _Kept(ok=True, value=_bounded(value), duration_ms=duration_ms)
        except Exception as error:  # noqa: BLE001 -- a foreign value may raise anything when it is turned into JSON
            self._telemetry.error(LogEvent.TOOL_CALLED, error, tool=call.name, run=step.run.run.id)
            return _failed(ToolFailedError(f"{call.name} returned something that has no JSON form"), duration_ms)

    async def _invoke(self, step: StepHandle, call: _Call, tool: Tool) -> object:
        arguments = tool.validate(call.arguments)
        if tool.key_argument is not None:
            arguments[tool.key_argument] = step.reference
        if tool.in_process:
            value, size = await run_in_process(tool.function, _plain(arguments))
            return value if size is None else _Cut(str(value), size)

        def progress(text: str, fraction: float | None) -> None:
            if step.ending.events:
                return  # It left something running, which tells of a call that is over.
            part = fraction if fraction is not None and 0 <= fraction <= 1 else None
            step.show(ToolProgress(tool_call_id=step.reference, text=capped(sound_text(text), 4096), fraction=part))

        context = ToolContext(
            context=step.run.context.child(f"tool:{call.name}"), tool_call_id=step.reference, progress=progress
        )
        return await tool.invoke(context, arguments)

    def _completed(self, step: StepHandle, call: _Call, kept: _Kept) -> bytes:
        error = None if kept.ok else ErrorShown(code=kept.code, message=kept.message)
        step.finish_with(
            ToolCompleted(
                tool_call_id=step.reference,
                tool=call.name,
                ok=kept.ok,
                duration_ms=kept.duration_ms,
                result=kept.value if kept.ok else None,
                error=error,
            )
        )
        step.count(Usage(tool_calls=1))
        count(self._telemetry.figures.tool_calls, "ok" if kept.ok else kept.code)
        return msgspec.json.encode(kept)


def _plain(arguments: Mapping[str, object]) -> dict[str, object]:
    return cast("dict[str, object]", _sound_json(dict(arguments)))


def _sound_json(value: object, *, inf_nan_mode: Literal["constants", "null"] = "constants") -> object:
    """The value as a JSON value without NUL and half characters; texts come both before and out of foreign objects."""
    return sound_value(to_jsonable_python(sound_value(value), fallback=str, inf_nan_mode=inf_nan_mode))


def _failure(kept: _Kept) -> ToolFailure | None:
    return None if kept.ok else ToolFailure(code=kept.code, message=kept.message)


def _foreign(result: ForeignResult, duration_ms: int) -> _Kept:
    failure = result.failure
    return _Kept(
        ok=failure is None,
        value=result.value,
        code="" if failure is None else failure.code,
        message="" if failure is None else capped(failure.message, 4096),
        duration_ms=duration_ms,
        payload=result.payload,
    )


def _on_unknown(call: _Call) -> OnUnknown:
    if call.tool is None:
        return OnUnknown.REPORT
    if call.tool.spec.effect is not Effect.EXTERNAL:
        return OnUnknown.REPEAT
    return OnUnknown.REPORT if call.refusal is not None else call.tool.spec.on_unknown


async def _awaited(awaitable: Awaitable[T]) -> T:
    return await awaitable


def _executing(step: StepHandle, call: _Call) -> ToolExecuting:
    secrets = frozenset[str]() if call.tool is None else call.tool.spec.secrets
    effect = Effect.NONE if call.tool is None else call.tool.spec.effect
    return ToolExecuting(
        tool_call_id=step.reference,
        tool=call.name,
        arguments=masked(call.arguments, secrets),
        effect=effect.value,
        approval_id=call.approval_id,
    )


def _failed(error: ClocheError, duration_ms: int) -> _Kept:
    return _Kept(ok=False, code=error.code, message=capped(sound_text(error.message), 4096), duration_ms=duration_ms)


class _Cut(NamedTuple):
    """A result that was cut on its way, and the size that it had."""

    text: str
    size: int


def _cut(text: str, size: int) -> str:
    kept = sound_text(text[:MAX_RESULT_BYTES]).encode()[:MAX_RESULT_BYTES].decode("utf-8", "ignore")
    return kept + RESULT_MARKER.format(size=size, limit=MAX_RESULT_BYTES)


def _bounded(value: object) -> object:
    """The value as JSON of at most ``MAX_RESULT_BYTES``; what is larger becomes text with a marker at its end."""
    if isinstance(value, _Cut):
        return _cut(value.text, value.size)
    if isinstance(value, str):
        if len(value) > MAX_RESULT_BYTES:
            return _cut(value, len(value.encode("utf-8", "replace")))
        return capped(sound_text(value))
    plain = _sound_json(value, inf_nan_mode="null")
    encoded = msgspec.json.encode(plain)
    return plain if len(encoded) <= MAX_RESULT_BYTES else capped(encoded.decode())
