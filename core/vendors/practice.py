"""Practice mode: whether our own sandbox answers at an address of this machine, and whose account is whose."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urljoin, urlsplit

from core.errors import AddressNotAllowed, SettingsError, VendorError
from core.rules.matching import IdMerge
from core.vendors.http import HttpClient
from core.vendors.intake import Bounds, Sender, read_object
from data.models import Connection

# The service accounts of the sandbox's project: Mixpanel knows none of them.
_ACCOUNTS = frozenset(
    {
        "practice.1f9a3c.mp-service-account",
        "platform-owner.7be210.mp-service-account",
        "weekly-report.c04d92.mp-service-account",
        "tv-dashboard.e5518a.mp-service-account",
        "growth-tools.38ab6f.mp-service-account",
        "summer-campaign.90d1c7.mp-service-account",
    }
)
_BOUNDS = Bounds(2**20, 10.0)
_SANDBOX = Sender("the practice sandbox", "sandbox", unconnected="No sandbox answers.", unreadable="It is no sandbox.")


def is_practice_account(username: str) -> bool:
    """Return whether this is a service account of the practice sandbox, which Mixpanel itself does not know."""
    return username.strip() in _ACCOUNTS


def sandbox_address(connections: Iterable[Connection]) -> str | None:
    """Return the address of the practice sandbox, if one of these connections leads to it."""
    for connection in connections:
        if connection.practice:
            parts = urlsplit(connection.url or connection.base_url)
            return f"{parts.scheme}://{parts.netloc}"
    return None


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
