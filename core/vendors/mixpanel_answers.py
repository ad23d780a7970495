"""What Mixpanel's Query and App APIs answer: decoded, checked, in our types."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, TypeVar, cast

import msgspec

from core.errors import VendorSurprise
from core.rules.matching import MISSING

_ROLES = ("consumer", "analyst", "admin", "owner")
_MAY_CONNECT = ("admin", "owner")

T = TypeVar("T")


@dataclass(frozen=True)
class Cohort:
    """A cohort as the project lists it. `count` is what Mixpanel last computed, not what an export will find."""

    id: int
    name: str
    description: str
    count: int
    created: str
    is_visible: bool
    of_groups: bool


@dataclass(frozen=True)
class Account:
    """What a project lists of the service account itself. `role` None: it is not listed."""

    role: str | None
    expires_at: datetime | None

    @property
    def refusal(self) -> str | None:
        """Why the account may not connect, None when it may: only an admin or owner of the project may."""
        if self.role in _MAY_CONNECT:
            return None
        had = f"has the project role {self.role}" if self.role else "is not a member of this project"
        return f"The service account {had}; connecting needs admin or owner."


@dataclass(frozen=True)
class Page:
    """One page of profiles: aligned distinct ids and values of the property asked for."""

    reported_page: int | None
    page_size: int | None
    total: int | None
    session_id: str | None
    distinct_ids: list[object]
    values: list[object]


class _CohortAnswer(msgspec.Struct):
    id: int
    name: str = ""
    description: str | None = ""
    count: int | None = 0
    created: str | None = ""
    is_visible: int | bool = 1
    data_group_id: int | str | None = None


class _AccountAnswer(msgspec.Struct):
    username: str = ""
    role: Any = None
    expires: str | None = None


class _AccountsAnswer(msgspec.Struct):
    results: list[_AccountAnswer]


def _decode(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise _surprise() from exc


def _surprise() -> VendorSurprise:
    return VendorSurprise(
        "Mixpanel's answer was cut off or is not what it documents.", code="mixpanel_unreadable_answer"
    )


def parse_cohorts(body: bytes) -> list[Cohort]:
    """Decode the list of cohorts. Raises VendorSurprise."""
    return [
        Cohort(
            id=cohort.id,
            name=cohort.name,
            description=cohort.description or "",
            count=cohort.count or 0,
            created=cohort.created or "",
            is_visible=bool(cohort.is_visible),
            of_groups=cohort.data_group_id not in (None, ""),
        )
        for cohort in _decode(body, list[_CohortAnswer])
    ]


def parse_account(body: bytes, username: str) -> Account:
    """Decode the list of service accounts, and return the one of this name. Raises VendorSurprise."""
    own = [account for account in _decode(body, _AccountsAnswer).results if account.username == username]
    # Roles add up where an account is listed by itself and through a team (docs roles-and-permissions).
    ranks = [_ROLES.index(account.role) for account in own if account.role in _ROLES]
    expiries = [datetime.fromisoformat(account.expires) for account in own if account.expires]
    return Account(
        role=_ROLES[max(ranks)] if ranks else None,
        expires_at=min(expiries).astimezone() if expiries else None,
    )


@cache
def _page_decoder(match_property: str) -> msgspec.json.Decoder[Any]:
    """Build a decoder for pages that hold one property, which skips all else."""
    properties = msgspec.defstruct(
        "Properties", [("value", Any, msgspec.field(default=MISSING, name=match_property))], gc=False
    )
    profile = msgspec.defstruct(
        "Profile",
        [
            ("distinct_id", Any, msgspec.field(default=None, name="$distinct_id")),
            ("properties", properties, msgspec.field(default_factory=properties, name="$properties")),
        ],
        gc=False,
    )
    page = msgspec.defstruct(
        "Answer",
        [
            ("results", list[profile]),
            ("page", int | None, None),
            ("page_size", int | None, None),
            ("total", int | None, None),
            ("session_id", str | None, None),
        ],
    )
    return msgspec.json.Decoder(page)


def decode_page(body: bytes, match_property: str) -> Page:
    """Decode one answer of the engage query.

    A string that is not valid Unicode makes the fast decoder refuse the page; the standard library then reads it, and
    matching counts that one id as invalid. Raises VendorSurprise when the answer is cut off or not JSON.
    """
    try:
        answer = _page_decoder(match_property).decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _decode_page_slowly(body, match_property)
    rows = answer.results
    return Page(
        reported_page=answer.page,
        page_size=answer.page_size,
        total=answer.total,
        session_id=answer.session_id,
        distinct_ids=[row.distinct_id for row in rows],
        values=[row.properties.value for row in rows],
    )


def _decode_page_slowly(body: bytes, match_property: str) -> Page:
    try:
        # Digits without end are a number no id can be: Python would refuse to read them at all.
        answer: Any = json.loads(body, parse_int=lambda digits: int(digits) if len(digits) < 1000 else float(digits))
        rows = answer["results"]
        properties = [_as_object(row.get("$properties")) for row in rows]
        return Page(
            reported_page=_as_int(answer.get("page")),
            page_size=_as_int(answer.get("page_size")),
            total=_as_int(answer.get("total")),
            session_id=answer.get("session_id"),
            distinct_ids=[row.get("$distinct_id") for row in rows],
            values=[profile.get(match_property, MISSING) for profile in properties],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise _surprise() from exc


def _as_object(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _as_int(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
