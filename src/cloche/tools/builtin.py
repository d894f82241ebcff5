"""The tools that come with the server: safe, without effects, and only over the user's own data."""

from __future__ import annotations

import ast
import asyncio
import math
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field

from cloche.clock import Clock, from_micros, to_text
from cloche.domain.permissions import Permission
from cloche.errors import ToolFailedError, ToolInvalidArgumentsError
from cloche.storage.database import Database, Transaction
from cloche.storage.messages import FoundRow, MessageRepository, parts_of
from cloche.tools.tool import Tool, ToolContext, tool

_BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: lambda left, right: left + right,
    ast.Sub: lambda left, right: left - right,
    ast.Mult: lambda left, right: left * right,
    ast.Div: lambda left, right: left / right,
    ast.FloorDiv: lambda left, right: left // right,
    ast.Mod: lambda left, right: left % right,
    ast.Pow: lambda left, right: left**right,
}
_UNARY: dict[type[ast.unaryop], Callable[[float], float]] = {
    ast.USub: lambda value: -value,
    ast.UAdd: lambda value: value,
}
_FUNCTIONS: dict[str, Callable[[float], float]] = {
    "sqrt": math.sqrt,
    "round": round,
    "abs": abs,
    "floor": math.floor,
    "ceil": math.ceil,
    "log": math.log,
    "exp": math.exp,
}
_MAX_POWER = 1_000
_MAX_NUMBER = 10**300


def builtin_tools(database: Database, clock: Clock) -> dict[str, Tool]:
    """The tools by name: ``clock``, ``calculator`` and ``search_threads``."""

    async def now(time_zone: str = "UTC") -> dict[str, str]:
        """The present date and time, in a time zone given by its IANA name, such as Europe/Berlin."""
        try:
            zone = await asyncio.to_thread(ZoneInfo, time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ToolInvalidArgumentsError(f"there is no time zone {time_zone!r}") from error
        local = clock.now().astimezone(zone)
        return {"time": local.isoformat(timespec="seconds"), "weekday": local.strftime("%A"), "time_zone": time_zone}

    async def search_threads(
        context: ToolContext,
        words: Annotated[str, Field(min_length=1, max_length=200)],
        limit: Annotated[int, Field(ge=1, le=20)] = 5,
    ) -> list[dict[str, str]]:
        """Search the user's own threads for words; gives the newest matching messages."""
        scope = context.context.scope

        async def work(tx: Transaction) -> list[FoundRow]:
            return await MessageRepository(scope).search(tx, words, limit * 4)

        found = await database.read(work)
        own = str(context.context.thread_id)
        hits: list[dict[str, str]] = []
        for row in found:
            text = "\n\n".join(part.text for part in parts_of(row.parts))
            place = text.lower().find(words.lower())
            if place < 0:
                continue
            hits.append(
                {
                    "thread": "this one" if row.thread_id == own else row.title,
                    "by": row.role,
                    "at": to_text(from_micros(row.created_at)),
                    "text": text[max(place - 80, 0) : place + 160],
                }
            )
        return hits[:limit]

    short = timedelta(seconds=5)
    return {
        "clock": tool(now, name="clock", permission=Permission.TOOLS_BASIC, timeout=short),
        "calculator": tool(calculate, name="calculator", permission=Permission.TOOLS_BASIC, timeout=short),
        "search_threads": tool(search_threads, permission=Permission.TOOLS_BASIC, timeout=short),
    }


async def calculate(expression: Annotated[str, Field(min_length=1, max_length=500)]) -> float | int:
    """Work out an arithmetic expression: + - * / // % **, brackets, sqrt, round, abs, floor, ceil, log, exp, pi, e."""
    try:
        tree = ast.parse(expression.strip().replace("^", "**").replace(",", ""), mode="eval")
        value = _value(tree.body)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ToolInvalidArgumentsError("this is no arithmetic expression") from error
    except (ArithmeticError, ValueError) as error:
        raise ToolFailedError(f"it has no value: {error}") from error
    if isinstance(value, float) and not math.isfinite(value):
        raise ToolFailedError("the value is not finite")
    return value


def _value(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=bool()):
            pass
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.Name(id="pi"):
            return math.pi
        case ast.Name(id="e"):
            return math.e
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            return _UNARY[type(op)](_value(operand))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _binary(type(op), _value(left), _value(right))
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in _FUNCTIONS:
            return _FUNCTIONS[name](_value(argument))
        case _:
            pass
    raise ToolInvalidArgumentsError("only numbers and arithmetic are understood")


def _binary(kind: type[ast.operator], left: float, right: float) -> float:
    if kind is ast.Pow and (abs(right) > _MAX_POWER or abs(left) > _MAX_NUMBER):
        raise ToolFailedError("the power is too large")
    value: object = _BINARY[kind](left, right)
    if isinstance(value, complex):
        raise ToolFailedError("it has no real value")
    assert isinstance(value, int | float)
    if isinstance(value, int) and abs(value) > _MAX_NUMBER:
        raise ToolFailedError("the value is too large")
    return value
