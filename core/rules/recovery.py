"""When work is tried again whose process died. Pure."""

from __future__ import annotations

from datetime import timedelta

_FIRST_PAUSE = timedelta(minutes=1)
# A one-time export is not tried for ever: so long a pause is the last one.
_LONGEST_PAUSE = timedelta(hours=1)
_MOST_DOUBLED = 20


def pause_after_deaths(deaths: int, *, every_minutes: int | None) -> timedelta | None:
    """Return how long to wait with the next try of a run whose process died `deaths` times running; None: no more.

    The first time may have been anything. Then it may be the run that kills its process: 1, 2, 4, ... minutes, for a
    recurring sync up to its interval, for a one-time export (without an interval) seven tries in all.
    """
    if deaths < 2:
        return timedelta(0)
    pause = _FIRST_PAUSE * 2 ** min(deaths - 2, _MOST_DOUBLED)
    if every_minutes is None:
        return pause if pause < _LONGEST_PAUSE else None
    return min(pause, timedelta(minutes=every_minutes))
