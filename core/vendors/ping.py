"""Asking an address that only wants to be asked: an outside monitor's, which counts what arrives."""

from __future__ import annotations

from core.errors import VendorError
from core.vendors.addresses import Reach
from core.vendors.http import connect_entered
from core.vendors.intake import Bounds, Sender

_WITHIN_S = 10.0
_MONITOR = Sender(
    "the address of COHORT_BRIDGE_PING_URL",
    "ping",
    unconnected="Nothing answers at the address of COHORT_BRIDGE_PING_URL.",
    unreadable="What answers at the address of COHORT_BRIDGE_PING_URL is no web server.",
)


async def ping(url: str, reach: Reach) -> None:
    """Ask an address once; what is answered beside the status is not read. No sentence of an error holds the address.

    Raises: VendorError, SettingsError.
    """
    async with connect_entered(reach) as http:
        request = _MONITOR.build(http, "GET", url, timeout=_WITHIN_S, headers={"User-Agent": "Cohort-Bridge"})
        answer = await _MONITOR.exchange(http, request, Bounds(most_bytes=0, within_s=_WITHIN_S))
    if not answer.is_success:
        raise VendorError(f"The address of COHORT_BRIDGE_PING_URL answered with {answer.status}.", code="ping_refused")
