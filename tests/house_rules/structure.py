"""Structure: what is reached, what only passes on, what is too big, who may call what."""

import ast
from collections.abc import Iterable, Mapping

from house_rules.source import Definition, Function, Source, dotted, last_names

FILE_LINES = 500
FUNCTION_LINES = 60
CLASS_METHODS = 15
PROTOCOL_METHODS = 7
POSITIONAL = 5

# What ruff's TID251 lets these modules do, because it can only be switched off for a whole file.
OWNED_CALLS = {
    "time": frozenset({"cloche.clock", "cloche.ids"}),
    "uuid": frozenset({"cloche.ids"}),
    "environment": frozenset({"cloche.settings"}),
    "task": frozenset[str](),
}
_KIND_OF_CALL = {
    "time.time": "time",
    "time.time_ns": "time",
    "time.monotonic": "time",
    "time.monotonic_ns": "time",
    "time.perf_counter": "time",
    "time.perf_counter_ns": "time",
    "datetime.now": "time",
    "datetime.datetime.now": "time",
    "uuid.uuid4": "uuid",
    "uuid4": "uuid",
    "os.environ": "environment",
    "os.getenv": "environment",
    "asyncio.create_task": "task",
    "asyncio.ensure_future": "task",
    "asyncio.wait_for": "task",
}


def imported_modules(source: Source, known: frozenset[str]) -> set[str]:
    """The modules of the program that this one imports, at any depth of its code."""
    names: set[str] = set()
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    reached = {name for name in names if name in known}
    for name in list(reached):  # to import a module is to import the packages around it
        parts = name.split(".")
        reached |= {".".join(parts[:length]) for length in range(1, len(parts))} & known
    return reached


def unreachable(sources: Iterable[Source], roots: Iterable[str], allowed: Mapping[str, str]) -> list[str]:
    """Modules that no root imports, directly or through others."""
    by_name = {source.module: source for source in sources}
    known = frozenset(by_name)
    waiting = [name for name in [*roots, *allowed] if name in known]
    reached: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += imported_modules(by_name[name], known)
    missing = [f"{name} is named as a root, but there is no such module" for name in roots if name not in known]
    return missing + [f"{name} is reached from nowhere" for name in sorted(known - reached)]


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_passing_on(node: ast.stmt) -> bool:
    match node:
        case ast.Import() | ast.ImportFrom():
            return True
        case ast.If(test=test, body=body):
            return dotted(test).endswith("TYPE_CHECKING") and all(map(_is_passing_on, body))
        case ast.Assign(targets=[ast.Name(id=target)], value=value):
            return target == "__all__" or isinstance(value, ast.Name | ast.Attribute)
        case _:
            return _is_docstring(node)


def only_passes_on(source: Source) -> list[str]:
    """A module other than a package's own that only imports, to be imported from."""
    imports = [node for node in source.tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    if not source.is_package and imports and all(map(_is_passing_on, source.tree.body)):
        return [source.at(1, "the module only passes on what others define")]
    return []


def logic_in_package(source: Source) -> list[str]:
    """Statements of an ``__init__`` that are neither imports nor the list of names."""

    def is_wanted(node: ast.stmt) -> bool:
        if isinstance(node, ast.Assign):
            return all(isinstance(target, ast.Name) and target.id.startswith("__") for target in node.targets)
        return _is_passing_on(node)

    if not source.is_package:
        return []
    return [
        source.at(node, "a package's __init__ only lists names") for node in source.tree.body if not is_wanted(node)
    ]


def _body_lines(node: Function) -> int:
    documented = _is_docstring(node.body[0])
    docstring = (node.body[0].end_lineno or 0) - node.body[0].lineno + 1 if documented else 0
    return (node.end_lineno or 0) - node.lineno + 1 - docstring


def _public_methods(node: ast.ClassDef) -> set[str]:
    return {
        method.name
        for method in node.body
        if isinstance(method, Function)
        and not method.name.startswith("_")
        and not last_names(method.decorator_list) & {"property", "cached_property", "setter"}
    }


def _positional(node: Function) -> int:
    names = [argument.arg for argument in [*node.args.posonlyargs, *node.args.args]]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def _too_big(node: Definition) -> Iterable[str]:
    if isinstance(node, Function):
        if _body_lines(node) > FUNCTION_LINES:
            yield f"{node.name} has {_body_lines(node)} lines (at most {FUNCTION_LINES})"
        if _positional(node) > POSITIONAL:
            yield f"{node.name} takes {_positional(node)} positional arguments (at most {POSITIONAL}; name the others)"
    else:
        limit = PROTOCOL_METHODS if "Protocol" in last_names(node.bases) else CLASS_METHODS
        if (count := len(_public_methods(node))) > limit:
            yield f"{node.name} has {count} public methods (at most {limit})"


def too_big(source: Source) -> list[str]:
    """Functions, classes and protocols beyond the sizes of the house."""
    return [source.at(node, complaint) for node in source.definitions for complaint in _too_big(node)]


def too_long(source: Source, allowed: Mapping[str, tuple[int, str]]) -> list[str]:
    """A file of too many lines, or one whose place on the allow-list has become too large."""
    lines = len(source.text.splitlines())
    limit, _reason = allowed.get(source.module, (FILE_LINES, ""))
    if lines > limit:
        return [f"{source.module} has {lines} lines (at most {limit})"]
    if source.module in allowed and lines <= FILE_LINES:
        return [f"{source.module} has {lines} lines: take it off the allow-list"]
    return []


def calls_of_others(source: Source, owned: Mapping[str, frozenset[str]]) -> list[str]:
    """Uses of time, identity, environment and tasks outside the module that owns them."""
    found: list[str] = []
    for node in ast.walk(source.tree):
        name = dotted(node) if isinstance(node, ast.Attribute | ast.Name) else ""
        kind = _KIND_OF_CALL.get(name)
        if kind and source.module not in owned[kind]:
            found.append(source.at(node, f"{name} belongs to {', '.join(sorted(owned[kind])) or 'nobody'}"))
    return found


def count_calls(sources: Iterable[Source], name: str) -> int:
    """How often a name is called."""
    nodes = (node for source in sources for node in ast.walk(source.tree))
    return sum(isinstance(node, ast.Call) and dotted(node.func).rpartition(".")[2] == name for node in nodes)
