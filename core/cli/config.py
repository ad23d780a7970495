"""Commands of declared state: a file of what should be there, what it would change, and making it so."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, NoReturn, cast

import typer

from core.access.roles import LOCAL
from core.cli.common import FAILED, Json, open_here
from core.cli.output import complain, print_json, print_note, print_text, say
from core.declared import applying, exporting
from core.declared.entries import FileRefused, Mistake, plain
from core.declared.plan import Change, Plan
from core.errors import CohortBridgeError
from core.text import shown

config_app = typer.Typer(help="Declared state: all that is set up, as a file.", no_args_is_help=True)

WOULD_CHANGE = 2
_SIGNS = {"add": ("+", "green"), "change": ("~", "yellow"), "remove": ("-", "red")}
_LONGEST_VALUE = 200

File = Annotated[Path, typer.Argument(metavar="FILE", parser=Path, help="A TOML file, such as `config export` prints.")]
Prune = Annotated[bool, typer.Option("--prune", help="Remove the syncs, connections and channels that the file lacks.")]


@config_app.command("export")
def export_config(
    practice: Annotated[
        bool, typer.Option("--practice", help="Write what leads to the practice sandbox as well.")
    ] = False,
) -> None:
    """Print all that is set up as TOML, without secrets."""
    print_text(exporting.export_config(open_here(), LOCAL, practice=practice))


@config_app.command("plan")
def plan_config(file: File, prune: Prune = False, as_json: Json = False) -> None:
    """Show what a file would change: ends with 2 when it would change something, 0 when nothing, 1 if that failed."""
    plan = _carry_out(applying.plan_config, file, prune=prune, as_json=as_json, is_applied=False)
    raise typer.Exit(WOULD_CHANGE if plan.changes else 0)


@config_app.command("apply")
def apply_config(file: File, prune: Prune = False, as_json: Json = False) -> None:
    """Change what a file says, all or nothing: everything is checked first."""
    _carry_out(applying.apply_config, file, prune=prune, as_json=as_json, is_applied=True)


def _carry_out(
    action: Callable[..., applying.Outcome], file: Path, *, prune: bool, as_json: bool, is_applied: bool
) -> Plan:
    """Do what is asked with a file, print what came of it, and return the plan."""
    try:
        outcome = action(open_here(), LOCAL, file, prune=prune)
    except CohortBridgeError as exc:
        _fail(file, exc, as_json=as_json)
    if as_json:
        print_json(_document(file, outcome, applied=is_applied))
    else:
        _show(outcome.plan, is_done=is_applied)
    return outcome.plan


def _fail(file: Path, exc: CohortBridgeError, *, as_json: bool) -> NoReturn:
    """Tell why a file cannot be used, each mistake with its line, and end with 1: 2 is for changes."""
    mistakes = exc.mistakes if isinstance(exc, FileRefused) else []
    for mistake in mistakes:
        print_note(shown(f"{file.name}, line {mistake.line}: {mistake.field}: {mistake.message}", most=1000))
    complain(exc.message, exc.advice)
    if as_json:
        error = {"code": exc.code, "message": exc.message, "advice": exc.advice}
        print_json(_document(file, None, error=error, mistakes=mistakes))
    raise typer.Exit(FAILED)


# --- as JSON -------------------------------------------------------------------------------------------------------


def _document(
    file: Path,
    outcome: applying.Outcome | None,
    *,
    applied: bool = False,
    error: dict[str, str] | None = None,
    mistakes: Iterable[Mistake] = (),
) -> dict[str, Any]:
    plan = outcome.plan if outcome else Plan()

    def line(change: Change) -> int | None:
        return outcome.document.lines.find(change.entry.path) if outcome and change.entry else None

    return {
        "file": file.name,
        "sha256": outcome.document.digest if outcome else None,
        "applied": applied,
        "changes": [_change_as_json(change, line(change)) for change in plan.changes],
        "not_in_file": [_change_as_json(change, None) for change in plan.left],
        "notes": plan.notes,
        "mistakes": [{"line": each.line, "field": each.field, "message": each.message} for each in mistakes],
        "error": error,
    }


def _change_as_json(change: Change, line: int | None) -> dict[str, Any]:
    fields = {name: {"before": plain(old), "after": plain(new)} for name, (old, new) in change.fields.items()}
    return {
        "action": change.action,
        "kind": change.kind,
        "name": change.name,
        "line": line,
        "fields": fields,
        "notes": list(change.notes),
    }


# --- as a difference -----------------------------------------------------------------------------------------------


def _show(plan: Plan, *, is_done: bool) -> None:
    from rich.text import Text

    from core.cli.output import print_styled

    print_styled(Text(text, style=style) for change in plan.changes for text, style in _lines(change))
    if plan.left:
        say("Not in the file, and removed with --prune alone:")
        print_styled(Text(f"- {shown(f'{each.kind} {each.name}')}", style="dim") for each in plan.left)
    for note in plan.notes:
        print_note(note)
    if plan.changes:
        say(f"{'Done' if is_done else 'Would be'}: {applying.count_changes(plan)}.")
    else:
        say("Nothing is changed." if is_done else "Nothing would be changed.")


def _lines(change: Change) -> Iterator[tuple[str, str]]:
    sign, style = _SIGNS[change.action]
    yield shown(f"{sign} {change.kind} {change.name}"), style
    for name, (old, new) in change.fields.items():
        if change.action == "add":
            yield shown(f"    {name}: {_value(new)}"), style
        else:
            yield shown(f"    {name}: {_value(old)} → {_value(new)}", most=2 * _LONGEST_VALUE), style
    for note in change.notes:
        yield f"    {note}", ""


def _value(value: Any) -> str:
    value = plain(value)
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return f"from {value['env']}"
    text = ", ".join(map(str, cast("list[Any]", value))) or "none" if isinstance(value, list) else str(value)
    return shown(text, most=_LONGEST_VALUE)
