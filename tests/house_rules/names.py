"""Names: words that say nothing, words of a program that knows it is tested, and things defined twice."""

import ast
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import pairwise

from house_rules.source import Function, Source, last_names, split_words

_REFUSED = """
manager helper util processor service factory base core common misc data info unified canonical enhanced advanced simple
smart new old legacy compat v2 v3 final real ssot emergency handler
"""
_TESTING = """
pytest unittest hypothesis mock mocked mocks mocking monkeypatch bypass bypassed bypasses bypassing staging
"""
REFUSED = frozenset(_REFUSED.split())
TESTING = frozenset(_TESTING.split())
TESTING_PAIRS = frozenset({("is", "test"), ("is", "testing"), ("in", "test"), ("test", "mode"), ("skip", "auth")})


def _singular(word: str) -> str:
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word.removesuffix("s")


def _refused_word(name: str) -> str | None:
    words = split_words(name)
    return next((word for word in words if word in REFUSED or _singular(word) in REFUSED), None)


def _may_be_called_so(node: ast.AST, word: str) -> bool:
    if isinstance(node, Function):
        return word in {"handler", "handlers"}  # a callback is a handler
    if isinstance(node, ast.ClassDef) and word == "base":
        return bool(last_names([*node.bases, *(keyword.value for keyword in node.keywords)]) & {"ABC", "ABCMeta"})
    return False


def refused_names(source: Source, allowed: Mapping[str, str]) -> list[str]:
    """Names of modules, classes and functions that hold a word which says nothing."""
    found: list[str] = []
    word = _refused_word(source.module.rpartition(".")[2])
    if word and source.module not in allowed:
        found.append(source.at(1, f"the module's name says {word!r}, which says nothing"))
    for node in source.definitions:
        is_dunder = node.name.startswith("__") and node.name.endswith("__")
        word = None if is_dunder else _refused_word(node.name)
        if word and not _may_be_called_so(node, word) and f"{source.module}.{node.name}" not in allowed:
            found.append(source.at(node, f"the name {node.name} says {word!r}, which says nothing"))
    return found


def testing_words(source: Source) -> list[str]:
    """Lines of the program that know of tests or of ways round a check."""
    found: list[str] = []
    for number, line in enumerate(source.text.splitlines(), 1):
        words = split_words(line)
        pairs = set(pairwise(words)) & TESTING_PAIRS
        found += [source.at(number, f"the program says {word!r}") for word in words if word in TESTING]
        found += [source.at(number, f"the program says {'_'.join(pair)!r}") for pair in sorted(pairs)]
    return found


def _backend_family(module: str, backends: Iterable[frozenset[str]]) -> frozenset[str] | None:
    return next((family for family in backends if any(f"{module}.".startswith(f"{one}.") for one in family)), None)


def defined_twice(
    sources: Iterable[Source], backends: Iterable[frozenset[str]], allowed: Mapping[str, str]
) -> list[str]:
    """Public names that more than one module defines, siblings behind one interface left out."""
    homes: defaultdict[str, list[str]] = defaultdict(list)
    for source in sources:
        for name in dict.fromkeys(node.name for node in source.public):
            homes[name].append(source.module)
    found: list[str] = []
    for name, modules in sorted(homes.items()):
        families = {_backend_family(module, backends) for module in modules}
        are_siblings = len(families) == 1 and None not in families
        if len(modules) > 1 and not are_siblings and name not in allowed:
            found.append(f"{name} is defined in {' and in '.join(modules)}")
    return found
