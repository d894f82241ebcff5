import json
import os
import stat
from pathlib import Path

import pytest
from joserfc.jwk import OctKey, OKPKey

from cloche.auth.keys import SigningKeys, _write_next, add_key, load_keys, make_key
from cloche.errors import ConfigurationError


def test_the_first_start_makes_a_key_that_only_this_user_may_read(tmp_path: Path) -> None:
    folder = tmp_path / "keys"

    keys = load_keys(folder)

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [path.name for path in folder.iterdir()] == ["0001.json"]
    assert stat.S_IMODE((folder / "0001.json").stat().st_mode) == 0o600
    assert keys.signing_key.is_private


def test_a_liberal_umask_opens_nothing(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        load_keys(tmp_path / "keys")
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "keys" / "0001.json").stat().st_mode) == 0o600


def test_the_next_start_finds_the_same_key(tmp_path: Path) -> None:
    first = load_keys(tmp_path / "keys")

    second = load_keys(tmp_path / "keys")

    assert second.kid == first.kid == second.signing_key.thumbprint()


def test_the_newest_key_signs_and_all_verify(tmp_path: Path) -> None:
    first = load_keys(tmp_path / "keys")

    both = add_key(tmp_path / "keys")

    assert both.kid != first.kid
    assert both.find(first.kid) is not None
    assert both.find(both.kid) == both.signing_key
    assert both.find("another") is None


def test_the_jwks_shows_public_halves_only_newest_first(tmp_path: Path) -> None:
    first = load_keys(tmp_path / "keys")
    both = add_key(tmp_path / "keys")

    jwks = both.jwks()

    assert [key["kid"] for key in jwks["keys"]] == [both.kid, first.kid]
    for key in jwks["keys"]:
        assert set(key) == {"kty", "crv", "x", "kid", "use", "alg"}
        assert (key["kty"], key["crv"], key["use"], key["alg"]) == ("OKP", "Ed25519", "sig", "EdDSA")


def test_no_secret_is_in_the_repr() -> None:
    key = make_key()

    shown = repr(SigningKeys([key]))

    assert shown == f"SigningKeys({key.thumbprint()})"
    assert str(key.as_dict(private=True)["d"]) not in shown


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o644])
def test_a_key_that_others_may_read_is_refused_with_the_command_that_helps(tmp_path: Path, mode: int) -> None:
    load_keys(tmp_path / "keys")
    file = tmp_path / "keys" / "0001.json"
    file.chmod(mode)

    with pytest.raises(ConfigurationError, match=f"chmod 600 {file}"):
        load_keys(tmp_path / "keys")


@pytest.mark.parametrize("mode", [0o750, 0o701, 0o777])
def test_a_folder_that_others_may_enter_is_refused_with_the_command_that_helps(tmp_path: Path, mode: int) -> None:
    load_keys(tmp_path / "keys")
    (tmp_path / "keys").chmod(mode)

    with pytest.raises(ConfigurationError, match=f"chmod 700 {tmp_path}/keys"):
        load_keys(tmp_path / "keys")


def _damaged() -> dict[str, bytes]:
    one, other = (make_key().as_dict(private=True) for _ in range(2))
    curve = OKPKey.generate_key("X25519", private=True).as_dict(private=True)
    return {
        "empty": b"",
        "no json": b"-----BEGIN PRIVATE KEY-----",
        "no text": b"\xff\xfe",
        "a list": b"[]",
        "no private half": json.dumps({**one, "d": ""}).encode(),
        "without d": json.dumps({name: one[name] for name in ("kty", "crv", "x")}).encode(),
        "foreign public half": json.dumps({**one, "x": other["x"]}).encode(),
        "another curve": json.dumps(curve).encode(),
        "a shared secret": json.dumps(OctKey.generate_key(256).as_dict(private=True)).encode(),
        "cut off": json.dumps(one).encode()[:-10],
    }


@pytest.mark.parametrize("name", _damaged())
def test_a_damaged_key_is_refused_without_showing_what_it_holds(tmp_path: Path, name: str) -> None:
    load_keys(tmp_path / "keys")
    content = _damaged()[name]
    (tmp_path / "keys" / "0001.json").write_bytes(content)

    with pytest.raises(ConfigurationError, match=r"0001\.json holds no Ed25519 key") as refused:
        load_keys(tmp_path / "keys")

    assert refused.value.__cause__ is None
    assert refused.value.__context__ is None


def test_what_an_interrupted_start_left_behind_is_no_key(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    (folder / "0001.77.abc.draft").write_text("{")
    (folder / "README").write_text("do not touch")

    keys = load_keys(folder)

    assert len(keys.jwks()["keys"]) == 1


def test_two_first_starts_at_once_agree_on_one_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    link = Path.hardlink_to

    def other_was_quicker(self: Path, target: Path) -> None:
        monkeypatch.undo()
        _write_next(folder)
        link(self, target)

    monkeypatch.setattr(Path, "hardlink_to", other_was_quicker)

    keys = load_keys(folder)

    assert sorted(path.name for path in folder.iterdir()) == ["0001.json"]
    assert load_keys(folder).kid == keys.kid


def test_a_folder_that_cannot_be_made_is_said_at_start(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("a file")

    with pytest.raises(ConfigurationError, match="cannot be used"):
        load_keys(tmp_path / "keys")


def test_a_key_that_cannot_be_written_is_said_at_rotation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_keys(tmp_path / "keys")

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "hardlink_to", full)

    with pytest.raises(ConfigurationError, match="No space left"):
        add_key(tmp_path / "keys")
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["0001.json"]
