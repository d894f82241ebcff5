"""Passwords: what may be one, and Argon2id away from the event loop."""

from __future__ import annotations

import asyncio
import base64
import secrets
import unicodedata
from collections.abc import Callable
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from cloche.errors import InvalidInputError, RateLimitedError

T = TypeVar("T")

MIN_LENGTH = 12
MAX_LENGTH = 1024


def check_password(password: object, *, email: str, place: str = "$.password") -> str:
    """The same password, when it may be one. Any characters are welcome; only length and the own address count.

    Args:
        password: 12 to 1024 characters.
        email: the user's normalised address, which is no password.
        place: where in the request the password stands, for the error.

    Raises:
        InvalidInputError: it may not; ``details`` names the place, and never the password.
    """
    if not isinstance(password, str) or not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise InvalidInputError(
            f"a password has {MIN_LENGTH} to {MAX_LENGTH} characters",
            details={"place": place, "min": MIN_LENGTH, "max": MAX_LENGTH},
        )
    if any(unicodedata.category(character) == "Cs" for character in password):
        raise InvalidInputError("a password is Unicode text without lone surrogates", details={"place": place})
    if password.strip().casefold() == email:
        raise InvalidInputError("a password must not be the e-mail address", details={"place": place})
    return password


class Passwords:
    """Makes and checks password hashes, a few at a time, in threads.

    Args:
        hasher: the Argon2id parameters; RFC 9106's second recommendation by default.
        concurrency: how many hashes are computed at the same time; each takes the hasher's memory.
        max_waiting: how many more may wait; beyond that a call is refused at once.

    Source: https://www.rfc-editor.org/rfc/rfc9106#section-4
    """

    def __init__(self, *, hasher: PasswordHasher | None = None, concurrency: int = 2, max_waiting: int = 64) -> None:
        self._hasher = hasher or PasswordHasher()
        self._slots = asyncio.Semaphore(concurrency)
        self._bound = concurrency + max_waiting
        self._inside = 0
        self._nobodys_hash = _unmatchable_hash(self._hasher)

    async def hash(self, password: str) -> str:
        """A new hash of the password, which ``verify`` accepts.

        Raises:
            RateLimitedError: too many passwords wait already.
        """
        return await self._in_thread(lambda: self._hasher.hash(_encoded(password)))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether the password is the one of the hash. Without a hash it takes as long, and is False.

        Raises:
            RateLimitedError: too many passwords wait already.
        """
        return await self._in_thread(lambda: self._matches(stored or self._nobodys_hash, password))

    def needs_rehash(self, stored: str) -> bool:
        """Whether the hash was made with other parameters than new ones are."""
        return self._hasher.check_needs_rehash(stored)

    def _matches(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, _encoded(password))
        except (VerificationError, InvalidHashError):
            return False

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._inside >= self._bound:
            raise RateLimitedError("too many sign-ins at the same time; try again in a moment", retry_after_s=1)
        self._inside += 1
        try:
            await self._slots.acquire()
        except asyncio.CancelledError:
            self._inside -= 1
            raise
        # Who goes away does not free the slot: the thread goes on, and only its end makes room for the next.
        future = asyncio.get_running_loop().run_in_executor(None, work)
        future.add_done_callback(self._leave)
        return await asyncio.shield(future)

    def _leave(self, _: asyncio.Future[T]) -> None:
        self._inside -= 1
        self._slots.release()


def _encoded(password: str) -> bytes:
    """Bytes to hash: the same for each way in which keyboards compose a character."""
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")


def _unmatchable_hash(hasher: PasswordHasher) -> str:
    """A hash which costs what a real one costs and which nobody knows a password of."""
    salt, digest = (_unpadded(secrets.token_bytes(size)) for size in (hasher.salt_len, hasher.hash_len))
    costs = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    return f"$argon2id$v=19${costs}${salt}${digest}"


def _unpadded(raw: bytes) -> str:
    return base64.b64encode(raw).decode().rstrip("=")
