"""The same actions from a terminal. Standard output is for results, standard error for everything else."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import Any, NoReturn, cast

import typer

from core.cli import associate, audit, cohorts, connect, groups, people, runs, services, syncs
from core.cli.common import FAILED, WRONG_USAGE, require_sound_database, with_times
from core.cli.output import complain, has_printed_json, say
from core.clock import LEASE_TIMES, SYSTEM_CLOCK, Clock, LeaseTimes
from core.encoding import OutputLost, drop_output, prepare_streams, printing
from core.errors import CohortBridgeError, SettingsError
from core.text import SURROGATE
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
    built = typer.main.get_command(app)
    _check_texts(built)
    return built


def _check_texts(built: Any) -> None:
    """Have every argument and option that takes text refuse what is no text."""
    for parameter in built.params:
        if parameter.callback is None:
            parameter.callback = _refuse_bytes
    for subcommand in getattr(built, "commands", {}).values():
        _check_texts(subcommand)


def _refuse_bytes(_context: object, parameter: Any, value: Any) -> object:
    """Refuse bytes that are not UTF-8, which arrive as halves of characters; a file may have a name of any bytes."""
    texts = cast("list[object]", value) if isinstance(value, list) else [value]
    if any(isinstance(text, str) and SURROGATE.search(text) for text in texts):
        name = parameter.opts[-1]
        raise SettingsError(
            f"{name if name.startswith('-') else name.upper()}: this is not UTF-8.",
            advice="Enter it in a terminal of UTF-8.",
        )
    return cast("object", value)


def main(
    arguments: Sequence[str] | None = None, *, clock: Clock = SYSTEM_CLOCK, lease_times: LeaseTimes = LEASE_TIMES
) -> None:
    """Run a command and exit: 0 done, 1 failed or held, 2 wrong usage; never with a traceback."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    prepare_streams()
    try:
        with with_times(clock, lease_times):
            command()(args=given, standalone_mode=True)
    except CohortBridgeError as exc:
        complain(exc.message, exc.advice)
        _end(given, WRONG_USAGE if isinstance(exc, SettingsError) else FAILED)
    except KeyboardInterrupt:
        _end(given, FAILED)
    except (OutputLost, BrokenPipeError) as exc:
        _end_unheard(exc)
    except SystemExit as exc:
        _end(given, exc.code if isinstance(exc.code, int) else FAILED)
    except Exception as exc:
        logging.getLogger(__name__).debug("unexpected", exc_info=True)
        complain(*_explain(exc))
        _end(given, FAILED)


def _explain(exc: Exception) -> tuple[str, str]:
    """Return what is said of an error that no one foresaw, and what to do: a damaged database makes any of them."""
    try:
        require_sound_database()
    except CohortBridgeError as damaged:
        return damaged.message, damaged.advice
    return f"This failed in an unexpected way ({type(exc).__name__}).", "COHORT_BRIDGE_LOG_LEVEL=DEBUG shows more."


def _end(given: Sequence[str], code: int) -> None:
    """Exit; a failure with --json still leaves one document on standard output."""
    try:
        if code and "--json" in given and not has_printed_json():
            lists = {"cohorts", "runs", "groups"}
            listed = given[0] in lists or given[:2] in (["syncs", "list"], ["people", "list"])
            say("[]" if listed else "null")
        with printing():
            pass  # what is not written yet
    except OutputLost as exc:
        _end_unheard(exc)
    _exit(code)


def _exit(code: int) -> NoReturn:
    if are_any_left():
        # Nothing is torn down below a thread that hangs: what it uses would be reported, and could wait for it.
        with suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _end_unheard(exc: Exception) -> NoReturn:
    """Exit without what was to be printed. A reader that has closed it knows."""
    drop_output()
    if not isinstance(exc.__cause__ or exc, BrokenPipeError):
        complain(f"What was printed could not be written: {exc}.", "What the command did is done; print it elsewhere.")
    _exit(FAILED)
