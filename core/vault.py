"""Encryption of what must not be read: secrets of connections, with keys that never enter the database."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr

from core.errors import SecretKeyLost, SettingsError


class Vault:
    """Encrypts with the newest key, decrypts with any of them."""

    def __init__(self, keys: list[str]) -> None:
        try:
            self._fernet = MultiFernet([Fernet(key) for key in keys])
        except ValueError:
            raise SettingsError(
                "COHORT_BRIDGE_SECRET_KEY (or the file secret.key) does not hold Fernet keys.",
                advice="Put back the keys it held, newest first, separated by commas.",
                code="bad_secret_key",
            ) from None

    def encrypt(self, secret: str) -> str:
        """Return the secret as text that only these keys can read."""
        return self._fernet.encrypt(secret.encode()).decode()

    def decrypt(self, sealed: str | None) -> str:
        """Return the secret. Raises SecretKeyLost when none of the keys fits."""
        try:
            return self._fernet.decrypt((sealed or "").encode()).decode()
        except InvalidToken:
            raise SecretKeyLost("A stored secret cannot be read with the secret key at hand.") from None


def open_vault(configured: SecretStr | None, home: Path) -> Vault:
    """Use the configured keys, or those in `<home>/secret.key`, which is made with mode 0600 on the first start."""
    text = configured.get_secret_value() if configured else _key_file(home / "secret.key")
    return Vault([key for key in (part.strip() for part in text.split(",")) if key])


def _key_file(path: Path) -> str:
    from filelock import FileLock

    with FileLock(path.with_suffix(".lock"), timeout=30):
        if not path.exists():
            part = path.with_suffix(".part")
            part.unlink(missing_ok=True)
            handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(Fernet.generate_key() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
    return path.read_text()
