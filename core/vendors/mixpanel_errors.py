"""What Mixpanel's refusals mean: an answer in, one of our errors out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from core.errors import (
    CohortBridgeError,
    CohortNotExportable,
    CohortRefused,
    PageSizeRefused,
    RateLimited,
    SessionLost,
    VendorAuthFailed,
    VendorRefused,
    VendorSurprise,
    VendorUnavailable,
)
from core.vendors.intake import Answer, Sender, read_object
from core.vendors.mixpanel_project import region_of
from core.vendors.retry import is_passing, retry_after_s
from core.vendors.structured_fields import parse_list

MIXPANEL = Sender(
    "Mixpanel",
    "mixpanel",
    unconnected="Mixpanel could not be reached.",
    unreadable="Mixpanel's answer was cut off or is not what it documents.",
)
_LOST_SESSION = "request for page in uncached query"
_BAD_CREDENTIALS = "Unable to authenticate request"
# The two kinds of 429 in words, where no header states them (mixpanel-headless, test constants, read 2026-11-23).
_SPENT_HOUR, _TOO_MANY = re.compile(r"queries running in the last hour"), re.compile(r"queries running concurrently")
_PAGE_SIZE = re.compile(r"page[ _-]?size", re.IGNORECASE)
_CONNECTIONS_ADVICE = "Ask an admin to check the Mixpanel connection on the Connections page."


def raise_for_status(answer: Answer, *, cohort_id: int | None = None) -> None:
    """Raise what a refusal means; `cohort_id` is the cohort that was asked for. A success passes."""
    if answer.is_success:
        return
    raise_if_elsewhere(answer)
    text = _error_text(answer)
    if cohort_id is not None:
        _raise_for_cohort(answer.status, text, cohort_id)
    raise _parse_error(answer, text)


def raise_if_elsewhere(answer: Answer) -> None:
    """Raise when an answer redirects: to another region's host, or to anywhere else."""
    if not 300 <= answer.status < 400:
        return
    if region := _region_in(answer.headers.get("Location", "")):
        raise VendorRefused(
            f"Mixpanel keeps this project in its region {region}, not where it was asked.",
            advice=f"Ask an admin to connect the project again, with the region {region}.",
            code="mixpanel_other_region",
            status=answer.status,
        )
    # A sign-in page of the network in between, most often: it may be gone the next time.
    raise VendorSurprise(
        f"Something between this machine and Mixpanel leads elsewhere ({answer.status}); nothing is sent there.",
        code="mixpanel_redirected",
        status=answer.status,
    )


def _region_in(location: str) -> str | None:
    try:
        return region_of(urlsplit(location).hostname or "")
    except ValueError:
        return None


def known_failure(text: str) -> CohortBridgeError | None:
    """Return what Mixpanel's own words for a failure mean whatever the status of the answer, None for other words."""
    if _LOST_SESSION in text:
        return session_lost()
    if _BAD_CREDENTIALS in text:
        return _bad_credentials()
    if _SPENT_HOUR.search(text) or _TOO_MANY.search(text):
        return _rate_limited({}, text)
    return None


def not_an_admin(sentence: str, *, status: int | None = None) -> VendorAuthFailed:
    """Build the error of a service account that may not connect the project."""
    return VendorAuthFailed(
        sentence,
        advice="Give it the project role admin or owner in Mixpanel's project settings, then connect again.",
        code="mixpanel_not_admin",
        status=status,
    )


def session_lost(*, status: int | None = None) -> SessionLost:
    """Build the error of a query session that further pages cannot be read from any more."""
    return SessionLost("Mixpanel forgot the query while its pages were being read.", status=status)


def _raise_for_cohort(status: int, text: str, cohort_id: int) -> None:
    if _LOST_SESSION in text:
        raise session_lost(status=status)
    if "Missing Datagroup" in text:
        raise CohortNotExportable(f"Cohort {cohort_id} belongs to a data group that no longer exists.")
    if status in (400, 404) and _BAD_CREDENTIALS not in text:
        kind = PageSizeRefused if _PAGE_SIZE.search(text) else CohortRefused
        sentence = f"Mixpanel refused to read cohort {cohort_id} ({status})."
        raise kind(sentence, advice=_CONNECTIONS_ADVICE, status=status)


def _parse_error(answer: Answer, text: str) -> CohortBridgeError:
    status = answer.status
    if status == 429:
        return _rate_limited(answer.headers, text)
    if is_passing(status):
        return VendorUnavailable(
            f"Mixpanel answered with an error of its own ({status}).",
            code="mixpanel_unavailable",
            status=status,
            retry_after_s=retry_after_s(answer.headers),
        )
    if status == 401 or _BAD_CREDENTIALS in text:
        return _bad_credentials(status=status)
    sentences = {
        402: ("mixpanel_no_api_access", "The plan of this Mixpanel project has no access to the Query API."),
        403: ("mixpanel_forbidden", "The service account may not read this Mixpanel project."),
        404: ("mixpanel_not_found", "Mixpanel does not know this project."),
        410: ("mixpanel_forbidden", "The service account may no longer read this Mixpanel project."),
    }
    code, sentence = sentences.get(status, ("mixpanel_refused", f"Mixpanel refused the request ({status})."))
    kind = VendorAuthFailed if status in (403, 410) else VendorRefused
    return kind(sentence, advice=_CONNECTIONS_ADVICE, code=code, status=status)


def _bad_credentials(*, status: int | None = None) -> VendorAuthFailed:
    return VendorAuthFailed(
        "Mixpanel does not accept the service account's username and secret.",
        advice=f"{_CONNECTIONS_ADVICE} The account may have expired, or belong to another region.",
        code="mixpanel_unauthorized",
        status=status,
    )


def _rate_limited(headers: Mapping[str, str], text: str) -> RateLimited:
    """Distinguish the three kinds of 429 by their headers, else by their text (headless test_pacer.py)."""
    spent = _spent(headers)
    if "project" in spent or (not spent and _SPENT_HOUR.search(text)):
        return RateLimited("Mixpanel's hourly limit of this project is reached.", kind="hour")
    if "project-concurrency" in spent or _TOO_MANY.search(text):
        return RateLimited("Too many requests to this Mixpanel project are in flight.", kind="concurrency")
    return RateLimited("Mixpanel is shedding load.", kind="load", retry_after_s=retry_after_s(headers))


def _spent(headers: Mapping[str, str]) -> set[str]:
    """Return the limits of which nothing is left."""
    return {item.name for item in parse_list(headers.get("RateLimit", "")) if item.number("r") == 0}


def _error_text(answer: Answer) -> str:
    """Find the vendor's own words, for telling errors apart; they are not shown."""
    return str(read_object(answer.body).get("error", ""))
