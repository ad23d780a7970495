"""What Mixpanel's Query and App APIs answer, in our types; pages of profiles decoded. Lists: `mixpanel_lists`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Annotated, Any

import msgspec

from core.errors import VendorSurprise, VendorUnavailable
from core.rules.matching import MAX_LENGTH, MISSING
from core.vendors.claims import (
    as_object,
    find_text,
    quote,
    read_whole_number,
    states_error,
)
from core.vendors.mixpanel_errors import MIXPANEL, known_failure

ROLES = ("consumer", "analyst", "admin", "owner")  # Mixpanel's own, the lowest first
_MAY_CONNECT = ("admin", "owner")
_LONGEST_SESSION_ID = 1000


@dataclass(frozen=True)
class Cohort:
    """A cohort as the project lists it. `count` is what Mixpanel last computed, not what an export will find.

    `count` None: it is not listed. `odd_field` names what keeps it from being exported, for it is not as documented.
    """

    id: int
    name: str
    description: str
    count: int | None
    created: str
    is_visible: bool
    of_groups: bool
    odd_field: str | None = None


@dataclass(frozen=True)
class Account:
    """What a project lists of the service account itself. `role` None: it is not listed.

    `left_out` counts the listed accounts that could not be read; this one is none of them.
    """

    role: str | None
    expires_at: datetime | None
    left_out: int = 0

    @property
    def refusal(self) -> str | None:
        """Why the account may not connect, None when it may: only an admin or owner of the project may."""
        if self.role in _MAY_CONNECT:
            return None
        had = f"has the project role {self.role}" if self.role else "is not a member of this project"
        return f"The service account {had}; connecting needs admin or owner."


@dataclass(frozen=True)
class Page:
    """One page of profiles: aligned distinct ids and values of the property asked for.

    `is_regular`: every distinct id is a text, no text is too long or holds anything but printable ASCII.
    """

    reported_page: int | None
    page_size: int | None
    total: int | None
    session_id: str | None
    distinct_ids: list[object]
    values: list[object]
    is_regular: bool = False


def load_json(body: bytes) -> Any:
    """Read an answer of any shape. Raises VendorSurprise when it is cut off or not JSON."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return load_json_slowly(body)


def load_json_slowly(body: bytes) -> Any:
    """Read what a decoder refuses for one text that is no valid Unicode, or one number without end."""
    try:
        # Digits without end are a number no id can be: Python would refuse to read them at all.
        return json.loads(body, parse_int=lambda digits: int(digits) if len(digits) < 1000 else float(digits))
    except ValueError as exc:
        raise MIXPANEL.surprise() from exc


def check_success(status: object, error: object, *, needs_status: bool = True) -> None:
    """Raise what an answer with a success status says of its own failure: only `ok`, without an `error`, is a success.

    `needs_status` False: the answer may also leave its status out.

    Raises: VendorUnavailable, or what the vendor's words are known to mean.
    """
    if not states_error(error) and (status == "ok" or (status is None and not needs_status)):
        return
    text = find_text(error)
    if known := known_failure(text):
        raise known
    words = quote(text)
    sentence = "Mixpanel answered that it failed" if words else "Mixpanel's answer does not say that it succeeded"
    raise VendorUnavailable(f"{sentence}{f' ({words})' if words else ''}.", code="mixpanel_failed")


# What a regular profile has: a distinct id that is a text, and as the property anything but a text that is too long.
_REGULAR_ID = Annotated[str, msgspec.Meta(min_length=1)]
_REGULAR_VALUE = Annotated[str, msgspec.Meta(max_length=MAX_LENGTH)] | int | float | bool | list[Any] | dict[str, Any]


@cache
def _page_decoder(match_property: str, *, regular: bool = True) -> msgspec.json.Decoder[Any]:
    """Build a decoder for pages that hold one property, which skips all else.

    `regular`: it refuses a page with a profile that is not. What it checks on its way costs nothing, and much later.
    """
    value_type, id_type = (_REGULAR_VALUE | None, _REGULAR_ID) if regular else (Any, Any)
    properties = msgspec.defstruct(
        "Properties", [("value", value_type, msgspec.field(default=MISSING, name=match_property))], gc=False
    )
    id_options: dict[str, Any] = {"name": "$distinct_id"} | ({} if regular else {"default": None})
    profile = msgspec.defstruct(
        "Profile",
        [
            ("distinct_id", id_type, msgspec.field(**id_options)),
            ("properties", properties, msgspec.field(default_factory=properties, name="$properties")),
        ],
        gc=False,
    )
    claims = [(name, Any, None) for name in ("page", "page_size", "total", "session_id", "status", "error")]
    return msgspec.json.Decoder(msgspec.defstruct("Answer", [("results", list[profile] | None, None), *claims]))


def decode_page(body: bytes, match_property: str, *, is_first: bool = True) -> Page:
    """Decode one answer of the engage query.

    A string that is not valid Unicode makes the fast decoder refuse the page; the standard library then reads it, and
    matching counts that one id as invalid. The first page must say that it succeeded, since it alone can say that a
    cohort is empty; a further one that leaves its status out is believed as far as its rows add up.

    Raises: VendorSurprise when the answer is cut off, not JSON, or holds a number that cannot be; VendorUnavailable or
    SessionLost when it says that it failed.
    """
    is_regular = False
    try:
        try:
            answer = _page_decoder(match_property).decode(body)
            is_regular = _is_plain(body)
        except msgspec.ValidationError:
            answer = _page_decoder(match_property, regular=False).decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _decode_page_slowly(body, match_property, is_first=is_first)
    check_success(answer.status, answer.error, needs_status=is_first)
    rows = answer.results
    if rows is None:
        raise MIXPANEL.surprise()
    return Page(
        reported_page=_optional(answer.page, "page"),
        page_size=_optional(answer.page_size, "page_size", least=1),
        total=_optional(answer.total, "total"),
        session_id=_session_id(answer.session_id),
        distinct_ids=[row.distinct_id for row in rows],
        values=[row.properties.value for row in rows],
        is_regular=is_regular,
    )


def _is_plain(body: bytes) -> bool:
    """Return whether the texts of a body that was decoded are printable ASCII throughout, found at memory's speed.

    Control characters stand in JSON escaped, but for the last one of ASCII: the decoder refuses the others.
    """
    return body.isascii() and b"\\" not in body and b"\x7f" not in body


def _decode_page_slowly(body: bytes, match_property: str, *, is_first: bool) -> Page:
    claims = as_object(load_json_slowly(body))
    if not claims:
        raise MIXPANEL.surprise()
    check_success(claims.get("status"), claims.get("error"), needs_status=is_first)
    if not isinstance(claims.get("results"), list):
        raise MIXPANEL.surprise()
    # What is no profile at all is one without a distinct id: matching counts it as invalid.
    rows = [as_object(row) for row in claims["results"]]
    return Page(
        reported_page=_optional(claims.get("page"), "page"),
        page_size=_optional(claims.get("page_size"), "page_size", least=1),
        total=_optional(claims.get("total"), "total"),
        session_id=_session_id(claims.get("session_id")),
        distinct_ids=[row.get("$distinct_id") for row in rows],
        values=[as_object(row.get("$properties")).get(match_property, MISSING) for row in rows],
    )


def _optional(value: object, field: str, *, least: int = 0) -> int | None:
    return None if value is None else read_whole_number(value, field, least=least)


def _session_id(value: object) -> str | None:
    """Check what further pages are asked for with: it is sent back as it is."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if text is None or (isinstance(text, str) and len(text) <= _LONGEST_SESSION_ID and text.isprintable()):
        return text
    raise VendorSurprise("Mixpanel's answer holds a “session_id” that cannot be one.", code="mixpanel_no_session")
