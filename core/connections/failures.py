"""Which failures are about a connection: an admin looks at them on Connections."""

from __future__ import annotations

from core.errors import AddressNotAllowed, NotConnected, ReceiverShared, SecretKeyLost

# How the codes of errors begin that each side answered with.
MIXPANEL_PREFIXES, DESTINATION_PREFIXES = ("mixpanel_",), ("apptimize_", "receiver_", "csv_")
_CODES = {NotConnected.code, ReceiverShared.code, SecretKeyLost.code, AddressNotAllowed.code}


# How those end with which a side says that it has an error of its own, or too much to do: nothing here is wrong.
_NOT_OURS = "_unavailable"


def is_of_connection(code: str | None) -> bool:
    """Return whether the error with this code is about a connection: who it leads to, or what signs in there."""
    if code is None or code.endswith(_NOT_OURS):
        return False
    return code in _CODES or code.startswith(MIXPANEL_PREFIXES + DESTINATION_PREFIXES)
