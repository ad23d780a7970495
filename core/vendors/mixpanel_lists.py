"""What Mixpanel lists, entry by entry: cohorts and service accounts.

What can be taken of a list is taken, and what cannot is counted: one odd entry must not take the others away. Only the
entry that is asked for may fail what asks for it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from core.errors import VendorSurprise
from core.vendors.claims import MOST, as_object, quote
from core.vendors.mixpanel_answers import ROLES, Account, Cohort, check_success, load_json
from core.vendors.mixpanel_errors import MIXPANEL

# What no database and no delivery can hold: half a character, and the sign that ends a text.
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")
_BIGGEST_ID = 2**63 - 1
_FIRST_YEAR = 2000  # a time before the vendor was there stands for none


@dataclass(frozen=True)
class CohortListing:
    """The cohorts that could be taken of a list, and how many entries could not."""

    cohorts: list[Cohort]
    left_out: int = 0


def parse_cohorts(body: bytes) -> CohortListing:
    """Decode the list of cohorts: a bare array, which says of no success. Raises VendorError."""
    answer = load_json(body)
    if claims := as_object(answer):  # what the other interfaces answer when they fail
        check_success(claims.get("status"), claims.get("error"))
    if not isinstance(answer, list):
        raise MIXPANEL.surprise()
    entries = cast("list[Any]", answer)
    cohorts = dict[int, Cohort]()
    for entry in entries:
        cohort = _take_cohort(as_object(entry))
        if cohort:
            cohorts.setdefault(cohort.id, cohort)
    return CohortListing(list(cohorts.values()), len(entries) - len(cohorts))


def _take_cohort(entry: dict[str, Any]) -> Cohort | None:
    """Take what can be taken of a cohort; None without an id that it could be asked for by."""
    id, name, data_group = _whole(entry.get("id"), most=_BIGGEST_ID), entry.get("name"), entry.get("data_group_id")
    if not id:
        return None
    if isinstance(name, int | float) and not isinstance(name, bool):
        name = str(name)
    odd = None
    if not isinstance(name, str) or not name.strip():
        name, odd = f"Cohort {id}", "name"
    elif isinstance(data_group, list | dict | bool):
        odd = "data_group_id"
    return Cohort(
        id=id,
        name=_text(name),
        description=_text(entry.get("description")),
        count=_whole(entry.get("count"), most=MOST),
        created=_created(entry.get("created")),
        is_visible=entry.get("is_visible", 1) not in (0, "0", "false"),
        of_groups=not odd and data_group not in (None, ""),
        odd_field=odd,
    )


def parse_account(body: bytes, username: str) -> Account:
    """Decode the list of service accounts, and return the one of this name.

    Raises VendorError, where that one may be among the entries that cannot be read too.
    """
    answer = as_object(load_json(body))
    check_success(answer.get("status"), answer.get("error"))
    if not isinstance(answer.get("results"), list):
        raise MIXPANEL.surprise()
    entries = [as_object(entry) for entry in answer["results"]]
    own = [entry for entry in entries if entry.get("username") == username]
    left_out = sum(not isinstance(entry.get("username"), str) for entry in entries)
    if left_out and not own:
        raise _odd_account("username", f"{left_out:,} of the listed accounts")
    expiries = [at for entry in own if (at := _moment(entry.get("expires")))]
    return Account(
        role=_highest_role([entry.get("role") for entry in own]),
        expires_at=min(expiries, default=None),
        left_out=left_out,
    )


def _highest_role(listed: list[Any]) -> str | None:
    """Return the highest role: they add up where an account is listed by itself and through a team.

    A role that is none of Mixpanel's own is returned as it is called. Source: docs roles-and-permissions.
    """
    names = [_role_name(role) for role in listed]
    known = [ROLES.index(name) for name in names if name in ROLES]
    if known:
        return ROLES[max(known)]
    if listed and not any(names):
        raise _odd_account("role", "the service account")
    return next((quote(name, most=40) for name in names if name), None)


def _role_name(role: object) -> str:
    name = as_object(role).get("name") or role
    return name.strip().lower() if isinstance(name, str) else ""


def _odd_account(field: str, whose: str) -> VendorSurprise:
    return VendorSurprise(
        f"Mixpanel's list of service accounts has a “{field}” of {whose} that is not what it documents.",
        advice="Nothing to correct here: try again later. If it stays, ask Mixpanel about the project's accounts.",
        code="mixpanel_odd_account",
    )


def _whole(value: object, *, most: int) -> int | None:
    """Read a number that may come as a text, or with a fraction of nothing; None if it is none that could be."""
    is_digits = isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 20
    is_exact = isinstance(value, float) and value.is_integer() and abs(value) < 2**53
    number = int(value) if is_digits or is_exact else value  # type: ignore[call-overload]
    return number if isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= most else None


def _text(value: object) -> str:
    return _UNSTORABLE.sub("\ufffd", value) if isinstance(value, str) else ""


def _created(value: object) -> str:
    """Read when a cohort was made, in the form that Mixpanel documents; it may come in seconds since 1970."""
    at = None if isinstance(value, str) else _moment(value)
    return f"{at:%Y-%m-%d %H:%M:%S}" if at else _text(value)


def _moment(value: object) -> datetime | None:
    """Read a time, in UTC where it names no zone; None where it is none, as “never” and the year 1 are none."""
    at = None
    try:
        if isinstance(value, str):
            at = datetime.fromisoformat(value)
            at = (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
        elif isinstance(value, int | float):
            at = datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return at if at and at.year >= _FIRST_YEAR else None
