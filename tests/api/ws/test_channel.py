from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from cloche.api.ws import channel as channels
from cloche.api.ws.channel import Channel, ClientGoneError
from cloche.errors import NotAuthenticatedError
from cloche.ids import RequestId

Message = dict[str, Any]


class Server:
    """An ASGI server: what it has for the application, and what it got."""

    def __init__(self, *incoming: Message, extensions: Message | None = None) -> None:
        self.incoming = list(incoming)
        self.got: list[Message] = []
        self.breaks_at: Callable[[Message], bool] = lambda _message: False
        self.scope = {"type": "websocket", "extensions": extensions or {}}

    async def receive(self) -> Message:
        return self.incoming.pop(0)

    async def send(self, message: Message) -> None:
        if self.breaks_at(message):
            raise OSError
        self.got.append(message)

    def channel(self) -> Channel:
        return Channel(self.scope, self.receive, self.send)  # type: ignore[arg-type]

    @property
    def types(self) -> list[str]:
        return [message["type"] for message in self.got]


CONNECT = {"type": "websocket.connect"}


async def test_a_client_that_leaves_before_it_is_accepted_is_not_answered():
    server = Server({"type": "websocket.disconnect", "code": 1006})
    channel = server.channel()

    with pytest.raises(ClientGoneError):
        await channel.begin()
    await channel.refuse(NotAuthenticatedError(), RequestId.new())
    await channel.close(4501, "", [])

    assert server.got == []


@pytest.mark.parametrize("extensions", [{}, {"websocket.http.response": {}}])
async def test_a_refusal_that_nobody_waits_for_is_no_error(extensions: Message):
    server = Server(CONNECT, extensions=extensions)
    server.breaks_at = lambda _message: True
    channel = server.channel()

    await channel.begin()
    await channel.refuse(NotAuthenticatedError(), RequestId.new())

    assert not channel.is_accepted


async def test_frames_are_text_or_bytes_and_a_disconnect_ends_them():
    server = Server(
        CONNECT,
        {"type": "websocket.receive", "text": "a"},
        {"type": "websocket.receive", "bytes": b"b", "text": None},
        {"type": "websocket.disconnect", "code": 1001},
    )
    channel = server.channel()
    await channel.begin()
    await channel.accept()

    frames = [await channel.receive(), await channel.receive()]
    with pytest.raises(ClientGoneError):
        await channel.receive()
    with pytest.raises(ClientGoneError):
        await channel.send(b"x")

    assert frames == ["a", b"b"]
    assert channel.code == 1001
    assert server.types == ["websocket.accept"]


async def test_the_last_words_stand_before_the_close():
    server = Server(CONNECT)
    channel = server.channel()
    await channel.begin()
    await channel.accept()

    await channel.close(1012, "x" * 200, [b"a", b"b"])
    await channel.close(4501, "again", [])

    assert [message.get("text") for message in server.got] == [None, "a", "b", None]
    assert (server.got[-1]["code"], server.got[-1]["reason"], channel.code) == (1012, "x" * 123, 1012)
    assert server.types[-1] == "websocket.close"


async def test_a_socket_that_breaks_is_a_client_that_left():
    server = Server(CONNECT)
    server.breaks_at = lambda message: message["type"] == "websocket.send"
    channel = server.channel()
    await channel.begin()
    await channel.accept()

    await channel.close(1012, "", [b"a"])
    with pytest.raises(ClientGoneError):
        await channel.send(b"b")

    assert server.types == ["websocket.accept"]


async def test_who_does_not_read_the_close_is_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(channels, "CLOSE_TIMEOUT_S", 0)
    server = Server(CONNECT)
    channel = server.channel()
    await channel.begin()
    await channel.accept()

    async def stuck(_message: object) -> None:
        await asyncio.Event().wait()

    channel._send = stuck
    await channel.close(4408, "", [b"a"])

    with pytest.raises(ClientGoneError):
        await channel.send(b"b")
