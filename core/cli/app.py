"""The same actions from a terminal. Standard output is for results, standard error for everything else."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import Any, NoReturn, cast

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

from core.cli.common import FAILED, WRONG_USAGE, interrupted, require_sound_database, with_times
from core.cli.output import complain, has_printed_json, say
from core.clock import SYSTEM_CLOCK, Clock, LeaseTimes
from core.encoding import OutputLost, drop_output, prepare_streams, printing
from core.errors import CohortBridgeError, SettingsError
from core.text import SURROGATE

# Every command, in the order of the help: those of one word, then groups. What the help says of each stands here, so
# that a command is imported only when it is called.
_COMMANDS = {
    "cohorts": "List the project's cohorts, fresh from Mixpanel.",
    "export": "Export a cohort once, here and now.",
    "match": "Read a cohort: how many of its users can be targeted, and why the others cannot; nothing is written.",
    "runs": "List runs, newest first.",
    "who": "Look up a user by distinct id or Apptimize id, in what was read and associated; Mixpanel is not asked.",
    "forget": "Remove a person from all that is kept here; groups are not touched, the cohort decides who is in them.",
    "associate": "Set the Apptimize ids of a file on Mixpanel profiles, here and now: checked first, an outcome for "
    "every row.",
    "backup": "Back everything up in one file, but for the key, while everything runs.",
    "restore": "Restore a backup into an empty home.",
    "rotate-key": "Encrypt the stored secrets with a new key; the old one no longer opens them.",
    "worker": "Do what is due or queued, until asked to stop.",
    "dashboard": "Run the dashboard alone: beside workers, on this machine or others.",
    "sandbox": "Run the stand-ins for Mixpanel and Apptimize alone, on this machine.",
    "up": "Run everything for one machine in one terminal: worker, dashboard, and the sandbox in practice mode.",
    "connect": "Connect a Mixpanel project, or a destination for groups.",
    "run": "One run: show it, decide about it, or stop it.",
    "groups": "What was delivered.",
    "syncs": "Recurring and one-time syncs.",
    "people": "People and their roles.",
    "config": "Declared state: all that is set up, as a file.",
    "installation": "The key and the storage that an installation has.",
    "audit": "The audit log: who did what, and who was refused.",
}


def _find(name: str) -> typer.Typer:
    """Return the app that holds a command, or is that group of commands."""
    match name:
        case "cohorts":
            from core.cli.cohorts import app
        case "export":
            from core.cli.export import app
        case "match":
            from core.cli.match import app
        case "runs":
            from core.cli.runs import app
        case "who":
            from core.cli.who import app
        case "forget":
            from core.cli.forget import app
        case "associate":
            from core.cli.associate import app
        case "backup" | "restore":
            from core.cli.backup import app
        case "rotate-key":
            from core.cli.audit import app
        case "connect":
            from core.cli.connect import connect_app as app
        case "run":
            from core.cli.runs import run_app as app
        case "groups":
            from core.cli.groups import groups_app as app
        case "syncs":
            from core.cli.syncs import syncs_app as app
        case "people":
            from core.cli.people import people_app as app
        case "config":
            from core.cli.config import config_app as app
        case "installation":
            from core.cli.installation import installation_app as app
        case "audit":
            from core.cli.audit import audit_app as app
        case _:
            from core.cli.services import app
    return app


class _NotLoaded(TyperCommand):
    """What the help says of a command that was not called."""


class _Commands(TyperGroup):
    """All commands, each loaded when it is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that is called, and load it; the context holds what is called then."""
        name, _, rest = super().resolve_command(ctx, args)
        loaded = self.load(name) if name else None
        ctx.obj()
        return name, loaded, rest

    def load(self, name: str) -> Any:
        """Import a command, and build it from its function: that takes as long as a short command."""
        if isinstance(self.commands[name], _NotLoaded):
            group = get_group(_find(name))
            loaded = group.commands.get(name, group)
            loaded.name = name
            _check_texts(loaded)
            self.commands[name] = loaded
        return self.commands[name]

    def load_all(self) -> _Commands:
        """Load every command, as whoever starts many of them from one process does."""
        for name in self.commands:
            self.load(name)
        return self


@cache
def command() -> _Commands:
    """Return the command line: one a process, since it is built as it is used."""
    return _Commands(
        commands={name: _NotLoaded(name=name, help=text) for name, text in _COMMANDS.items()},
        help="Export Mixpanel cohorts into Apptimize groups.",
        no_args_is_help=True,
    )


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
    arguments: Sequence[str] | None = None,
    *,
    clock: Clock = SYSTEM_CLOCK,
    lease_times: LeaseTimes | None = None,
    when_loaded: Callable[[], None] = lambda: None,
) -> None:
    """Run a command and exit: 0 done, 1 failed or held, 2 wrong usage; never with a traceback.

    `when_loaded` is called between the import of the command and its work.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    prepare_streams()
    try:
        with with_times(clock, lease_times):
            command()(args=given, standalone_mode=True, obj=when_loaded)
    except CohortBridgeError as exc:
        complain(exc.message, exc.advice)
        _end(given, WRONG_USAGE if isinstance(exc, SettingsError) else FAILED)
    except KeyboardInterrupt:
        interrupted.set()
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
    threads = sys.modules.get("core.threads")  # who has not imported it has started none
    if interrupted.is_set() or (threads is not None and threads.are_any_left()):
        # Nothing is torn down below a thread that hangs: what it uses would be reported, and could wait for it. And an
        # interruption that came while Python ran a text as code, as it does to make a class, would be its end by a
        # signal though it was dealt with long ago.
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
