"""The same actions from a terminal. Standard output is for results, standard error for everything else."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import typer

from core.cli import associate, audit, cohorts, connect, groups, people, runs, services, syncs
from core.cli.common import FAILED, WRONG_USAGE, with_times
from core.cli.output import complain, has_printed_json
from core.clock import LEASE_TIMES, SYSTEM_CLOCK, Clock, LeaseTimes
from core.errors import CohortBridgeError, SettingsError
from core.threads import are_any_left

app = typer.Typer(
    help="Export Mixpanel cohorts into Apptimize groups.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
# Commands of one word; the help lists them in this order, before those of two.
for module in (cohorts, runs, groups, associate, audit, services):
    app.add_typer(module.app)
app.add_typer(connect.connect_app, name="connect")
app.add_typer(runs.run_app, name="run")
app.add_typer(groups.groups_app, name="groups")
app.add_typer(syncs.syncs_app, name="syncs")
app.add_typer(people.people_app, name="people")
app.add_typer(audit.audit_app, name="audit")


@cache
def command() -> Any:
    """Build the command line from its functions once: that takes as long as a short command."""
    return typer.main.get_command(app)


def main(
    arguments: Sequence[str] | None = None, *, clock: Clock = SYSTEM_CLOCK, lease_times: LeaseTimes = LEASE_TIMES
) -> None:
    """Run a command and exit: 0 done, 1 failed or held, 2 wrong usage; never with a traceback."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with with_times(clock, lease_times):
            command()(args=given, standalone_mode=True)
    except CohortBridgeError as exc:
        complain(exc.message, exc.advice)
        _end(given, WRONG_USAGE if isinstance(exc, SettingsError) else FAILED)
    except KeyboardInterrupt:
        _end(given, FAILED)
    except BrokenPipeError:
        # The reader of our output has closed it: there is no one left to print for.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except SystemExit as exc:
        _end(given, exc.code if isinstance(exc.code, int) else FAILED)
    except Exception as exc:
        logging.getLogger(__name__).debug("unexpected", exc_info=True)
        complain(
            f"This failed in an unexpected way ({type(exc).__name__}).",
            "COHORT_BRIDGE_LOG_LEVEL=DEBUG shows more.",
        )
        _end(given, FAILED)


def _end(given: Sequence[str], code: int) -> None:
    """Exit; a failure with --json still leaves one document on standard output."""
    if code and "--json" in given and not has_printed_json():
        lists = {"cohorts", "runs", "groups"}
        listed = given[0] in lists or given[:2] in (["syncs", "list"], ["people", "list"])
        typer.echo("[]" if listed else "null")
    if are_any_left():
        # Nothing is torn down below a thread that hangs: what it uses would be reported, and could wait for it.
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
