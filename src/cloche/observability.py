"""Where log lines and spans go: structlog on standard error, OpenTelemetry when an endpoint is set."""

from __future__ import annotations

import contextlib
import json
import logging
import resource
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import cast

import msgspec
import structlog
from structlog.typing import Processor

from cloche.settings import TelemetrySettings
from cloche.telemetry import LogMemory, SpanMaker, Telemetry

# uvicorn tells of every upgrade that we refused as if it were a fault of ours.
# It may go when https://github.com/Kludex/uvicorn/pull/3138 is in the release that we need.
_NOT_TRUE = "ASGI callable returned without completing handshake."
# Source: https://man7.org/linux/man-pages/man5/proc_pid_statm.5.html
_STATM = Path("/proc/self/statm")
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def make_telemetry(
    settings: TelemetrySettings, version: str, memory: LogMemory
) -> tuple[Telemetry, Callable[[], None]]:
    """The telemetry of these settings, and what flushes and closes it at the end.

    ``memory`` remembers the lines about runs, whatever level is written.

    Lines of libraries (through ``logging``) take the same way and have the same form.
    """
    is_console = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    _route_libraries(
        shared,
        structlog.dev.ConsoleRenderer() if is_console else structlog.processors.JSONRenderer(),
        _LEVELS[settings.log_level],
    )
    logger = cast(
        "structlog.typing.FilteringBoundLogger",
        structlog.wrap_logger(
            structlog.PrintLogger(sys.stderr) if is_console else structlog.BytesLogger(sys.stderr.buffer),
            processors=[
                *shared,
                structlog.dev.ConsoleRenderer() if is_console else structlog.processors.JSONRenderer(_as_line),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[settings.log_level]),
        ),
    ).bind()

    def sink(level: str, event: str, fields: Mapping[str, object]) -> None:
        # Whoever read the log may be gone (a closed pipe, a full disk); the server goes on without it.
        with contextlib.suppress(OSError, ValueError):
            match level:
                case "info":
                    logger.info(event, **fields)
                case "warning":
                    logger.warning(event, **fields)
                case _:
                    logger.error(event, **fields)

    span_maker, close = _spans(settings, version)
    return Telemetry(memory.beside(sink), span_maker), close


def memory_bytes() -> int | None:
    """What this process holds of the machine's memory; None where the system does not tell. Reads a file."""
    try:
        pages = int(_STATM.read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * resource.getpagesize()


def _as_line(fields: Mapping[str, object], **_options: object) -> bytes:
    try:
        return msgspec.json.encode(fields, enc_hook=str)
    except UnicodeEncodeError:
        # Half a character in the text of somebody's error; the slower encoder writes it as an escape.
        return json.dumps(fields, default=str).encode()


def _route_libraries(shared: list[Processor], renderer: Processor, level: int) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    handler.addFilter(lambda record: record.msg != _NOT_TRUE)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.WARNING))


def _nothing() -> None:
    return


def _spans(settings: TelemetrySettings, version: str) -> tuple[SpanMaker | None, Callable[[], None]]:
    if settings.otlp_endpoint is None:
        return None, _nothing
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 -- its import costs 0.1 s
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 -- needed only where spans are wanted
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 -- needed only where spans are wanted
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 -- needed only where spans are wanted

    provider = TracerProvider(resource=Resource.create({"service.name": "cloche", "service.version": version}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=settings.otlp_endpoint)))
    tracer = provider.get_tracer("cloche", version)

    def span(name: str, attributes: Mapping[str, str]) -> AbstractContextManager[object]:
        return tracer.start_as_current_span(name, attributes=attributes)

    return span, provider.shutdown
