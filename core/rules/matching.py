"""Profile to the id of a member, or why not. The one place where that is decided; nothing here reads or writes.

The rules for Apptimize ids are those of the integration page, section "Matching users", made exact. A destination that
knows people by another id is given that one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from itertools import compress
from typing import cast

from core.invisible import INVISIBLE, is_unseen
from core.text import SURROGATE
from data.models import MemberId

MAX_LENGTH = 256
IDENTIFIED, ANONYMOUS = "i_", "a_"
PREFIXES = (IDENTIFIED, ANONYMOUS)
APPTIMIZE_PROPERTY = "$apptimize_user_id"
USER_PROPERTY = "$user_id"
DISTINCT_PROPERTY = "$distinct_id"
DEVICE = "$device:"
# What stands before the place of a profile that has no distinct id.
_UNNAMED = "\x00"
# Controls of both ASCII and Latin-1, and the surrogates that JSON can smuggle in one at a time.
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_PRINTABLE = bytes(range(0x20, 0x7F))
_EXACT = 2**53


class IdMerge(StrEnum):
    """How the Mixpanel project joins ids; fixed per project once it has data."""

    ORIGINAL = "original"
    SIMPLIFIED = "simplified"


class Missing:
    """A property that the profile does not have, as opposed to one that is null."""


MISSING = Missing()


class Reason(StrEnum):
    """Why a profile has no usable Apptimize id."""

    UNMATCHED = "unmatched"
    BLANK = "blank"
    INVISIBLE = "invisible"
    BOOLEAN = "boolean"
    LIST = "list"
    OBJECT = "object"
    NUMBER = "number"
    TOO_LONG = "too_long"
    CONTROL_CHARACTER = "control_character"
    SURROGATE = "surrogate"
    DISTINCT_ID = "distinct_id"


@dataclass(frozen=True)
class MatchRule:
    """How a connection, or one sync of it, matches users: the ID merge mode and the property asked for.

    `expects_prefix` None: as usual in that mode. It changes what is counted, not who is matched. Where the destination
    knows people by another id than Apptimize's, `member_id` says by which; see `by_distinct_id` and `by_property`.
    """

    id_merge: IdMerge = IdMerge.ORIGINAL
    match_property: str = APPTIMIZE_PROPERTY
    expects_prefix: bool | None = None
    member_id: MemberId = MemberId.APPTIMIZE

    @property
    def is_apptimize(self) -> bool:
        """Whether members are Apptimize ids: the ID merge mode and prefixes say nothing of others."""
        return self.member_id is MemberId.APPTIMIZE

    @property
    def prefixes(self) -> tuple[str, ...]:
        """What Apptimize ids are expected to start with; empty when nothing is expected."""
        if not self.is_apptimize:
            return ()
        usual = self.id_merge is IdMerge.ORIGINAL
        return PREFIXES if (usual if self.expects_prefix is None else self.expects_prefix) else ()

    @property
    def may_misattribute(self) -> bool:
        """Whether the integration page warns of it: a Simplified project that is matched on another property."""
        return self.is_apptimize and self.id_merge is IdMerge.SIMPLIFIED and self.match_property != USER_PROPERTY

    @property
    def takes_distinct_id(self) -> bool:
        """Whether a profile without the property is matched by its distinct id."""
        return self.is_apptimize and self.id_merge is IdMerge.SIMPLIFIED and self.match_property == USER_PROPERTY

    def __str__(self) -> str:
        return f"{self.id_merge if self.is_apptimize else self.member_id}:{self.match_property}"


def by_distinct_id() -> MatchRule:
    """Return the rule of a destination that knows people by their distinct id: every profile is a member.

    Their distinct id comes in any case; it is also what is asked for, since an answer without a list of properties, or
    perhaps with an empty one, has them all.
    """
    return MatchRule(match_property=DISTINCT_PROPERTY, member_id=MemberId.DISTINCT)


def by_property(name: str) -> MatchRule:
    """Return the rule of a destination that knows people by what another profile property holds."""
    return MatchRule(match_property=name, member_id=MemberId.PROPERTY)


@lru_cache(maxsize=1000)
def read_rule(text: str) -> MatchRule | None:
    """Return the rule that a run or a group was matched by, as `str` wrote it; None where none is noted."""
    way, _, match_property = text.partition(":")
    if not match_property:
        return None
    if way in (MemberId.DISTINCT, MemberId.PROPERTY):
        return MatchRule(match_property=match_property, member_id=MemberId(way))
    return MatchRule(IdMerge(way), match_property) if way in tuple(IdMerge) else None


def id_kind(matched_by: str) -> str:
    """Return which kind of id members are known by, from what they were matched by: empty for Apptimize ids."""
    rule = read_rule(matched_by)
    return "" if rule is None or rule.is_apptimize else matched_by


@dataclass
class Matched:
    """A page of profiles, matched: aligned ids of the usable ones, aligned ids and reasons of the others.

    `apptimize_ids` are what members are known by, whatever that is at the destination.
    """

    distinct_ids: list[str] = field(default_factory=list[str])
    apptimize_ids: list[str] = field(default_factory=list[str])
    unusable_ids: list[str] = field(default_factory=list[str])
    reasons: list[str] = field(default_factory=list[str])


def match_page(
    distinct_ids: Sequence[object],
    values: Sequence[object],
    rule: MatchRule,
    *,
    page: int = 0,
    is_regular: bool = False,
) -> Matched:
    """Match a page: aligned distinct ids and values of the match property (`MISSING` where there is none).

    `page` only serves to name profiles without a distinct id. `is_regular`: every distinct id is known to be a text,
    no text to be too long, and all of them to be printable ASCII. Order is kept.
    """
    if not is_regular and not _all_named(distinct_ids):
        return _match_one_by_one(distinct_ids, values, rule, page)
    ids: Sequence[str] = distinct_ids  # type: ignore[assignment]
    if rule.member_id is MemberId.DISTINCT:
        return Matched(list(ids), list(ids))
    # Most values are texts that are usable as they are, and quickly seen to be: the others alone are looked at singly.
    odd = [row for row, value in enumerate(values) if type(value) is not str or not value.strip()]
    results, usable = list(values), bytearray(b"\x01") * len(values)
    matched = Matched()
    takes_distinct_id = rule.takes_distinct_id
    for row in odd:
        value = values[row]
        is_unmatched = (value is MISSING or value is None) and not takes_distinct_id  # most that are odd
        results[row] = result = Reason.UNMATCHED if is_unmatched else match(ids[row], value, rule)
        if isinstance(result, Reason):
            usable[row] = False
            matched.unusable_ids.append(ids[row])
            matched.reasons.append(result.value)
    matched.distinct_ids = list(compress(ids, usable))
    matched.apptimize_ids = list(compress(cast("list[str]", results), usable))
    if is_regular or _all_fit(matched.apptimize_ids):
        return matched
    return _match_one_by_one(distinct_ids, values, rule, page)


def _match_one_by_one(distinct_ids: Sequence[object], values: Sequence[object], rule: MatchRule, page: int) -> Matched:
    matched = Matched()
    for row, (raw_id, value) in enumerate(zip(distinct_ids, values, strict=True)):
        distinct_id = _distinct_id_text(raw_id)
        result = Reason.DISTINCT_ID if distinct_id is None else match(distinct_id, value, rule)
        if isinstance(result, Reason):
            matched.unusable_ids.append(f"{_UNNAMED}{page}:{row}" if distinct_id is None else distinct_id)
            matched.reasons.append(result.value)
        else:
            matched.distinct_ids.append(distinct_id or "")
            matched.apptimize_ids.append(result)
    return matched


def is_named(distinct_id: str) -> bool:
    """Return whether a matched profile has a distinct id of its own, not only its place."""
    return not distinct_id.startswith(_UNNAMED)


def _all_named(distinct_ids: Sequence[object]) -> bool:
    """Return whether every distinct id is a text that is taken as it is."""
    if not set(map(type, distinct_ids)) <= {str}:
        return False
    ids: Sequence[str] = distinct_ids  # type: ignore[assignment]
    joined = "".join(ids)
    return all(ids) and (_is_plain(joined) or not SURROGATE.search(joined))


def _all_fit(texts: Sequence[str]) -> bool:
    """Return whether texts that are not blank are usable: none too long, and none with a character that is unfit."""
    joined = "".join(texts)
    if max(map(len, texts), default=0) > MAX_LENGTH:
        return False
    if _is_plain(joined):
        return True
    return not _UNFIT.search(joined) and not (INVISIBLE.search(joined) and any(map(is_unseen, texts)))


def _is_plain(text: str) -> bool:
    """Return whether a text is of printable ASCII only: seen ten times as fast as what a pattern finds."""
    return not text.encode("utf-8", "surrogatepass").translate(None, _PRINTABLE)


def _distinct_id_text(raw: object) -> str | None:
    """Turn a distinct id into text: Mixpanel documents an integer and sends strings. None when it is neither."""
    if isinstance(raw, bool):
        return None
    if isinstance(raw, int):
        return str(raw)
    return raw if isinstance(raw, str) and raw and not SURROGATE.search(raw) else None


def match(distinct_id: str, value: object, rule: MatchRule) -> str | Reason:
    """Return what a profile is known by as a member, or the reason why it is none.

    A distinct id is taken as it is: whatever Mixpanel tells two profiles apart by, a message can hold.
    """
    if rule.member_id is MemberId.DISTINCT:
        return distinct_id
    if rule.takes_distinct_id and (value is MISSING or value is None):
        return Reason.UNMATCHED if distinct_id.startswith(DEVICE) else _usable(distinct_id)
    if value is MISSING or value is None:
        return Reason.UNMATCHED
    if isinstance(value, bool):
        return Reason.BOOLEAN
    if isinstance(value, int | float):
        return _usable_number(value)
    if isinstance(value, str):
        return _usable(value)
    return Reason.LIST if isinstance(value, list) else Reason.OBJECT


def _usable_number(value: float) -> str | Reason:
    if isinstance(value, int):
        return _usable(str(value)) if abs(value) < 10**MAX_LENGTH else Reason.TOO_LONG
    # Above 2^53 a float no longer tells neighbouring numbers apart: two users could become one.
    whole = math.isfinite(value) and value.is_integer() and abs(value) < _EXACT
    return str(int(value)) if whole else Reason.NUMBER


def _usable(text: str) -> str | Reason:
    if not text.strip():
        return Reason.BLANK
    if len(text) > MAX_LENGTH:
        return Reason.TOO_LONG
    unfit = _UNFIT.search(text)
    if unfit:
        return Reason.SURROGATE if SURROGATE.match(unfit.group()) else Reason.CONTROL_CHARACTER
    return Reason.INVISIBLE if is_unseen(text) else text
