"""Cloche, a multi-user agent server."""

__version__ = "0.1.0"
