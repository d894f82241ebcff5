"""Reading the source: files, modules, words of a name."""

import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src"

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.ClassDef


@dataclass(frozen=True)
class Source:
    """One module: its dotted name and its text."""

    module: str
    text: str
    is_package: bool = False

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def comments(self) -> list[tuple[int, str]]:
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        return [(token.start[0], token.string) for token in tokens if token.type == tokenize.COMMENT]

    @property
    def definitions(self) -> Iterator[Definition]:
        """Every class and function, at any depth."""
        return (node for node in ast.walk(self.tree) if isinstance(node, Definition))

    @property
    def public(self) -> Iterator[Definition]:
        """The classes and functions that other modules may name."""
        return (node for node in self.tree.body if isinstance(node, Definition) and not node.name.startswith("_"))

    def at(self, node: ast.AST | int, complaint: str) -> str:
        line = node if isinstance(node, int) else getattr(node, "lineno", 0)
        return f"{self.module}:{line}: {complaint}"


def sample(text: str, module: str = "cloche.domain.sample", *, is_package: bool = False) -> Source:
    """A module that exists only in a test of a rule."""
    return Source(module=module, text=text, is_package=is_package)


def read_source() -> list[Source]:
    """Every module of the program."""
    found: list[Source] = []
    for path in sorted(SRC.rglob("*.py")):
        parts = path.relative_to(SRC).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        module = ".".join(parts[:-1] if is_package else parts)
        found.append(Source(module=module, text=path.read_text(encoding="utf-8"), is_package=is_package))
    return found


def read_repository() -> dict[str, bytes]:
    """Every file that is committed or would be, by its path."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout.decode()
    paths = [ROOT / name for name in listing.split("\0") if name]
    return {str(path.relative_to(ROOT)): path.read_bytes() for path in paths if path.is_file()}


def split_words(name: str) -> list[str]:
    """The words of a snake_case or CamelCase name, in lower case."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return [word.lower() for word in re.split(r"[^A-Za-z0-9]+", spaced) if word]


def dotted(node: ast.expr) -> str:
    """``a.b.c`` of such an expression, with subscripts and calls left out; "" for any other."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=attr):
            return f"{dotted(value)}.{attr}".lstrip(".")
        case ast.Subscript(value=inner) | ast.Call(func=inner):
            return dotted(inner)
        case _:
            return ""


def last_names(nodes: list[ast.expr]) -> set[str]:
    """The last names of such expressions: of ``typing.Protocol[T]`` it is ``Protocol``."""
    return {dotted(node).rpartition(".")[2] for node in nodes}
