"""Encryption of what must not be read: secrets of connections, with keys that never enter the database."""

from __future__ import annotations

import hmac
import stat
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr

from core.errors import SecretKeyLost, SettingsError, StorageFailed
from core.files import OpenFolder, open_file


class Vault:
    """Encrypts with the newest key, decrypts with any of them.

    Keys from a file are read again when the file is another one: a key that was rotated by one process is used by all.
    Those that were known before still open what they sealed.
    """

    def __init__(self, configured: SecretStr | None, home: Path) -> None:
        self.path = None if configured else home / "secret.key"
        self._seen: tuple[int, int, int] | None = None
        self._known = list[str]()
        self._fernet = _fernet(_split(configured.get_secret_value())) if configured else self._read()

    def encrypt(self, secret: str) -> str:
        """Return the secret as text that only these keys can read."""
        return self._keys().encrypt(secret.encode()).decode()

    def decrypt(self, sealed: str | None) -> str:
        """Return the secret. Raises SecretKeyLost when none of the keys fits."""
        try:
            return self._keys().decrypt((sealed or "").encode()).decode()
        except InvalidToken:
            raise SecretKeyLost("A stored secret cannot be read with the available secret keys.") from None

    def seal_again(self, sealed: str) -> str:
        """Return the same secret, sealed with the newest key. Raises SecretKeyLost."""
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

    def add_key(self) -> str:
        """Put a new key before those in the file, and return it: from now on it seals, and they still open.

        Raises: StorageFailed.
        """
        assert self.path
        added = Fernet.generate_key().decode()
        _write_key_file(self.path, ",".join([added, *_split(_key_text(self.path))]))
        return added

    def keep_only(self, key: str) -> None:
        """Leave only this key in the file. Raises StorageFailed."""
        assert self.path
        _write_key_file(self.path, key)

    def _keys(self) -> MultiFernet:
        return self._read() if self.path and _identity(self.path) != self._seen else self._fernet

    def _read(self) -> MultiFernet:
        assert self.path
        keys = _split(_key_text(self.path))
        self._seen = _identity(self.path)
        self._known = keys + [key for key in self._known if key not in keys]
        self._fernet = _fernet(self._known)
        return self._fernet


def open_vault(configured: SecretStr | None, home: Path) -> Vault:
    """Use the configured keys, or those in `<home>/secret.key`, which is made with mode 0600 on the first start.

    Raises: SettingsError when they are no keys, or when others may read the file.
    """
    return Vault(configured, home)


def _split(text: str) -> list[str]:
    return [key for key in (part.strip() for part in text.split(",")) if key]


def _fernet(keys: list[str]) -> MultiFernet:
    try:
        return MultiFernet([Fernet(key) for key in keys])
    except ValueError:
        raise SettingsError(
            "COHORT_BRIDGE_SECRET_KEY (or the file secret.key) does not hold Fernet keys.",
            advice="Put back the keys it held, newest first, separated by commas.",
            code="bad_secret_key",
        ) from None


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_ino, state.st_mtime_ns, state.st_size


def _key_text(path: Path) -> str:
    from filelock import FileLock

    with FileLock(path.with_suffix(".lock"), timeout=30):
        if not path.exists():
            _write_key_file(path, Fernet.generate_key().decode())
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
