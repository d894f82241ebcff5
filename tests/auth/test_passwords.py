import asyncio
import threading
import unicodedata

import pytest
from argon2 import PasswordHasher, extract_parameters

from cloche.auth.passwords import Passwords, check_password
from cloche.errors import InvalidInputError, RateLimitedError

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
EMAIL = "ada.lovelace@example.org"


class HeldHasher(PasswordHasher):
    """A real hasher that stands at a gate, so that one side of a race can be held."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.gate = threading.Event()
        self.entered = threading.Semaphore(0)
        self.lock = threading.Lock()
        self.inside = 0
        self.most = 0

    def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        self.entered.release()
        self.gate.wait(10)
        with self.lock:
            self.inside -= 1
        return super().hash(password, salt=salt)


@pytest.mark.parametrize(
    "password",
    [
        "123456789012",
        "            ",
        "pässwörter 🔑",
        "\x00" * 12,
        "a" * 1024,
        "ada.lovelace@example.org!",
        "кириллица и ещё",
    ],
)
def test_any_characters_make_a_password(password: str) -> None:
    assert check_password(password, email=EMAIL) == password


@pytest.mark.parametrize(
    "password",
    [
        None,
        123456789012,
        b"123456789012",
        "",
        "12345678901",
        "a" * 1025,
        "eleven chars"[:11],
        "lone surrogate \ud800",
        EMAIL,
        EMAIL.upper(),
        f" {EMAIL} ",
    ],
)
def test_what_may_not_be_a_password_is_refused_without_repeating_it(password: object) -> None:
    with pytest.raises(InvalidInputError) as refused:
        check_password(password, email=EMAIL)

    assert refused.value.details["place"] == "$.password"
    assert not password or str(password) not in f"{refused.value.message} {refused.value.details}"


async def test_the_right_password_matches_and_every_other_does_not() -> None:
    passwords = Passwords(hasher=CHEAP)

    stored = await passwords.hash("correct horse battery")

    assert stored.startswith("$argon2id$")
    assert await passwords.verify(stored, "correct horse battery")
    for other in ["", "Correct horse battery", "correct horse battery ", "correct horse batter\ud800", "\x00"]:
        assert not await passwords.verify(stored, other)


async def test_two_ways_to_compose_a_character_are_one_password() -> None:
    passwords = Passwords(hasher=CHEAP)
    stored = await passwords.hash(unicodedata.normalize("NFC", "crème brûlée, again"))

    assert await passwords.verify(stored, unicodedata.normalize("NFD", "crème brûlée, again"))


async def test_nobody_has_the_password_of_nobody() -> None:
    passwords = Passwords(hasher=CHEAP)

    assert not await passwords.verify(None, "correct horse battery")


def test_the_hash_of_nobody_costs_what_a_real_one_costs() -> None:
    hasher = PasswordHasher(time_cost=2, memory_cost=64, parallelism=3)

    assert extract_parameters(Passwords(hasher=hasher)._nobodys_hash) == extract_parameters(hasher.hash("x"))


@pytest.mark.parametrize("damaged", ["$argon2id$", "$argon2id$v=19$m=8,t=1,p=1$AAAA", "plain", "$2b$12$abcdef"])
async def test_a_damaged_hash_matches_nothing(damaged: str) -> None:
    assert not await Passwords(hasher=CHEAP).verify(damaged, "correct horse battery")


async def test_other_parameters_ask_for_a_new_hash() -> None:
    stored = await Passwords(hasher=CHEAP).hash("correct horse battery")

    assert not Passwords(hasher=CHEAP).needs_rehash(stored)
    assert Passwords(hasher=PasswordHasher(time_cost=2, memory_cost=8, parallelism=1)).needs_rehash(stored)


async def test_two_hashes_are_computed_at_a_time_and_the_others_wait() -> None:
    hasher = HeldHasher()
    passwords = Passwords(hasher=hasher)

    async with asyncio.TaskGroup() as tasks:
        hashes = [tasks.create_task(passwords.hash("correct horse battery")) for _ in range(6)]
        for _ in range(2):
            await asyncio.to_thread(hasher.entered.acquire)
        hasher.gate.set()

    assert hasher.most == 2
    assert len({task.result() for task in hashes}) == 6


async def test_who_comes_to_a_full_waiting_room_is_refused_at_once() -> None:
    hasher = HeldHasher()
    passwords = Passwords(hasher=hasher, concurrency=1, max_waiting=1)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(passwords.hash("correct horse battery"))
        await asyncio.to_thread(hasher.entered.acquire)
        tasks.create_task(passwords.hash("correct horse battery"))
        await asyncio.sleep(0)
        with pytest.raises(RateLimitedError) as refused:
            await passwords.hash("correct horse battery")
        hasher.gate.set()

    assert refused.value.retry_after_s == 1
    assert await passwords.verify(None, "x") is False


async def test_who_goes_away_makes_no_room_before_the_thread_has_ended() -> None:
    hasher = HeldHasher()
    passwords = Passwords(hasher=hasher, concurrency=1, max_waiting=1)

    async with asyncio.TaskGroup() as tasks:
        working = tasks.create_task(passwords.hash("correct horse battery"))
        await asyncio.to_thread(hasher.entered.acquire)
        waiting = tasks.create_task(passwords.hash("correct horse battery"))
        await asyncio.sleep(0)
        waiting.cancel()
        working.cancel()
        await asyncio.wait([working, waiting])
        next_one = tasks.create_task(passwords.hash("correct horse battery"))
        await asyncio.sleep(0)
        with pytest.raises(RateLimitedError):
            await passwords.hash("correct horse battery")
        assert hasher.inside == 1
        hasher.gate.set()

    assert hasher.most == 1
    assert next_one.result().startswith("$argon2id$")
