"""What every command shares: options, exit statuses, and how a command opens the product."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from threading import Event
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.clock import SYSTEM_CLOCK, Clock, LeaseTimes
from core.errors import SettingsError
from core.signals import end_signals
from core.text import parse_id

if TYPE_CHECKING:
    # The help of the commands does without all that these need.
    from core.bridge import Bridge
    from core.settings import Settings

DONE, FAILED, WRONG_USAGE = 0, 1, 2
# How long a run without --wait waits for a query slot.
_PATIENCE_S = 60.0

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", metavar="NAME", help="A label to filter by; may be repeated.")]
MaxShrink = Annotated[
    int | None,
    typer.Option(metavar="PERCENT", help="Hold a run that would remove more than this share of the members."),
]
CohortId = Annotated[str, typer.Argument(metavar="COHORT_ID")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for a query slot as long as it takes.")]
To = Annotated[str | None, typer.Option("--to", metavar="NAME", help="Destination; not needed while there is one.")]

Mixpanel = Annotated[
    str | None,
    typer.Option(
        "--mixpanel",
        metavar="NAME",
        help="Mixpanel connection; not needed if one is called default, or there is only one.",
    ),
]


# --- starting ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Times:
    clock: Clock = SYSTEM_CLOCK
    lease_times: LeaseTimes | None = None  # as the database asks for


_OF_THE_SYSTEM = _Times()
_opened: ContextVar[Bridge | None] = ContextVar("cohort_bridge_opened", default=None)
_times = ContextVar("cohort_bridge_times", default=_OF_THE_SYSTEM)


@contextmanager
def with_times(clock: Clock, lease_times: LeaseTimes | None) -> Generator[None]:
    """Let the commands inside go by this clock, and by these lengths of leases."""
    token = _times.set(_Times(clock, lease_times))
    try:
        yield
    finally:
        _times.reset(token)


def read_here() -> tuple[Settings, Clock]:
    """Read the settings, for a command that opens nothing; returns the clock that it goes by too."""
    from core import log, settings

    configured = settings.read()
    if _is_service():
        log.configure(configured.log_level)
    else:  # a command that needs the storage says in its own sentence that it cannot be used
        level = configured.log_level if configured.log_level != "INFO" else "WARNING"
        log.configure(level, without="core.storage_watch")
    return configured, _times.get().clock


def open_here(*, must_belong: bool = True) -> Bridge:
    from core.bridge import open_bridge

    configured, _ = read_here()
    times = _times.get()
    bridge = open_bridge(configured, clock=times.clock, lease_times=times.lease_times, must_belong=must_belong)
    _opened.set(bridge)
    return bridge


def require_sound_database() -> None:
    """Look whether the database that a command opened is damaged. Raises StorageFailed."""
    if bridge := _opened.get():
        from core.bridge import require_sound

        require_sound(bridge)


def _is_service() -> bool:
    return "worker" in sys.argv[1:2]


# --- ending --------------------------------------------------------------------------------------------------------


# Whether the work of this process was ended by Ctrl-C, or by what ends it in the same way.
interrupted = Event()


def _like_ctrl_c() -> list[signal.Signals]:
    """List what has to be made to end a command as Ctrl-C does."""
    return [number for number in end_signals() if number is not signal.SIGINT]


@contextmanager
def ending_in_order() -> Generator[None]:
    """Let whatever ends a process raise KeyboardInterrupt inside, as Ctrl-C does, instead of ending it on the spot."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = [(number, signal.signal(number, interrupt)) for number in _like_ctrl_c()]
    try:
        yield
    except KeyboardInterrupt:
        interrupted.set()
        raise
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def cancel_when_ended(task: asyncio.Task[Any]) -> None:
    """Let the same signals cancel a task, in whose loop this is called."""
    for number in _like_ctrl_c():
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)


def patience(wait: bool) -> float | None:
    """Return how long to wait for a query slot; None: as long as it takes."""
    return None if wait else _PATIENCE_S


def whole_number(text: str, field: str) -> int:
    number = parse_id(text)
    if not number:
        raise SettingsError(f"{field}: {text!r} is not a whole number.", advice="`python -m core cohorts` lists them.")
    return number
