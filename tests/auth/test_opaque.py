import re

import pytest

from cloche.auth.opaque import SecretKind, make_secret, read_secret
from cloche.errors import NotAuthenticatedError
from cloche.ids import RunId, TenantId

TENANT = TenantId.new("lab")


@pytest.mark.parametrize("kind", SecretKind)
def test_a_secret_is_looked_up_by_its_tenant_and_digest(kind: SecretKind) -> None:
    text, stored = make_secret(kind, TENANT)

    assert read_secret(kind, text) == stored
    assert stored.tenant_id == TENANT
    assert len(stored.digest) == 32


def test_a_secret_is_legal_in_a_websocket_subprotocol() -> None:
    text, _ = make_secret(SecretKind.TICKET, TENANT)

    assert re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", text)


def test_no_two_secrets_are_equal_and_none_is_shown() -> None:
    texts = {make_secret(SecretKind.REFRESH, TENANT)[0] for _ in range(100)}
    _, stored = make_secret(SecretKind.REFRESH, TENANT)

    assert len(texts) == 100
    assert stored.digest.hex() not in repr(stored)
    assert repr(stored.digest) not in repr(stored)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: None,
        lambda text: text.encode(),
        lambda text: "",
        lambda text: text + " ",
        lambda text: text + "\n",
        lambda text: text[:-1],
        lambda text: text + "A",
        lambda text: text.replace("cr.", "ct.", 1),
        lambda text: text.replace("cr.", "CR.", 1),
        lambda text: text.replace("cr.", "", 1),
        lambda text: text.replace(str(TENANT), "", 1),
        lambda text: text.replace(str(TENANT), str(RunId.new()), 1),
        lambda text: text.replace(str(TENANT), "tenant_nonsense", 1),
        lambda text: text.replace(str(TENANT), "x" * 5000, 1),
        lambda text: text.replace(".", "/", 1),
    ],
)
def test_what_is_no_such_secret_is_refused_before_any_look_up(change) -> None:
    text, _ = make_secret(SecretKind.REFRESH, TENANT)

    with pytest.raises(NotAuthenticatedError):
        read_secret(SecretKind.REFRESH, change(text))


def test_one_other_character_is_another_secret() -> None:
    text, stored = make_secret(SecretKind.REFRESH, TENANT)
    changed = text[:-1] + ("B" if text[-1] == "A" else "A")

    assert read_secret(SecretKind.REFRESH, changed).digest != stored.digest
