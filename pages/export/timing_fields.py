"""How often a recurring sync runs, as fields: an interval, or set times on days of the week, or cron."""

from __future__ import annotations

from datetime import datetime, time
from itertools import islice
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from core.errors import BudgetTooSmall, CohortBridgeError, SettingsError
from core.rules import cron, schedules, zones
from core.rules.due_times import INTERVALS
from core.rules.schedules import DAYS, WEEKDAYS
from core.rules.zones import list_zones
from data.models import Schedule, Timing
from pages.parts.formatting import EVERY, error_text, escape_markdown, zone
from pages.parts.stored import offer
from pages.shell import page_frame, resources

AT_SET_TIMES, CRON = "At set times", "As cron"
_CHOICES = (*INTERVALS, AT_SET_TIMES, CRON)
_NAMES: dict[int | str, str] = {**EVERY, AT_SET_TIMES: AT_SET_TIMES, CRON: CRON}
_DAY_NAMES = {number: day[:3] for number, day in enumerate(DAYS)}
_USUAL_TIMES, _USUAL_CRON = ["08:00"], "0 8 * * 1-5"
_OFFERED = [f"{hour:02}:{minute:02}" for hour in range(24) for minute in (0, 30)]
_SHOWN_TIMES = 3
# Beside each other in half a form, in a window of 800 pixels too, and in all of it on a phone.
_TIMES_PX, _ZONE_PX = 142, 158
# The fields that errors about set times name.
_FIELDS = {"Days": "days", "Times": "times", schedules.FIELD: "times", cron.FIELD: "cron", zones.FIELD: "zone"}


class _Start(NamedTuple):
    """What the fields hold at first."""

    choice: int | str
    days: list[int]
    times: list[str]
    expressions: str
    zone: str


def error_places(prefix: str, row_id: int) -> dict[str, str]:
    """Return where an error about one of these fields is shown, by the name that it begins with, or its code."""
    fields = {**_FIELDS, "Interval": "every", BudgetTooSmall.code: "every"}
    return {name: _key(prefix, field, row_id) for name, field in fields.items()}


def show_interval(prefix: str, row_id: int, timing: Timing) -> None:
    """Show the choice of an interval, or of set times; `read` returns what is entered."""
    key = _key(prefix, "every", row_id)
    offer(key, _start(timing).choice)
    st.selectbox(
        "Interval",
        _CHOICES,
        format_func=_NAMES.__getitem__,
        key=key,
    )
    page_frame.show_answer(key, *(_key(prefix, name, row_id) for name in ("every", *_FIELDS.values())))


def show_times(prefix: str, row_id: int, timing: Timing, *, days_in: DeltaGenerator | None = None) -> str:
    """Show the fields for set times where those are chosen, days elsewhere on request; return the next times, in words.

    What is wrong with them stands at its field, and nothing is returned.
    """
    start, choice = _start(timing), st.session_state[_key(prefix, "every", row_id)]
    if choice not in (AT_SET_TIMES, CRON):
        return ""
    with st.container(horizontal=True, gap="xsmall"):
        left, right = st.container(width=_TIMES_PX), st.container(width=_ZONE_PX)
    # In the room of both: a sentence would be a narrow column below one of them.
    spots = {name: st.empty() for name in ("times" if choice == AT_SET_TIMES else "cron", "zone")}
    if choice == AT_SET_TIMES:
        offer(_key(prefix, "times", row_id), list(start.times))
        left.multiselect(
            "Times",
            sorted({*_OFFERED, *start.times}),
            accept_new_options=True,
            select_all=False,
            placeholder="Choose, or type 07:45",
            key=_key(prefix, "times", row_id),
        )
    else:
        offer(_key(prefix, "cron", row_id), start.expressions)
        left.text_input(
            "Cron expression",
            key=_key(prefix, "cron", row_id),
            help="Five fields: minute, hour, day of the month, month, day of the week. Several with “;” between.",
        )
    offer(_key(prefix, "zone", row_id), start.zone)
    right.selectbox("Time zone", list(list_zones()), key=_key(prefix, "zone", row_id))
    # Below the lists, so that none of these lies over the button of the form.
    if choice == AT_SET_TIMES:
        offer(_key(prefix, "days", row_id), start.days)
        days = days_in or st.container()
        days.pills(
            "Days",
            list(_DAY_NAMES),
            selection_mode="multi",
            format_func=_DAY_NAMES.__getitem__,
            key=_key(prefix, "days", row_id),
        )
        spots["days"] = days.empty()
    return _next_times(prefix, row_id, spots)


def read(prefix: str, row_id: int) -> Timing:
    """Return what was entered. Raises SettingsError naming the field."""
    choice = entered(prefix, "every", row_id)
    if choice not in (AT_SET_TIMES, CRON):
        return choice
    place = entered(prefix, "zone", row_id)
    if choice == CRON:
        return schedules.from_cron(entered(prefix, "cron", row_id), place)
    times = [_time(text) for text in entered(prefix, "times", row_id)]
    return schedules.from_days(entered(prefix, "days", row_id), times, place)


def entered(prefix: str, name: str, row_id: int) -> Any:
    """Return what a field holds. Raises SettingsError where it was not shown yet.

    A choice that shows more fields, and the button right after it, come together: nobody has seen what those hold.
    """
    try:
        return st.session_state[_key(prefix, name, row_id)]
    except KeyError:
        raise SettingsError(
            "Your last choice opened more fields after you pressed the button. Nothing was done.",
            advice="Check those fields, then press it again.",
        ) from None


def parts_of(timing: Timing) -> tuple[int | None, Schedule | None]:
    """Return the interval and the schedule that actions take, one of them None."""
    return (None, timing) if isinstance(timing, Schedule) else (timing, None)


def _key(prefix: str, name: str, row_id: int) -> str:
    return f"{prefix}_{name}_{row_id}"


def _start(timing: Timing) -> _Start:
    here = zone().key if zone().key in list_zones() else "UTC"
    if not isinstance(timing, Schedule):
        return _Start(timing, sorted(WEEKDAYS), _USUAL_TIMES, _USUAL_CRON, here)
    place = timing.zone if timing.zone in list_zones() else "UTC"
    plain = schedules.read_days(timing.cron)
    if plain is None or len(plain[1]) > schedules.MOST_TIMES:
        return _Start(CRON, sorted(WEEKDAYS), _USUAL_TIMES, timing.cron, place)
    days, times = plain
    return _Start(AT_SET_TIMES, sorted(days), [f"{at:%H:%M}" for at in times], timing.cron, place)


def _time(text: str) -> time:
    try:
        return datetime.strptime(text.strip(), "%H:%M").time()  # noqa: DTZ007 - a time of day
    except ValueError:
        raise SettingsError(f"Times: “{text[:20]}” is not a time of day.", advice="Write it as 07:45.") from None


def _next_times(prefix: str, row_id: int, spots: dict[str, DeltaGenerator]) -> str:
    """Format the first times of what is entered, in its zone and, where that is another, as the reader's clocks do.

    What is wrong with it stands at its field, whether it was tried to save it or not, until it is right.
    """
    try:
        schedule = read(prefix, row_id)
        assert isinstance(schedule, Schedule)
        slots = list(islice(cron.list_slots(schedule, after=resources.now()), _SHOWN_TIMES))
    except CohortBridgeError as exc:
        field = _FIELDS.get(exc.message.partition(":")[0], "")
        spot = spots.get(field, next(iter(spots.values())))
        show = spot.error if page_frame.has_failed(_key(prefix, field, row_id)) else spot.warning
        show(error_text(exc), icon=":material/schedule:")
        return ""
    text = f"Next: {_listed(slots, ZoneInfo(schedule.zone))} ({escape_markdown(schedule.zone)})."
    if _listed(slots, zone()) != _listed(slots, ZoneInfo(schedule.zone)):
        text += f" For you: {_listed(slots, zone())} ({escape_markdown(zone().key)})."
    return text


def _listed(slots: list[datetime], place: ZoneInfo) -> str:
    return "; ".join(f"{slot.astimezone(place):%a %-d %b, %H:%M}" for slot in slots).replace(":", "\\:")
