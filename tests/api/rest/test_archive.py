"""The zip file that grows while it is sent."""

from __future__ import annotations

import io
import zipfile
from collections.abc import AsyncGenerator
from datetime import UTC, datetime

from cloche.api.rest.archive import PIECE_BYTES, GrowingArchive

AT = datetime(2031, 2, 3, 4, 5, 6, tzinfo=UTC)


async def pieces(*content: bytes) -> AsyncGenerator[bytes]:
    for piece in content:
        yield piece


async def test_what_comes_out_is_a_zip_of_what_went_in():
    archive, sent = GrowingArchive(AT), b""
    files = {"a.txt": (b"one ", b"two"), "folder/ü.json": (b"{}",), "empty": ()}
    for name, content in files.items():
        async for piece in archive.add(name, pieces(*content)):
            sent += piece
    sent += archive.close()

    found = zipfile.ZipFile(io.BytesIO(sent))

    assert found.testzip() is None
    assert {name: found.read(name) for name in found.namelist()} == {
        name: b"".join(content) for name, content in files.items()
    }
    assert {about.date_time for about in found.infolist()} == {(2031, 2, 3, 4, 5, 6)}


async def test_no_more_is_held_than_a_piece():
    archive, largest = GrowingArchive(AT), 0
    noise = bytes(range(256)) * 256
    total = 0

    async def content() -> AsyncGenerator[bytes]:
        for number in range(200):
            yield bytes(byte ^ (number * byte) & 0xFF for byte in noise[:4096]) * 64

    async for piece in archive.add("large", content()):
        largest = max(largest, len(piece))
        total += len(piece)

    assert total + len(archive.close()) > 0
    assert largest <= 2 * PIECE_BYTES
