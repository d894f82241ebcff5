"""One process of Cloche: binds the port, serves until a signal, drains, and leaves nothing half done."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable, Generator
from datetime import timedelta
from pathlib import Path
from typing import cast

import uvicorn
import uvloop
from rich.console import Console
from rich.markup import escape
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from cloche.app import App, build
from cloche.clock import SystemClock
from cloche.errors import ClocheError, ConfigurationError
from cloche.settings import Settings
from cloche.telemetry import LogEvent

_BACKLOG = 2048
_CLOSE_S = 2
_LINGER_S = 5.0
"""How long a connection that is being closed is held for a client that reads nothing of what was written to it."""


class _Server(uvicorn.Server):
    """uvicorn, whose signals are ours: a drain comes before its shutdown."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


class LingeringTransport:
    """A transport whose ``close`` comes to an end: what was written is still sent, as long as the client reads at all.

    asyncio's own waits without an end for a client that reads nothing, and keeps the socket and what waits in it.
    Everything but ``close`` is the transport's own.
    """

    __slots__ = ("_inner", "_left", "is_closing", "write")

    def __init__(self, inner: asyncio.Transport) -> None:
        self._inner = inner
        self._left = 0
        self.write = inner.write
        self.is_closing = inner.is_closing

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def close(self) -> None:
        """Nothing more is written; the connection ends when the rest is sent, or its client has stopped reading."""
        if not self.is_closing():
            self._inner.close()
            self._left = self._inner.get_write_buffer_size()
            self._look_later()

    def _look_later(self) -> None:
        if self._left:
            asyncio.get_running_loop().call_later(_LINGER_S, self._look)

    def _look(self) -> None:
        left = self._inner.get_write_buffer_size()
        if left >= self._left:
            self._inner.abort()
            return
        self._left = left
        self._look_later()


class _Connection(HttpToolsProtocol):
    """HTTP/1.1 of uvicorn, and the WebSockets that grow from it, on transports that end."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(cast("asyncio.Transport", LingeringTransport(transport)))


def serve(settings: Settings, file: Path | None) -> int:
    """Serve until SIGTERM or SIGINT, then drain; the exit code.

    A second signal ends the process at once; what is unfinished then is recovered by the next process.
    """
    console = Console(stderr=True)
    try:
        with _listening(settings.host, settings.port) as listener:
            return uvloop.run(_serve(settings, file, listener, console))
    except ClocheError as error:
        console.print(f"[bold red]cloche cannot start:[/] {escape(error.message)}", soft_wrap=True)
        return 1


@contextlib.contextmanager
def _listening(host: str, port: int) -> Generator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host} port {port}: {error.strerror or error}. Choose another with --host and --port."
        ) from error
    with listener:
        yield listener


async def _serve(settings: Settings, file: Path | None, listener: socket.socket, console: Console) -> int:
    clock = SystemClock()
    url = _url(listener)
    async with build(settings, clock=clock, base_url=url, folder=file.parent if file else None) as app:
        server = _Server(
            uvicorn.Config(
                app.asgi,
                loop="none",
                http=_Connection,
                ws="websockets-sansio",
                ws_max_size=app.services.limits.frame_bytes,
                ws_per_message_deflate=False,
                ws_ping_interval=app.services.limits.heartbeat_s,
                ws_ping_timeout=app.services.limits.heartbeat_s,
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=10,
                timeout_graceful_shutdown=_CLOSE_S,
                backlog=_BACKLOG,
            )
        )
        stopping = asyncio.Event()
        _on_signals(stopping.set)
        async with asyncio.TaskGroup() as group:
            background = group.create_task(app.work())
            serving = group.create_task(server.serve(sockets=[listener]))
            await app.recovered.wait()
            _settle_memory()
            app.telemetry.info(LogEvent.SERVER_STARTED, url=url, version=app.services.version)
            # rich ends the program when nobody reads; the server goes on without its greeting.
            with contextlib.suppress(OSError, SystemExit):
                _welcome(app, settings, file, url, console)
            stopped = group.create_task(stopping.wait())
            await asyncio.wait({stopped, serving}, return_when=asyncio.FIRST_COMPLETED)
            app.telemetry.info(LogEvent.SERVER_DRAINING, runs=app.worker.working)
            await app.drain(timedelta(seconds=settings.runs.drain_s))
            server.should_exit = True
            stopping.set()
            await serving
            background.cancel()
        app.telemetry.info(LogEvent.SERVER_STOPPED)
    return 0


def _settle_memory() -> None:
    """What start-up made stays for good: the collector need not walk it again and again while streams flow."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _on_signals(stop: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    told = False

    def handle() -> None:
        nonlocal told
        if told:
            # Crash-safe by construction: what is unfinished is recovered by the next process.
            os._exit(130)
        told = True
        stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, handle)


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    shown = "127.0.0.1" if host in {"0.0.0.0", "::"} else host  # noqa: S104 -- compared with, not listened on
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


def _welcome(app: App, settings: Settings, file: Path | None, url: str, console: Console) -> None:
    console.print(f"[bold]Cloche[/] {app.services.version} is ready at [link={url}]{url}[/link]", highlight=False)
    console.print(f"  data folder  {settings.data}    settings  {file or 'defaults'}", highlight=False)
    console.print(f"  agents       {', '.join(spec.name for spec in app.services.agents())}", highlight=False)
    if app.model.is_scripted:
        console.print(
            "  model        [yellow]scripted:demo: a scripted demonstration, not a language model.[/] "
            "Set CLOCHE_MODEL to use one.",
            highlight=False,
        )
        app.telemetry.warning(LogEvent.MODEL_SCRIPTED, model=app.model.name)
    else:
        console.print(f"  model        {app.model.name}", highlight=False)
    if app.setup_secret is not None:
        app.telemetry.info(LogEvent.SETUP_NEEDED)
        console.print(
            "\n  [bold]First start.[/] Open this link and become the first administrator; it is good", highlight=False
        )
        console.print("  once, for 24 hours:", highlight=False)
        console.print(f"    {url}/#setup={app.setup_secret}", highlight=False, soft_wrap=True)
        console.print("  or, in a terminal:    cloche setup LINK", highlight=False)
        console.print("  or, on this machine:  cloche users add EMAIL --role admin\n", highlight=False)
    sys.stderr.flush()
