"""The names of properties that profiles and events have: what other readers ask for before they read."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from core.sandbox.wire import Refused

DATETIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
# Mixpanel's OpenAPI file query.yaml, /events/properties/top, read 2026-11-26.
EVENT_LIMIT = 10


def list_profile_properties(profiles: Iterable[Mapping[str, Any]], arguments: dict[str, Any]) -> dict[str, Any]:
    """Answer each property with how many profiles have it and its most frequent type, the most frequent first.

    Documented nowhere: the form is what tap-mixpanel 1.8.0 and airbyte's source-mixpanel read (2026-11-26). Without a
    `limit` all are listed.
    """
    types: dict[str, Counter[str]] = {}
    for profile in profiles:
        for name, value in profile.items():
            if value is not None:
                types.setdefault(name, Counter())[_type(value)] += 1
    counts = Counter({name: kinds.total() for name, kinds in types.items()})
    listed = {
        name: {"count": count, "type": types[name].most_common(1)[0][0]}
        for name, count in counts.most_common(_limit(arguments, default=None))
    }
    return {"results": listed, "status": "ok"}


def list_event_properties(events: Iterable[Mapping[str, Any]], arguments: dict[str, Any]) -> dict[str, Any]:
    """Answer each property with how many events have it, the most frequent first.

    The documentation asks for an `event`; both readers leave it out and mean all of them.
    """
    asked = arguments.get("event")
    counts: Counter[str] = Counter()
    for event in events:
        if asked in (None, "", event["event"]):
            counts.update(name for name, value in event["properties"].items() if value is not None)
    limit = _limit(arguments, default=EVENT_LIMIT)
    return {name: {"count": count} for name, count in counts.most_common(limit)}


def _type(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "datetime" if DATETIME.fullmatch(value) else "string"
    return "list" if isinstance(value, list) else "object"


def _limit(arguments: dict[str, Any], *, default: int | None) -> int | None:
    given = str(arguments.get("limit") or "")
    if not given:
        return default
    if not given.isdecimal() or not int(given[:9]):
        raise Refused(400, "limit must be a positive integer")
    return int(given[:9])
