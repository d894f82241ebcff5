"""A scope says for whom a call works and what it may do."""

from __future__ import annotations

import pytest

from cloche.domain.permissions import Permission
from cloche.domain.scope import Principal, Scope
from cloche.errors import PermissionDeniedError
from cloche.ids import SessionId, TenantId, UserId


def scope_with(*permissions: str) -> Scope:
    return Scope(tenant_id=TenantId.new(), user_id=UserId.new(), permissions=frozenset(permissions))


def test_what_is_granted_may_be_done():
    scope = scope_with("runs:read", "runs:write")

    scope.require(Permission.RUNS_READ)
    scope.require("runs:write")


@pytest.mark.parametrize("granted", [(), ("runs:read",), ("runs",), ("runs:writes",), ("RUNS:WRITE",), ("*",)])
def test_what_is_not_granted_is_refused_by_name(granted: tuple[str, ...]):
    with pytest.raises(PermissionDeniedError) as refused:
        scope_with(*granted).require(Permission.RUNS_WRITE)

    assert refused.value.message == "the permission runs:write is not granted"
    assert refused.value.details == {"permission": "runs:write"}


def test_a_scope_may_do_nothing_by_itself():
    assert Scope(tenant_id=TenantId.new(), user_id=UserId.new()).permissions == frozenset()


def test_a_principal_does_not_tell_its_address():
    principal = Principal(
        tenant_id=TenantId.new(),
        user_id=UserId.new(),
        session_id=SessionId.new(),
        email="ada@example.org",
        role="member",
    )

    assert "ada@example.org" not in repr(principal)
