"""Renders migrations with Alembic, without a connection of Alembic's own."""

from __future__ import annotations

import io
from pathlib import Path

from alembic import command
from alembic.config import Config


def render(dialect: str, found: str | None, wanted: str) -> str:
    """The statements from revision ``found`` (None: an empty database) to ``wanted``, version row included."""
    buffer = io.StringIO()
    config = Config(output_buffer=buffer)
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    config.set_main_option("dialect", dialect)
    command.upgrade(config, f"{found or 'base'}:{wanted}", sql=True)
    return buffer.getvalue()
