"""What is granted is allowed, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.domain.permissions import ROLE_PERMISSIONS, Permission, Role, decide, permissions_of
from cloche.domain.scope import Principal, Scope
from cloche.errors import PermissionDeniedError
from cloche.ids import SessionId, TenantId, UserId

names = st.sampled_from([str(permission) for permission in Permission])


@given(st.frozensets(names), names | st.text(max_size=20))
def test_exactly_what_is_granted_is_allowed(granted: frozenset[str], needed: str):
    decision = decide(granted, needed)

    assert decision.allowed is (needed in granted)
    assert needed in decision.reason


@given(names)
def test_a_part_of_a_permission_or_a_pattern_grants_nothing(permission: str):
    area = permission.split(":", maxsplit=1)[0]

    assert not decide(frozenset({area, f"{area}:", f"{area}:*", "*", permission.upper()}), permission).allowed


def test_a_member_has_no_right_of_an_administrator_and_runs_no_external_tool():
    member = permissions_of(Role.MEMBER)

    assert not [name for name in member if name.startswith("admin:")]
    assert Permission.TOOLS_EXTERNAL not in member
    assert Permission.METRICS_READ not in member


def test_an_administrator_has_every_permission():
    assert permissions_of(Role.ADMIN) == {str(permission) for permission in Permission}


def test_every_role_has_its_permissions():
    assert set(ROLE_PERMISSIONS) == set(Role)


def test_a_grant_by_name_is_added_to_the_role():
    granted = permissions_of(Role.MEMBER, frozenset({"tools:external"}))

    assert granted - permissions_of(Role.MEMBER) == {"tools:external"}


def test_a_scope_without_permissions_is_denied_everything_and_told_what_is_missing():
    scope = Scope(tenant_id=TenantId.new(), user_id=UserId.new())

    for permission in Permission:
        with pytest.raises(PermissionDeniedError, match=str(permission)) as refused:
            scope.require(permission)
        assert refused.value.details == {"permission": str(permission)}


def test_a_granted_permission_lets_the_call_go_on():
    scope = Scope(tenant_id=TenantId.new(), user_id=UserId.new(), permissions=permissions_of(Role.MEMBER))

    scope.require(Permission.THREADS_READ)


def test_a_principal_does_not_print_its_address():
    principal = Principal(
        tenant_id=TenantId.new(),
        user_id=UserId.new(),
        session_id=SessionId.new(),
        email="ada@example.org",
        role="member",
    )

    assert "ada@example.org" not in repr(principal)
