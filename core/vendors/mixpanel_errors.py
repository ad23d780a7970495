"""What Mixpanel's refusals mean: an answer in, one of our errors out."""

from __future__ import annotations

import json
from typing import Any, cast

import httpx

from core.errors import (
    CohortBridgeError,
    CohortNotExportable,
    CohortUnknown,
    RateLimited,
    SessionLost,
    VendorAuthFailed,
    VendorRefused,
    VendorUnavailable,
)
from core.vendors.retry import retry_after_s

LOST_SESSION = "request for page in uncached query"
_BAD_CREDENTIALS = "Unable to authenticate request"
_CONNECTIONS_ADVICE = "Ask an admin to check the Mixpanel connection on the Connections page."


def raise_for_status(answer: httpx.Response, *, cohort_id: int | None = None) -> None:
    """Raise what a refusal means; `cohort_id` is the cohort that was asked for. A success passes."""
    if answer.is_success:
        return
    text = _error_text(answer)
    if cohort_id is not None:
        _raise_for_cohort(answer.status_code, text, cohort_id)
    raise _parse_error(answer, text)


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
    if LOST_SESSION in text:
        raise session_lost(status=status)
    if "Missing Datagroup" in text:
        raise CohortNotExportable(f"Cohort {cohort_id} belongs to a data group that no longer exists.")
    if status == 404:
        raise CohortUnknown(f"Mixpanel has no cohort {cohort_id} in this project (any more).")


def _parse_error(answer: httpx.Response, text: str) -> CohortBridgeError:
    status = answer.status_code
    if status == 429:
        return _rate_limited(answer)
    if status >= 500:
        return VendorUnavailable(
            f"Mixpanel answered with an error of its own ({status}).",
            code="mixpanel_unavailable",
            status=status,
            retry_after_s=retry_after_s(answer),
        )
    if status == 401 or _BAD_CREDENTIALS in text:
        return VendorAuthFailed(
            "Mixpanel does not accept the service account's username and secret.",
            advice=f"{_CONNECTIONS_ADVICE} The account may have expired, or belong to another region.",
            code="mixpanel_unauthorized",
            status=status,
        )
    sentences = {
        402: ("mixpanel_no_api_access", "The plan of this Mixpanel project has no access to the Query API."),
        403: ("mixpanel_forbidden", "The service account may not read this Mixpanel project."),
        404: ("mixpanel_not_found", "Mixpanel does not know this project."),
        410: ("mixpanel_forbidden", "The service account may no longer read this Mixpanel project."),
    }
    code, sentence = sentences.get(status, ("mixpanel_refused", f"Mixpanel refused the request ({status})."))
    kind = VendorAuthFailed if status in (403, 410) else VendorRefused
    return kind(sentence, advice=_CONNECTIONS_ADVICE, code=code, status=status)


def _rate_limited(answer: httpx.Response) -> RateLimited:
    """Distinguish the three kinds of 429 by their headers (headless test_pacer.py)."""
    limits = [part.strip() for part in answer.headers.get("RateLimit", "").split(",")]
    spent = {part.split(";")[0].strip('"') for part in limits if "r=0" in part.split(";")}
    if "project" in spent:
        return RateLimited("Mixpanel's hourly limit of this project is reached.", kind="hour")
    if "project-concurrency" in spent:
        return RateLimited("Too many requests to this Mixpanel project are in flight.", kind="concurrency")
    return RateLimited("Mixpanel is shedding load.", kind="load", retry_after_s=retry_after_s(answer))


def _error_text(answer: httpx.Response) -> str:
    """Find the vendor's own words, for telling errors apart; they are not shown."""
    try:
        body: Any = json.loads(answer.content)
    except ValueError:
        return ""
    return str(cast("dict[str, Any]", body).get("error", "")) if isinstance(body, dict) else ""
