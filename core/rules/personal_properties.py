"""Names of profile properties that hold e-mail addresses, names or phone numbers: these are never asked for."""

from __future__ import annotations

from core.errors import SettingsError


def is_personal(name: str) -> bool:
    """Return whether a property of this name holds an e-mail address, a name or a phone number of somebody."""
    return name.strip().lstrip("$").lower() in {"email", "name", "first_name", "last_name", "phone"}


def require_impersonal(name: str, field: str) -> None:
    """Refuse a property that holds what may not leave Mixpanel. Raises SettingsError naming the field."""
    if is_personal(name):
        raise SettingsError(
            f"{field}: {name} holds e-mail addresses, names or phone numbers, which are never asked for.",
            advice="Choose a property that holds an id, such as one that your own systems give people.",
        )
