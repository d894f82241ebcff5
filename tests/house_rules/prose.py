"""Prose: docstrings, comments and suppressions."""

import ast
import re

from house_rules.source import Source, split_words

_FILLING_WORDS = "a an the of for to from this that its it and or in on with class function method is"
_FILLING = frozenset(_FILLING_WORDS.split())
_HISTORY = {
    r"\bpreviously\b": "tells history",
    r"\bused to be\b": "tells history",
    r"\b(?:bug)?fix(?:es|ed)? for\b": "tells history",
    r"\bbackwards?[- ]compatib": "tells history",
    r"(?<![\w&/])#\d+\b": "has an issue's number without its address",
    r"^#+\s*[-=*#~]{4,}": "is a section banner",
    r"\b(?:author|created by|copyright)\s*:": "names an author",
}
_TO_DO = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b")
_DIRECTIVE = re.compile(r"#\s*(?P<kind>noqa|type:\s*ignore|pyright:\s*ignore|pragma:\s*no cover)(?P<rest>.*)")
_WHOLE_FILE = re.compile(r"#\s*(?:ruff:\s*noqa|flake8:|mypy:|pyright:\s*(?!ignore)|fmt:\s*(?:off|skip)|isort:)")
_CODES = {
    "noqa": re.compile(r"^:\s*[A-Z]+[0-9]+(?:\s*,\s*[A-Z]+[0-9]+)*"),
    "type: ignore": re.compile(r"^\[[\w-]+(?:\s*,\s*[\w-]+)*\]"),
    "pyright: ignore": re.compile(r"^\[\w+(?:\s*,\s*\w+)*\]"),
    "pragma: no cover": re.compile(r"^"),
}


def undocumented(source: Source) -> list[str]:
    """Public classes and functions without a docstring."""
    return [source.at(node, f"{node.name} has no docstring") for node in source.public if not ast.get_docstring(node)]


def repeats_the_name(source: Source) -> list[str]:
    """Docstrings that say no word which the name has not said."""
    found: list[str] = []
    for node in source.definitions:
        text = ast.get_docstring(node)
        if text is None:
            continue
        said = {word.removesuffix("s") for word in split_words(node.name)}
        words = {word.removesuffix("s") for word in split_words(text)} - {word.removesuffix("s") for word in _FILLING}
        if words <= said:
            found.append(source.at(node, f"the docstring of {node.name} only repeats the name"))
    return found


def _prose_lines(source: Source) -> list[tuple[int, str]]:
    lines = list(source.comments)
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node, clean=False)
            if text is not None:
                start = node.body[0].lineno
                lines += [(start + index, line) for index, line in enumerate(text.splitlines())]
    return lines


def history(source: Source) -> list[str]:
    """Comments and docstrings about the past, and wishes without an address."""
    found: list[str] = []
    for number, line in _prose_lines(source):
        found += [
            source.at(number, f"{line.strip()!r} {complaint}")
            for pattern, complaint in _HISTORY.items()
            if re.search(pattern, line, re.IGNORECASE)
        ]
        if _TO_DO.search(line) and "https://" not in line:
            found.append(source.at(number, f"{line.strip()!r} is a wish without an address"))
    return found


def suppressions(source: Source) -> list[tuple[int, str]]:
    """Comments that switch a check off, with their lines."""
    return [(number, text) for number, text in source.comments if _DIRECTIVE.search(text) or _WHOLE_FILE.search(text)]


def bad_suppressions(source: Source) -> list[str]:
    """Suppressions without a code or without a reason, or of a whole file."""
    found: list[str] = []
    for number, text in suppressions(source):
        match = _DIRECTIVE.search(text)
        if match is None:
            found.append(source.at(number, f"{text!r} switches a check off for a whole file or block"))
            continue
        kind = re.sub(r":\s*", ": ", match["kind"])
        code = _CODES[kind].match(match["rest"])
        if code is None:
            found.append(source.at(number, f"{text!r} has no code"))
        elif len(re.findall(r"\w{2,}", match["rest"][code.end() :])) < 2:
            found.append(source.at(number, f"{text!r} has no reason"))
    return found
