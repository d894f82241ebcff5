"""Which repositories there are: found, not listed, so that none is forgotten."""

from __future__ import annotations

import inspect
import pkgutil
from functools import cache
from importlib import import_module
from typing import get_args, get_type_hints

from cloche import storage
from cloche.domain.scope import Scope
from cloche.ids import TenantId
from cloche.storage.database import Transaction
from cloche.storage.schema import upgrade_statements
from cloche.testing.contracts.population import AnyRow


def scoped_repositories() -> list[type[object]]:
    """Every class of the storage floor that is made from a ``Scope``, by name."""
    found: dict[str, type[object]] = {}
    for module in pkgutil.iter_modules(storage.__path__, f"{storage.__name__}."):
        if module.ispkg:
            continue
        found |= {
            name: kind
            for name, kind in inspect.getmembers(import_module(module.name), inspect.isclass)
            if kind.__module__ == module.name and _is_made_from_a_scope(kind)
        }
    return [found[name] for name in sorted(found)]


def public_methods(repository: type[object]) -> frozenset[str]:
    """The names that callers may use."""
    return frozenset(name for name, _ in inspect.getmembers(repository, inspect.isfunction) if not name.startswith("_"))


@cache
def table_names() -> tuple[str, ...]:
    """Every table of the schema that holds tenants' rows, the tenants' own included."""
    words = upgrade_statements("sqlite", None).split("CREATE TABLE ")[1:]
    return tuple(sorted({word.split()[0] for word in words} - {"schema_migrations"}))


async def rows_of_tenant(tx: Transaction, table: str, tenant_id: TenantId) -> set[AnyRow]:
    """Every row of one of ``table_names`` that belongs to the tenant."""
    key = "id" if table == "tenants" else "tenant_id"
    sql = f"SELECT * FROM {table} WHERE {key} = ?"  # noqa: S608 -- the table's name is the schema's own
    return set(await tx.fetch(AnyRow, sql, str(tenant_id)))


def _is_made_from_a_scope(kind: type[object]) -> bool:
    init = vars(kind).get("__init__")
    if not inspect.isfunction(init):
        return False
    hints = get_type_hints(init).values()
    return any(hint is Scope or Scope in get_args(hint) for hint in hints)
