"""Practice mode: whether our own sandbox answers at an address of this machine."""

from __future__ import annotations

from urllib.parse import urljoin

from core.errors import AddressNotAllowed, SettingsError, VendorError
from core.rules.matching import IdMerge
from core.vendors.http import HttpClient
from core.vendors.intake import Bounds, Sender, read_object

_BOUNDS = Bounds(2**20, 10.0)
_SANDBOX = Sender("the practice sandbox", "sandbox", unconnected="No sandbox answers.", unreadable="It is no sandbox.")


async def is_sandbox(http: HttpClient, url: str) -> bool:
    """Ask whether the sandbox answers at this address; nothing secret is sent for asking. Raises AddressNotAllowed."""
    try:
        request = _SANDBOX.build(http, "GET", urljoin(url, "/sandbox/api/project"), timeout=_BOUNDS.within_s)
        answer = await _SANDBOX.exchange(http, request, _BOUNDS)
    except AddressNotAllowed:
        raise
    except (VendorError, SettingsError):
        return False
    return answer.is_success and read_object(answer.body).get("id_merge") in list(IdMerge)
