"""The signing keys of access tokens: Ed25519, in files that only this user may read."""

from __future__ import annotations

import base64
import hmac
import json
import os
import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from cloche.errors import ConfigurationError

_match_name = re.compile(r"([0-9]{4})\.json").fullmatch
_FOLDER_MODE = 0o700
_FILE_MODE = 0o600


class SigningKeys:
    """One or more keys: the last signs, all verify.

    Args:
        keys: private Ed25519 keys, oldest first.
    """

    def __init__(self, keys: Sequence[OKPKey]) -> None:
        assert keys, "there is always a key that signs"
        self._keys = {key.thumbprint(): key for key in keys}
        self._kid = keys[-1].thumbprint()

    def __repr__(self) -> str:
        return f"SigningKeys({', '.join(self._keys)})"

    @property
    def kid(self) -> str:
        """The thumbprint of the key that signs."""
        return self._kid

    @property
    def signing_key(self) -> OKPKey:
        """The key that signs."""
        return self._keys[self._kid]

    def find(self, kid: str) -> OKPKey | None:
        """The key with this thumbprint, or None."""
        return self._keys.get(kid)

    def tag(self, message: bytes) -> str:
        """A keyed digest of the message, which nobody else can make; the key that signs is behind it."""
        return _tag(self.signing_key, message)

    def tags(self, message: bytes) -> list[str]:
        """The digests that ``tag`` gives, or gave with an earlier key, for the message."""
        return [_tag(key, message) for key in self._keys.values()]

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """The public halves as a JSON Web Key Set, newest first.

        Source: https://www.rfc-editor.org/rfc/rfc7517#section-5
        """
        return {"keys": [_public(key, kid) for kid, key in reversed(self._keys.items())]}


def make_key() -> OKPKey:
    """A new private Ed25519 key."""
    return OKPKey.generate_key("Ed25519", private=True)


def load_keys(folder: Path) -> SigningKeys:
    """The keys in the folder; the first one is made when there is none. Reads and writes files: call it at start.

    Raises:
        ConfigurationError: the folder or a file may be read by others, is damaged, or cannot be read or written.
    """
    try:
        _make_private(folder)
        if not _names(folder):
            _write_next(folder)
        return SigningKeys([_read(folder / name) for name in _names(folder)])
    except OSError as error:
        raise ConfigurationError(f"the signing keys in {folder} cannot be used: {error.strerror}") from error


def add_key(folder: Path) -> SigningKeys:
    """The keys in the folder with a new one, which signs from now on; tokens of the others are valid until they expire.

    Raises:
        ConfigurationError: as for ``load_keys``.
    """
    load_keys(folder)
    try:
        _write_next(folder)
    except OSError as error:
        raise ConfigurationError(f"no signing key can be written to {folder}: {error.strerror}") from error
    return load_keys(folder)


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    _require_private(folder.stat(), folder, _FOLDER_MODE)


def _require_private(found: os.stat_result, path: Path, mode: int) -> None:
    if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigurationError(f"others may read or change {path}: run `chmod {mode:o} {path}`")


def _names(folder: Path) -> list[str]:
    """File names of keys, oldest first; what an interrupted write left behind is none of them."""
    return sorted(path.name for path in folder.iterdir() if _match_name(path.name))


def _write_next(folder: Path) -> None:
    """One more key file: complete and durable under its name, or not there.

    The link fails when another process has just made the file of that number; its key is as good as ours.
    """
    key = make_key()
    names = _names(folder)
    target = folder / f"{(int(names[-1][:4]) if names else 0) + 1:04d}.json"
    draft = folder / f"{target.stem}.{os.getpid()}.{key.thumbprint()}.draft"
    written = json.dumps(dict(key.as_dict(private=True)))
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(written)
            file.flush()
            os.fsync(file.fileno())
        target.hardlink_to(draft)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    _sync(folder)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path) -> OKPKey:
    with path.open("rb") as file:
        _require_private(os.fstat(file.fileno()), path, _FILE_MODE)
        text = file.read(4096)
    try:
        found: object = json.loads(text)
        if isinstance(found, Mapping):
            members = {str(name): str(value) for name, value in cast("Mapping[object, object]", found).items()}
            key = OKPKey.import_key({name: members[name] for name in ("kty", "crv", "x", "d")})
            if members["crv"] == "Ed25519" and _public(_rebuilt(key), "") == _public(key, ""):
                return key
    except (JoseError, ValueError, KeyError):
        pass  # what it holds must not get into a log, not even as the cause of the next error
    raise ConfigurationError(f"{path} holds no Ed25519 key: restore it, or remove it to sign with the other keys")


def _rebuilt(key: OKPKey) -> OKPKey:
    """The key as its private half alone gives it: a file whose halves do not fit is damaged."""
    return OKPKey.import_key(key.as_pem(private=True))


def _tag(key: OKPKey, message: bytes) -> str:
    secret = str(key.as_dict(private=True)["d"]).encode()
    # The key signs tokens: what it tags is bound to this purpose by a key of its own.
    own = hmac.digest(secret, b"cloche.tag.v1", "sha256")
    return base64.urlsafe_b64encode(hmac.digest(own, message, "sha256")).decode().rstrip("=")


def _public(key: OKPKey, kid: str) -> dict[str, str]:
    members = key.as_dict(private=False)
    return {name: str(members[name]) for name in ("kty", "crv", "x")} | {"kid": kid, "use": "sig", "alg": "EdDSA"}
