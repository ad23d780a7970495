"""The same actions from a terminal. Standard output is for results, standard error for everything else."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence

import typer

from core.cli import associate, audit, cohorts, connect, groups, people, runs, services, syncs
from core.cli.common import (
    FAILED,
    WRONG_USAGE,
    Times,
    app,
    audit_app,
    connect_app,
    groups_app,
    people_app,
    run_app,
    syncs_app,
)
from core.cli.output import complain, has_printed_json
from core.clock import LEASE_TIMES, SYSTEM_CLOCK, Clock, LeaseTimes
from core.errors import CohortBridgeError, SettingsError

# Importing them is what adds their commands.
_COMMANDS = (associate, audit, cohorts, connect, groups, people, runs, services, syncs)

app.add_typer(connect_app, name="connect")
app.add_typer(run_app, name="run")
app.add_typer(groups_app, name="groups")
app.add_typer(syncs_app, name="syncs")
app.add_typer(people_app, name="people")
app.add_typer(audit_app, name="audit")


def main(
    arguments: Sequence[str] | None = None, *, clock: Clock = SYSTEM_CLOCK, lease_times: LeaseTimes = LEASE_TIMES
) -> None:
    """Run a command and exit: 0 done, 1 failed or held, 2 wrong usage; never with a traceback."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        app(args=given, standalone_mode=True, obj=Times(clock, lease_times))
    except CohortBridgeError as exc:
        complain(exc.message, exc.advice)
        _end(given, WRONG_USAGE if isinstance(exc, SettingsError) else FAILED)
    except KeyboardInterrupt:
        _end(given, FAILED)
    except BrokenPipeError:
        # Whoever read our output stopped: nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except SystemExit as exc:
        _end(given, exc.code if isinstance(exc.code, int) else FAILED)
    except Exception as exc:
        logging.getLogger(__name__).debug("unforeseen", exc_info=True)
        complain(
            f"This failed in a way that was not foreseen ({type(exc).__name__}).",
            "COHORT_BRIDGE_LOG_LEVEL=DEBUG says more.",
        )
        _end(given, FAILED)


def _end(given: Sequence[str], code: int) -> None:
    """Exit; a failure with --json still leaves one document on standard output."""
    if code and "--json" in given and not has_printed_json():
        lists = {"cohorts", "runs", "groups"}
        listed = given[0] in lists or given[:2] in (["syncs", "list"], ["people", "list"])
        typer.echo("[]" if listed else "null")
    sys.exit(code)
