"""The repository: files that do not belong in it, and traces of one machine."""

import re
from collections.abc import Iterable

_ROOT_PROSE = frozenset(
    {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE", "AGENTS.md", "CODE_OF_CONDUCT.md"}
)
_STRAY = {
    r"(?:~|\.(?:bak|orig|rej|swp|swo|old|tmp|log|pyc|patch|diff))$": "a backup or a tool's output",
    r"(?:^|/)\.(?:DS_Store|idea|vscode)(?:/|$)": "of one person's editor",
    r"(?:[-_ .](?:backup|copy|old|new|final|v\d+)|[-_ ]\(?\d{1,2}\)?)\.(?:py|md|txt|json|toml|ya?ml|sh|ts|tsx)$": (
        "a numbered or second copy"
    ),
    r"(?:^|[^0-9])20\d\d[-_]?[01]\d[-_]?[0-3]\d(?:[^0-9]|$)": "dated",
    r"(?:^|[/_-])(?:reports?|summary|plans?|notes|todos?|status|progress|findings|analysis|worklog)\.(?:md|txt|rst)$": (
        "a report, a plan or a log"
    ),
}
_MACHINE = re.compile(r"(?<![\w.~}\])>*-])/(?:root|work|tmp|Users|home)/\w|\b[A-Z]:\\+Users\b|file:///\w")
_REGISTRY = re.compile(r"files\.pythonhosted\.org|pypi\.org/simple|registry\.npmjs\.org|--(?:extra-)?index-url")


def stray_files(paths: Iterable[str]) -> list[str]:
    """Paths of files that are nobody's source."""
    found: list[str] = []
    for path in paths:
        found += [
            f"{path} looks like {complaint}"
            for pattern, complaint in _STRAY.items()
            if re.search(pattern, path, re.IGNORECASE)
        ]
        is_prose = path.rpartition(".")[2].lower() in {"md", "rst", "txt"}
        if "/" not in path and is_prose and path not in _ROOT_PROSE:
            found.append(f"{path} is prose at the root, which holds only {', '.join(sorted(_ROOT_PROSE))}")
    return found


def traces_of_a_machine(path: str, content: bytes) -> list[str]:
    """Lines that name a folder of one machine, or an address of a package registry."""
    found: list[str] = []
    for number, line in enumerate(content.decode("utf-8", errors="replace").splitlines(), 1):
        found += [f"{path}:{number}: names the machine's {match[0]!r}" for match in _MACHINE.finditer(line)]
        found += [f"{path}:{number}: names the registry {match[0]!r}" for match in _REGISTRY.finditer(line)]
    return found
