"""Logs of a real server, for the page's tests: recorded, with ids and times that are the same each time."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cloche.domain.event_order import check_run
from support.client import Person, signed_in
from support.server_process import ServerProcess
from support.stories import RIGHT, WRONG

CONFIG = """
default_agent = "teller"

[agents.teller]
use = "support.recorded_agents:teller"

[agents.user_of_tools]
use = "support.recorded_agents:user_of_tools"
tools = ["counts", "breaks"]

[agents.asker]
use = "support.recorded_agents:asker"
tools = ["pays"]

[agents.impatient]
use = "support.recorded_agents:impatient"

[agents.at_a_tool]
use = "support.recorded_agents:at_a_tool"
tools = ["waits"]

[agents.long_winded]
use = "support.recorded_agents:long_winded"

[agents.short_of_time]
use = "support.recorded_agents:long_winded"
run_timeout_s = 1

[agents.raises]
use = "support.agents:raises"

[agents.deadly]
use = "support.recorded_agents:deadly"

[tools.counts]
use = "support.recorded_agents:counts"

[tools.breaks]
use = "support.recorded_agents:breaks"

[tools.pays]
use = "support.recorded_agents:pays"
effect = "external"
needs_approval = true

[tools.waits]
use = "support.recorded_agents:waits"

[runs]
drain_s = 0.5
"""

_ID = re.compile(r"(?:[a-z][a-z0-9_]{0,30}_)?[0-7][0-9a-hjkmnp-tv-z]{25}\b")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
_AT = datetime(2031, 1, 1, tzinfo=UTC)
_TOLD_OFTEN = {"message_delta", "agent_thinking", "tool_progress"}

Log = dict[str, Any]


class Recorder:
    """A person at a server who lets things happen, and keeps what the server tells of them."""

    def __init__(self, server: ServerProcess, person: Person, other: str) -> None:
        self._server = server
        self._person = person
        self._other = other

    async def send(self, agent: str, *, thread_id: str | None = None, **fields: Any) -> dict[str, Any]:
        path = "/v1/messages" if thread_id is None else f"/v1/threads/{thread_id}/messages"
        return await self._post(path, text=f"for {agent}", agent=agent, **fields)

    async def until(self, sent: dict[str, Any], *types: str) -> list[dict[str, Any]]:
        """The run's events, once there is one of these types (default: its end)."""
        async with asyncio.timeout(20), self._person.live() as live:
            await live.ask("subscribe", thread_id=sent["thread_id"])
            return await live.until(sent["run_id"], *types)

    async def decide(self, decision: str, **fields: Any) -> dict[str, Any]:
        """What a run of the asker came to."""
        sent = await self.send("asker")
        approval = (await self.until(sent, "approval_requested"))[-1]["data"]["approval_id"]
        await self._post(f"/v1/approvals/{approval}/decide", decision=decision, **fields)
        await self.until(sent)
        return sent

    async def delegate(self) -> dict[str, Any]:
        """A question is given to somebody else, taken back and given again, and then answered."""
        sent = await self.send("asker")
        approval = (await self.until(sent, "approval_requested"))[-1]["data"]["approval_id"]
        await self._post(f"/v1/approvals/{approval}/delegate", email=self._other)
        answer = await self._person.http.delete(f"/v1/approvals/{approval}/delegate")
        assert answer.is_success, answer.text
        await self._post(f"/v1/approvals/{approval}/delegate", email=self._other)
        async with signed_in(self._server.url, self._other) as other:
            await other.http.post(f"/v1/approvals/{approval}/decide", json={"decision": "approve"})
        await self.until(sent)
        return sent

    async def cancel(self, agent: str, after: str) -> dict[str, Any]:
        sent = await self.send(agent)
        await self.until(sent, after)
        await self._post(f"/v1/runs/{sent['run_id']}/cancel")
        await self.until(sent)
        return sent

    async def queue(self, on_busy: str) -> dict[str, Any]:
        """A second message while the first one is worked on: it waits, or it interrupts."""
        first = await self.send("at_a_tool")
        await self.until(first, "tool_executing")
        second = await self.send("teller", thread_id=first["thread_id"], on_busy=on_busy)
        if on_busy == "enqueue":
            await self._post(f"/v1/runs/{first['run_id']}/cancel")
        await self.until(second)
        return second

    async def retry(self) -> dict[str, Any]:
        sent = await self.send("raises")
        await self.until(sent)
        again = await self._post(f"/v1/runs/{sent['run_id']}/retry")
        await self.until(again)
        return again

    async def rename(self) -> dict[str, Any]:
        sent = await self.send("teller")
        await self.until(sent)
        answer = await self._person.http.patch(f"/v1/threads/{sent['thread_id']}", json={"title": "A name"})
        assert answer.status_code == 200, answer.text
        return sent

    async def branch(self) -> dict[str, Any]:
        """A thread that goes on from the middle of another one."""
        first = await self.send("teller")
        await self.until(first)
        second = await self.send("user_of_tools", thread_id=first["thread_id"])
        await self.until(second)
        made = await self._post(f"/v1/threads/{first['thread_id']}/branch", message_id=second["message_id"])
        third = await self.send("teller", thread_id=made["id"])
        await self.until(third)
        return third

    async def crash(self) -> dict[str, Any]:
        """The process dies in the middle of an answer, and another one goes on."""
        sent = await self.send("long_winded")
        await self.until(sent, "message_delta")
        await asyncio.to_thread(self._server.kill)
        await asyncio.to_thread(self._server.start)
        await self.until(sent)
        return sent

    async def die(self) -> dict[str, Any]:
        """The run takes its process along until it is given up."""
        sent = await self.send("deadly", thread_id=(await self._post("/v1/threads", title=""))["id"])
        for _ in range(3):
            process = self._server.process
            assert process is not None
            await asyncio.to_thread(process.wait, 15)
            self._server.kill()
            await asyncio.to_thread(self._server.start)
        await self.until(sent)
        return sent

    async def log(self, thread_id: str) -> Log:
        """Everything that the server tells of the thread now."""
        thread = await self._get(f"/v1/threads/{thread_id}")
        place = {"after": thread["first_seq"] - 1, "epoch": thread["epoch"]}
        async with asyncio.timeout(20), self._person.live() as live:
            answer = await live.ask("subscribe", thread_id=thread_id, **place)
            while not live.events or live.events[-1]["seq"] < answer["head_seq"]:
                await live.frame()
            await live.ask("subscribe", thread_id=thread_id, after=0, epoch=1)  # of another log: a snapshot
            while len(live.openings) < 2:
                await live.frame()
        return {
            "thread": thread,
            "messages": (await self._get(f"/v1/threads/{thread_id}/messages?limit=100"))["items"],
            "runs": (await self._get(f"/v1/runs?thread_id={thread_id}&limit=100"))["items"],
            "opened": live.openings[0],
            "snapshot": live.openings[1],
            "events": live.events,
        }

    async def _post(self, path: str, **body: Any) -> dict[str, Any]:
        answer = await self._person.http.post(path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    async def _get(self, path: str) -> dict[str, Any]:
        answer = await self._person.http.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()


async def _sent(recorder: Recorder, agent: str) -> dict[str, Any]:
    sent = await recorder.send(agent)
    await recorder.until(sent)
    return sent


SCENES: dict[str, Callable[[Recorder], Awaitable[dict[str, Any]]]] = {
    "an answer": lambda at: _sent(at, "teller"),
    "tools": lambda at: _sent(at, "user_of_tools"),
    "approved": lambda at: at.decide("approve"),
    "approved with other arguments": lambda at: at.decide("approve", arguments={"amount": 7}),
    "denied": lambda at: at.decide("deny"),
    "expired": lambda at: _sent(at, "impatient"),
    "given to another": lambda at: at.delegate(),
    "cancelled at a tool": lambda at: at.cancel("at_a_tool", "tool_executing"),
    "cancelled in mid-sentence": lambda at: at.cancel("long_winded", "message_delta"),
    "cancelled while it waits": lambda at: at.cancel("asker", "approval_requested"),
    "failed": lambda at: _sent(at, "raises"),
    "out of time": lambda at: _sent(at, "short_of_time"),
    "queued": lambda at: at.queue("enqueue"),
    "interrupted": lambda at: at.queue("interrupt"),
    "tried again": lambda at: at.retry(),
    "renamed": lambda at: at.rename(),
    "a branch": lambda at: at.branch(),
    "recovered": lambda at: at.crash(),
    "dead": lambda at: at.die(),
}


@asynccontextmanager
async def _recorder(folder: Path) -> AsyncGenerator[Recorder]:
    server = ServerProcess(folder, config=CONFIG)
    ann, bob = (server.add_user(f"{name}@example.org") for name in ("ann", "bob"))
    await asyncio.to_thread(server.start)
    try:
        async with signed_in(server.url, ann) as person:
            yield Recorder(server, person, bob)
    finally:
        server.kill()


async def record(folder: Path) -> list[Log]:
    """The log of each scene, as a server in the folder tells it."""
    logs = []
    async with _recorder(folder) as recorder:
        for name, scene in SCENES.items():
            sent = await scene(recorder)
            logs.append({"name": name, **same_each_time(await recorder.log(sent["thread_id"]))})
    return logs


def same_each_time(log: Log) -> Log:
    """The log with ids, times and measures that do not differ from one recording to the next."""
    text = json.dumps(log)
    names: dict[str, str] = {}
    times = {time: _AT + timedelta(seconds=rank) for rank, time in enumerate(sorted(set(_TIME.findall(text))))}

    def named(found: re.Match[str]) -> str:
        kind = found[0].rpartition("_")[0].rpartition("_")[2] or "id"
        return names.setdefault(found[0], f"{kind}_{sum(name.startswith(f'{kind}_') for name in names.values()) + 1}")

    text = _ID.sub(named, text)
    text = _TIME.sub(lambda found: times[found[0]].isoformat(timespec="milliseconds").replace("+00:00", "Z"), text)
    text = re.sub(r'"duration_ms": \d+', '"duration_ms": 5', text)
    text = re.sub(r'"epoch": \d+', '"epoch": 2', text)
    text = re.sub(r'"trace_id": "[0-9a-f]{32}"', '"trace_id": "trace_1"', text)
    return json.loads(text)


def order_cases() -> dict[str, list[Log]]:
    """The checker's own cases: right stories, and wrong ones with the rules that they break."""
    return {
        "right": [{"name": name, "frames": [_frame(event) for event in events]} for name, events in RIGHT.items()],
        "wrong": [
            {
                "name": name,
                "frames": [_frame(event) for event in events],
                "rules": sorted({violation.rule for violation in check_run(events)}),
            }
            for name, (events, _) in WRONG.items()
        ],
    }


def _frame(event: Any) -> str:
    """The event as a socket would bring it: text, which may be no JSON."""
    head = {"seq": event.seq, "type": event.type, "thread_id": event.thread_id, "run_id": event.run_id, "at": event.at}
    return f'{{"events":[{json.dumps(head)[:-1]},"data":{bytes(event.data).decode()}}}]}}'


def outline(logs: Iterable[Log]) -> dict[str, Any]:
    """What of the logs is the same each time they are recorded: which events come in a run, and their fields' types."""
    order, fields = {}, dict[str, set[str]]()
    for log in logs:
        runs: dict[str, list[str]] = {}
        for event in log["events"]:
            row = runs.setdefault(event["run_id"] or "", [])
            if event["type"] not in _TOLD_OFTEN or row[-1:] != [event["type"]]:
                row.append(event["type"])
            _note(fields, event["type"], event["data"])
        order[log["name"]] = runs
        for kind in ("thread", "opened", "snapshot"):
            _note(fields, kind, log[kind])
        for kind in ("messages", "runs"):
            for row in log[kind]:
                _note(fields, kind, row)
    return {"order": order, "fields": {kind: sorted(found) for kind, found in sorted(fields.items())}}


def _note(fields: dict[str, set[str]], kind: str, told: dict[str, Any]) -> None:
    fields.setdefault(kind, set()).update(f"{name}: {type(value).__name__}" for name, value in told.items())
