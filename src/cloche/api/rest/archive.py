"""A zip file that is written while it is sent: what is held of it is one piece, and the list of its files."""

from __future__ import annotations

import zipfile
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import datetime
from typing import IO, cast

PIECE_BYTES = 64 * 1024

_LEVEL = 1


class _Outgoing:
    """What the zip writer has written and nobody has taken yet. It cannot seek, so each file's sizes come behind it."""

    def __init__(self) -> None:
        self._written = bytearray()

    def write(self, content: bytes) -> int:
        self._written += content
        return len(content)

    def flush(self) -> None:
        return

    def take(self) -> bytes:
        taken = bytes(self._written)
        self._written.clear()
        return taken


class GrowingArchive:
    """The files go in one after the other; after each piece of one, what became of it comes out.

    Source: https://docs.python.org/3/library/zipfile.html#zipfile.ZipFile (unseekable streams)
    """

    def __init__(self, at: datetime) -> None:
        self._out = _Outgoing()
        self._zip = zipfile.ZipFile(
            cast("IO[bytes]", self._out), "w", compression=zipfile.ZIP_DEFLATED, compresslevel=_LEVEL
        )
        self._at = (at.year, at.month, at.day, at.hour, at.minute, at.second)

    async def add(self, name: str, content: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        """The bytes of the file of this name, as its content comes."""
        about = zipfile.ZipInfo(name, self._at)
        about.compress_type = zipfile.ZIP_DEFLATED
        with self._zip.open(about, "w", force_zip64=True) as file:
            async for piece in content:
                for start in range(0, len(piece), PIECE_BYTES):
                    file.write(piece[start : start + PIECE_BYTES])
                    if taken := self._out.take():
                        yield taken
        yield self._out.take()

    def close(self) -> bytes:
        """The last bytes: the list of the files."""
        self._zip.close()
        return self._out.take()
