"""What every command shares: the groups of commands, the options, the exit statuses."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated

import click
import typer

from core import log, settings
from core.bridge import Bridge, open_bridge
from core.clock import LEASE_TIMES, SYSTEM_CLOCK, Clock, LeaseTimes
from core.errors import SettingsError

DONE, FAILED, WRONG_USAGE = 0, 1, 2
# How long an export without --wait waits for a query slot.
PATIENCE_S = 60.0

app = typer.Typer(
    help="Export Mixpanel cohorts into Apptimize groups.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
connect_app = typer.Typer(
    help="Connect a Mixpanel project, or a place that groups are delivered to.", no_args_is_help=True
)
run_app = typer.Typer(help="One run: show it, or stop it.", no_args_is_help=True)
groups_app = typer.Typer(help="What was delivered.")
syncs_app = typer.Typer(help="Recurring syncs, and those that exported once.", no_args_is_help=True)
people_app = typer.Typer(help="Who may come in, and as what.", no_args_is_help=True)
audit_app = typer.Typer(help="Who did what, and who was refused.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", metavar="NAME", help="A word to find it by; may be repeated.")]
MaxShrink = Annotated[
    int | None, typer.Option(metavar="PERCENT", help="Hold a run that would take more than this share away.")
]
To = Annotated[str | None, typer.Option("--to", metavar="NAME", help="Destination; not needed while there is one.")]


# --- starting ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Times:
    """The clock and the lengths of leases that commands go by."""

    clock: Clock = SYSTEM_CLOCK
    lease_times: LeaseTimes = LEASE_TIMES


def open_here() -> Bridge:
    configured = settings.read()
    log.configure(configured.log_level if configured.log_level != "INFO" or _is_service() else "WARNING")
    context = click.get_current_context(silent=True)
    times = context.find_object(Times) if context else None
    times = times or Times()
    return open_bridge(configured, clock=times.clock, lease_times=times.lease_times)


def _is_service() -> bool:
    return "worker" in sys.argv[1:2]


def whole_number(text: str, field: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 0 < int(text[:20]) < 2**63:
        raise SettingsError(f"{field}: {text!r} is not a whole number.", advice="`python -m core cohorts` lists them.")
    return int(text)
