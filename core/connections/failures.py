"""Which failures are about a connection: an admin looks at them on Connections."""

from __future__ import annotations

from core.errors import AddressNotAllowed, NotConnected, ReceiverShared, SecretKeyLost

# How the codes begin of what was asked of each side.
MIXPANEL_CODES, DESTINATION_CODES = ("mixpanel_",), ("apptimize_", "receiver_", "csv_")
_CODES = {NotConnected.code, ReceiverShared.code, SecretKeyLost.code, AddressNotAllowed.code}


def is_of_connection(code: str | None) -> bool:
    """Return whether the error with this code is about a connection: who it leads to, or what signs in there."""
    return code is not None and (code in _CODES or code.startswith(MIXPANEL_CODES + DESTINATION_CODES))
