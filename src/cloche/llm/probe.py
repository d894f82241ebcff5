"""Whether the configured model can be used now: asked for readiness, answered without spending a token."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import httpx2

if TYPE_CHECKING:
    from datetime import datetime
    from types import TracebackType

    from cloche.clock import Clock
    from cloche.errors import ModelError
    from cloche.llm.config import ModelConfig

TIMEOUT_S = 2.0
FRESH_S = 10.0
_MAX_LIST_BYTES = 4 * 1024 * 1024
_OK = 200
_NO_SUCH_PAGE = 404


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """What is known of the model. ``ok`` is None while nothing is known; ``detail`` names no key and no address."""

    ok: bool | None
    detail: str
    latency_ms: float | None
    checked_at: datetime | None


class ModelProbe:
    """Answers whether the model can be used.

    An OpenAI-compatible server is asked for its list of models, which costs nothing; the scripted model is always
    there; of any other provider, the last call tells, because asking would cost money.
    """

    def __init__(self, config: ModelConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._client: httpx2.AsyncClient | None = None
        self._flight = asyncio.Lock()
        self._fresh_until = float("-inf")
        self._last = ProbeResult(ok=None, detail="no call was made yet", latency_ms=None, checked_at=None)

    async def __aenter__(self) -> Self:
        if self._config.address is not None:
            # Making the first one reads certificates and parts of the library from the disk.
            self._client = await asyncio.to_thread(httpx2.AsyncClient, timeout=TIMEOUT_S)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def check(self) -> ProbeResult:
        """The present state; at most ``FRESH_S`` old, and asked once however many callers wait for it.

        Cancellation: safe; another caller that waits asks instead.
        """
        if self._config.is_scripted:
            return self._result(ok=True, detail="scripted: no language model is configured", latency_ms=0.0)
        if self._config.address is None:
            return self._last
        async with self._flight:
            if self._clock.monotonic() >= self._fresh_until:
                self._last = await self._ask(self._config.address)
                self._fresh_until = self._clock.monotonic() + FRESH_S
            return self._last

    def record_success(self) -> None:
        """The model has just answered a request."""
        if self._config.address is None:
            self._last = self._result(ok=True, detail="the last call succeeded", latency_ms=None)

    def record_failure(self, error: ModelError) -> None:
        """A request to the model has just failed."""
        if self._config.address is None:
            self._last = self._result(ok=False, detail=f"the last call failed: {error.message}", latency_ms=None)

    async def _ask(self, address: str) -> ProbeResult:
        started = self._clock.monotonic()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                ok, detail = await self._fetch(f"{address}/models")
        except (TimeoutError, httpx2.TimeoutException):
            ok, detail = False, f"no answer within {TIMEOUT_S:g} s"
        except (httpx2.HTTPError, httpx2.StreamError):
            ok, detail = False, "the provider cannot be reached"
        return self._result(ok=ok, detail=detail, latency_ms=(self._clock.monotonic() - started) * 1000)

    async def _fetch(self, url: str) -> tuple[bool, str]:
        assert self._client is not None, "the probe is used inside `async with`"
        key = self._config.api_key
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        async with self._client.stream("GET", url, headers=headers) as response:
            if response.status_code == _NO_SUCH_PAGE:
                return True, "the provider answers; it has no list of models"
            if response.status_code != _OK:
                return False, f"the provider answered with HTTP {response.status_code}"
            body = bytearray()
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > _MAX_LIST_BYTES:
                    return True, "the provider answers"
            return True, _listed(bytes(body), self._config.model)

    def _result(self, *, ok: bool, detail: str, latency_ms: float | None) -> ProbeResult:
        return ProbeResult(ok=ok, detail=detail, latency_ms=latency_ms, checked_at=self._clock.now())


def _listed(body: bytes, model: str) -> str:
    try:
        names = {entry["id"] for entry in json.loads(body)["data"]}
    except (ValueError, TypeError, KeyError):
        return "the provider answers; its list of models cannot be read"
    # A hint only: servers answer to names, such as Ollama's without a tag, that they do not list.
    return "the provider answers" if model in names else "the provider answers; its list does not name the model"
