"""Sending an alert to a channel, once: to a webhook of one's own, or through a service that is spoken to for us."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import msgspec

from core.errors import AddressNotAllowed, CohortBridgeError, SettingsError, VendorError
from core.text import shown
from core.vendors import notices, services
from core.vendors.addresses import Entered, allowed_reach, check_endpoint, require_reach, resolve
from core.vendors.http import connect_entered
from core.vendors.intake import Bounds, Sender
from core.vendors.notices import Notice, Severity
from core.vendors.retry import is_gateway_timeout, is_passing, retry_after_s

# What a channel is: an address of the web that takes our JSON, or one of those that Apprise speaks to.
WEBHOOK, SERVICE = "webhook", "service"
# For as long as a message may take, whatever the other end does.
WITHIN_S = 30.0
# What is said of an address that cannot be used.
_ENTERED = Entered("Address", "what is sent travels encrypted", "alerts are meant to go there")
_WEBHOOK = Sender("the webhook", "alert", unconnected="Nothing answers at the webhook's address.", unreadable="")
# What Apprise calls it.
_KINDS: dict[Severity, str] = {"critical": "failure", "warning": "warning", "recovered": "success", "test": "info"}
_SEE_DOCS = "Check its spelling; docs/operate/alerts.md has examples."
_SIGNS = "Check its spelling, and that signs in a password are written as %40 (for @) and the like."
_PLAIN_ADVICE = (
    "Use the form of the address that is encrypted, such as mailtos:// for mailto://, or set "
    f"COHORT_BRIDGE_ALLOW_PRIVATE_HOSTS=1 if {_ENTERED.meant}."
)
_LOOK_AT_ADDRESS = "Check the address, and that it takes such messages."
_OWN_HEADERS = {"Content-Type": "application/json", "User-Agent": "Cohort-Bridge"}


class NotifyError(CohortBridgeError):
    """A message that a channel did not accept, as far as is known."""

    code = "alert_not_sent"
    default_advice = "Look at the channel on the Alerts page, and send a test."


class NotifyRefused(NotifyError):
    """The channel, or its address, is such that this message will be refused again."""

    code = "alert_refused"


class NotifyFailed(NotifyError):
    """It was not accepted, and may be later, at the soonest after `retry_after_s` where that is known."""

    code = "alert_failed"
    retryable = True

    def __init__(self, message: str, *, advice: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message, advice=advice)
        self.retry_after_s = retry_after_s


class NotifyUndecided(NotifyError):
    """It was sent, and whether it arrived is not known: sent again, it might arrive twice."""

    code = "alert_undecided"
    default_advice = "Look in the channel whether it arrived."


async def notify(
    kind: str, address: str, notice: Notice, *, allow_private: bool = False, within_s: float = WITHIN_S
) -> None:
    """Send a notice to a channel, once; returns when it was accepted. Cancelled, its fate is not known.

    Raises: NotifyRefused, NotifyFailed, NotifyUndecided.
    """
    notice = notices.bounded(notice)
    if kind == WEBHOOK:
        await _post(address, notice, allow_private=allow_private, within_s=within_s)
        return
    try:
        fate = services.judge(
            await services.send(
                address,
                notices.plain(notice.title),
                notices.as_text(notice),
                _KINDS[notice.severity],
                anywhere=allow_private,
                within_s=within_s,
            )
        )
    except SettingsError as exc:
        raise NotifyFailed(exc.message, advice=exc.advice) from exc
    _raise_fate(fate)


def as_json(notice: Notice) -> dict[str, Any]:
    """Return what a webhook is sent (docs/operate/alerts.md). Only ever added to."""
    return {
        "version": 1,
        "id": notice.id,
        "event": notice.event,
        "severity": notice.severity,
        "at": notice.at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "title": notice.title,
        "lines": list(notice.lines),
        "link": notice.link,
        "text": f"{notices.plain(notice.title)}\n{notices.as_text(notice)}",
    }


def _raise_fate(fate: services.Fate) -> None:
    if fate.what == services.ACCEPTED:
        return
    said = f"The service {fate.why}."
    if fate.what == services.UNDECIDED:
        raise NotifyUndecided(said)
    if fate.what == services.FAILED:
        raise NotifyFailed(said, retry_after_s=fate.retry_after_s)
    raise NotifyRefused(said, advice=_LOOK_AT_ADDRESS)


async def _post(address: str, notice: Notice, *, allow_private: bool, within_s: float) -> None:
    begun = list[str]()

    async def note(event: str, _details: Mapping[str, Any]) -> None:
        if event.endswith("send_request_headers.started"):
            begun.append(event)

    headers = {**_OWN_HEADERS, "Idempotency-Key": notice.id}
    try:
        if urlsplit(address).scheme != "https" and not allow_private:
            raise AddressNotAllowed("Address: only https addresses are accepted.")
        async with connect_entered(allowed_reach(allow_private=allow_private, practice=False)) as http:
            request = _WEBHOOK.build(
                http,
                "POST",
                address,
                content=msgspec.json.encode(as_json(notice)),
                headers=headers,
                timeout=within_s,
                extensions={"trace": note, "timeout": httpx.Timeout(within_s).as_dict()},
            )
            # What it says beside its status is not read.
            answer = await _WEBHOOK.exchange(http, request, Bounds(most_bytes=0, within_s=within_s))
    except AddressNotAllowed as exc:
        raise NotifyRefused(
            "The webhook's address leads to a place that nothing may be sent to.",
            advice=f"Set COHORT_BRIDGE_ALLOW_PRIVATE_HOSTS=1 if {_ENTERED.meant}.",
        ) from exc
    except VendorError as exc:
        if begun:
            raise NotifyUndecided(f"{exc.message} Whether the message arrived is not known.") from exc
        raise NotifyFailed(exc.message, advice=exc.advice) from exc
    except CohortBridgeError as exc:
        raise NotifyRefused(exc.message, advice=exc.advice) from exc
    _check_status("The webhook", answer.status, retry_after_s(answer.headers))


def _check_status(who: str, status: int, retry_after: float | None) -> None:
    """Raise what an HTTP status means for a message: a NotifyError; nothing of a 2xx."""
    if 200 <= status < 300:
        return
    if is_gateway_timeout(status):
        raise NotifyUndecided(f"{who} was not answered itself ({status}). Whether the message arrived is not known.")
    if is_passing(status):
        raise NotifyFailed(f"{who} answered with an error of its own ({status}).", retry_after_s=retry_after)
    if 300 <= status < 400:
        raise NotifyRefused(
            f"{who} answered that it is elsewhere ({status}), which is not followed.",
            advice="Enter the address that it leads to.",
        )
    raise NotifyRefused(f"{who} refused the message ({status}).", advice=_LOOK_AT_ADDRESS)


class Place(NamedTuple):
    """Where an entered address leads: which kind of channel that is, and what may be seen of it."""

    kind: str
    shown: str


async def identify(address: str, *, allow_private: bool) -> Place:
    """Check an address that was entered and say where it leads. Nothing is sent. Raises SettingsError.

    An address of the web that is a service's own, such as a webhook of Slack's, is sent to as that service takes it.
    """
    is_web = address.lower().startswith(("http://", "https://"))
    if is_web:  # checked before anything else looks at it
        await asyncio.to_thread(check_endpoint, address, allow_private=allow_private, entered=_ENTERED)
    seen = await services.look(address, anywhere=allow_private)
    if not seen.ended:
        raise SettingsError("Address: it could not be looked at in time.", advice="Try again in a moment.")
    if is_web and (seen.unknown or seen.generic):
        return Place(WEBHOOK, shown(urlsplit(address).netloc, most=100))
    await _check_service(seen, allow_private=allow_private)
    return Place(SERVICE, shown(f"{seen.service} ({', '.join(seen.hosts)})", most=200))


async def _check_service(seen: services.Spoken, *, allow_private: bool) -> None:
    """Refuse what cannot be held, or leads inside the house. Raises SettingsError."""
    if seen.generic:
        raise SettingsError(
            "Address: a webhook of your own is entered by its own address.", advice="Enter it with https:// in front."
        )
    if seen.denied:
        raise SettingsError(
            f"Address: this cannot be used: {services.WHY_DENIED.get(seen.denied[0], 'it is not allowed')}.",
            advice=_PLAIN_ADVICE
            if seen.denied[0] == services.PLAIN
            else "Choose another service, or a webhook of your own.",
        )
    if seen.unknown:
        raise SettingsError("Address: no service is known that has such an address.", advice=_SEE_DOCS)
    reach = allowed_reach(allow_private=allow_private, practice=False)
    for host in seen.hosts:
        try:
            places = await resolve(host, 443)
        except OSError:
            # Not repeated: behind a sign that an address cannot hold it is the rest of a password.
            raise SettingsError("Address: no server has the name that is in it.", advice=_SIGNS) from None
        require_reach(places, reach, entered=_ENTERED)
