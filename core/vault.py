"""Encryption of what must not be read: secrets of connections, with keys that never enter the database."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from core.errors import SecretKeyLost, SettingsError, StorageFailed
from core.files import OpenFolder, open_file

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet  # below it is imported where a secret is sealed, or opened


# Of a Fernet key, base64 for a URL: what its library asks for.
_KEY_BYTES = 32
# What the key of hashes is derived for: it must be no key of anything else.
_FOR_HASHES = b"cohort bridge: hashes of addresses"
# What the value is made for by which a key is recognized.
_FOR_CHECKS = b"cohort bridge: which key it is"


class Vault:
    """Encrypts with the newest key, decrypts with any of them.

    Keys from a file are read again when the file is another one: a key that was rotated by one process is used by all.
    Those that were known before still open what they sealed.
    """

    def __init__(self, configured: SecretStr | None, home: Path) -> None:
        self.path = None if configured else home / "secret.key"
        self._seen: tuple[int, int, int] | None = None
        self._known = list[str]()
        self._fernet: MultiFernet | None = None
        if configured:
            self._known = _checked(_split(configured.get_secret_value()))
        else:
            self._read()

    def encrypt(self, secret: str) -> str:
        """Return the secret as text that only these keys can read."""
        return self._keys().encrypt(secret.encode()).decode()

    def decrypt(self, sealed: str | None) -> str:
        """Return the secret. Raises SecretKeyLost when none of the keys fits."""
        from cryptography.fernet import InvalidToken

        try:
            return self._keys().decrypt((sealed or "").encode()).decode()
        except InvalidToken:
            raise SecretKeyLost("A stored secret cannot be read with the available secret keys.") from None

    def seal_again(self, sealed: str) -> str:
        """Return the same secret, sealed with the newest key. Raises SecretKeyLost."""
        from cryptography.fernet import InvalidToken

        try:
            return self._keys().rotate(sealed.encode()).decode()
        except InvalidToken:
            raise SecretKeyLost("A stored secret cannot be read with the available secret keys.") from None

    def is_same(self, sealed: str | None, other: str | None) -> bool:
        """Return whether two sealed texts hold the same secret; of one that no key fits to, that is not known."""
        try:
            return hmac.compare_digest(self.decrypt(sealed).encode(), self.decrypt(other).encode())
        except SecretKeyLost:
            return False

    def hash_text(self, text: str) -> str:
        """Return a hash that nobody can make, or try guesses against, without the newest key (HMAC-SHA256)."""
        self._look_again()
        derived = hmac.digest(self._known[0].encode(), _FOR_HASHES, hashlib.sha256)
        return hmac.new(derived, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()

    def list_checks(self) -> list[str]:
        """List a value for each key, newest first, that tells keys apart, and of which no key can be found."""
        self._look_again()
        return [hmac.digest(base64.urlsafe_b64decode(key), _FOR_CHECKS, "sha256").hex()[:32] for key in self._known]

    def hash_sealed(self, sealed: str, form: Callable[[str], str]) -> str | None:
        """Return such a hash of a secret, brought into a form; None when none of the keys opens it."""
        try:
            return self.hash_text(form(self.decrypt(sealed)))
        except SecretKeyLost:
            return None

    def add_key(self) -> str:
        """Put a new key before those in the file, and return it: from now on it seals, and they still open.

        Raises: StorageFailed.
        """
        assert self.path
        added = _new_key()
        _write_key_file(self.path, ",".join([added, *_split(_key_text(self.path))]))
        return added

    def keep_only(self, key: str) -> None:
        """Leave only this key in the file. Raises StorageFailed."""
        assert self.path
        _write_key_file(self.path, key)

    def _keys(self) -> MultiFernet:
        from cryptography.fernet import Fernet, MultiFernet

        self._look_again()
        fernet = self._fernet
        if fernet is None:
            fernet = self._fernet = MultiFernet([Fernet(key) for key in self._known])
        return fernet

    def _look_again(self) -> None:
        """Read the keys again where the file is another one now."""
        if self.path and _identity(self.path) != self._seen:
            self._read()

    def _read(self) -> None:
        assert self.path
        keys = _checked(_split(_key_text(self.path)))
        self._seen = _identity(self.path)
        self._known = keys + [key for key in self._known if key not in keys]
        self._fernet = None


def open_vault(configured: SecretStr | None, home: Path) -> Vault:
    """Use the configured keys, or those in `<home>/secret.key`, which is made with mode 0600 on the first start.

    Raises: SettingsError when they are no keys, or when others may read the file.
    """
    return Vault(configured, home)


def _split(text: str) -> list[str]:
    return [key for key in (part.strip() for part in text.split(",")) if key]


def _new_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(_KEY_BYTES)).decode()


def _checked(keys: list[str]) -> list[str]:
    """Return keys, at least one, that are what Fernet takes for one. Raises SettingsError."""
    if not keys or not all(_is_key(key) for key in keys):
        raise SettingsError(
            "COHORT_BRIDGE_SECRET_KEY (or the file secret.key) does not hold Fernet keys.",
            advice="Put back the keys it held, newest first, separated by commas.",
            code="bad_secret_key",
        )
    return keys


def _is_key(text: str) -> bool:
    try:
        return len(base64.urlsafe_b64decode(text)) == _KEY_BYTES
    except ValueError:
        return False


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_ino, state.st_mtime_ns, state.st_size


def _key_text(path: Path) -> str:
    if not path.exists():
        from filelock import FileLock

        with FileLock(path.with_suffix(".lock"), timeout=30):
            if not path.exists():
                _write_key_file(path, _new_key())
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise SettingsError(
            f"The key file {path} can be read by others on this machine.",
            advice=f"Run `chmod 600 {path}`; if anyone may have read it, rotate the key and replace the secrets.",
            code="secret_key_readable",
        )
    with open_file(path) as file:
        return file.read().decode(errors="replace")  # no key then, as is told


def _write_key_file(path: Path, text: str) -> None:
    try:
        with OpenFolder(path.parent) as folder:
            folder.remove_parts(path.name)
            with folder.replacing(path.name, mode=0o600) as file:
                file.write(f"{text}\n".encode())
    except OSError as exc:
        raise StorageFailed(
            f"The key file {path} could not be written: {exc.strerror or exc}.",
            advice="Nothing changed. Check that it is a file, and that its folder can be written and has space.",
        ) from exc
