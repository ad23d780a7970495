"""Secrets that people enter for a connection: checked, sealed, and shown by their end alone."""

from __future__ import annotations

from pydantic import SecretStr

from core.bridge import Bridge
from core.validation import clean_secret

# Of a secret that is shorter than this nothing is shown: its end would give it away.
_SHOWN_FROM = 12


def checked_secret(secret: SecretStr, field: str, hint: str) -> str:
    """Return a secret as it was entered, without blanks around it. Raises SettingsError naming the field."""
    return clean_secret(secret.get_secret_value(), field, hint)


def sealed(bridge: Bridge, column: str, secret: str) -> dict[str, str | None]:
    """Return what is stored of a secret, by column: sealed, and its end, which the screens show; empty: none."""
    return {column: bridge.vault.encrypt(secret) if secret else None, f"{column}_end": shown_end(secret)}


def shown_end(secret: str) -> str:
    """Return what the screens show of a secret."""
    return secret[-4:] if len(secret) >= _SHOWN_FROM else ""
