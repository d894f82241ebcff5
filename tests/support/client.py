"""A small client of the wire, for tests: REST through httpx2, the live protocol through websockets."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from websockets.asyncio.client import ClientConnection, connect

from support.server_process import PASSWORD

TERMINAL = {"agent_completed", "agent_failed", "agent_timed_out", "agent_cancelled"}


class Person:
    """A signed-in user."""

    def __init__(self, url: str, http: httpx2.AsyncClient, signed_in: dict[str, Any]) -> None:
        self.url = url
        self.http = http
        self.token = signed_in["access_token"]
        self.refresh_token = signed_in["refresh_token"]
        self.user = signed_in["user"]
        http.headers["Authorization"] = f"Bearer {self.token}"

    @asynccontextmanager
    async def live(self) -> AsyncGenerator[Live]:
        """A live connection, ready."""
        async with connect(
            self.url.replace("http", "ws", 1) + "/v1/ws",
            subprotocols=["cloche.v1"],  # type: ignore[list-item]
            additional_headers={"Authorization": f"Bearer {self.token}"},
            max_size=None,
        ) as socket:
            live = Live(socket)
            live.ready = await live.frame()
            yield live


@asynccontextmanager
async def signed_in(url: str, email: str, password: str = PASSWORD) -> AsyncGenerator[Person]:
    async with httpx2.AsyncClient(base_url=url, timeout=10) as http:
        answer = await http.post("/v1/auth/login", json={"email": email, "password": password})
        assert answer.status_code == 200, answer.text
        yield Person(url, http, answer.json())


class Live:
    """One socket: operations are answered by ref, events are kept in order."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.ready: dict[str, Any] = {}
        self.events: list[dict[str, Any]] = []
        self.openings: list[dict[str, Any]] = []
        self._refs = 0

    async def frame(self) -> dict[str, Any]:
        """The next frame; events and openings in it are kept."""
        frame = json.loads(await self.socket.recv())
        self.events += frame.get("events", [])
        if "recovered" in frame:
            self.openings.append(frame)
        return frame

    async def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """The answer to an operation."""
        self._refs += 1
        ref = f"r{self._refs}"
        await self.socket.send(json.dumps({"op": op, "ref": ref, **fields}))
        while True:
            frame = await self.frame()
            if frame.get("ref") == ref:
                return frame

    async def until(self, run_id: str, *types: str) -> list[dict[str, Any]]:
        """The run's events, when one of these types (default: terminal) has come."""
        wanted = set(types) or TERMINAL
        while not any(event["run_id"] == run_id and event["type"] in wanted for event in self.events):
            await self.frame()
        return [event for event in self.events if event["run_id"] == run_id]
