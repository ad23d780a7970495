"""The same actions from a terminal. Standard output is for results, standard error for everything else."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import SecretStr

from core import association, audit, connections, funnel, keys, log, lookup, people, recurring, settings, syncs
from core.access import LOCAL
from core.bridge import Bridge, open_bridge
from core.errors import CohortBridgeError, NotFound, SettingsError
from data.models import Association, Connection, Group, Run, Stage, Status, Sync

DONE, FAILED, WRONG_USAGE = 0, 1, 2
# How long an export without --wait waits for a query slot.
PATIENCE_S = 60.0

app = typer.Typer(
    help="Export Mixpanel cohorts into Apptimize groups.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
connect = typer.Typer(help="Connect a Mixpanel project, or a place that groups are delivered to.", no_args_is_help=True)
one_run = typer.Typer(help="One run: show it, or stop it.", no_args_is_help=True)
groups_app = typer.Typer(help="What was delivered.")
syncs_app = typer.Typer(help="Recurring syncs, and those that exported once.", no_args_is_help=True)
app.add_typer(connect, name="connect")
app.add_typer(one_run, name="run")
app.add_typer(groups_app, name="groups")
app.add_typer(syncs_app, name="syncs")
people_app = typer.Typer(help="Who may come in, and as what.", no_args_is_help=True)
app.add_typer(people_app, name="people")
audit_app = typer.Typer(help="Who did what, and who was refused.", no_args_is_help=True)
app.add_typer(audit_app, name="audit")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", metavar="NAME", help="A word to find it by; may be repeated.")]
MaxShrink = Annotated[
    int | None, typer.Option(metavar="PERCENT", help="Hold a run that would take more than this share away.")
]
To = Annotated[str | None, typer.Option("--to", metavar="NAME", help="Destination; not needed while there is one.")]


# --- connecting ----------------------------------------------------------------------------------------------------


@connect.command("mixpanel")
def connect_mixpanel(
    username: Annotated[str, typer.Option(help="The service account's username.")],
    project_id: Annotated[str, typer.Option(help="The project's number.")],
    region: Annotated[str, typer.Option(help="us, eu or in.")] = "us",
    workspace_id: Annotated[str | None, typer.Option(help="The data view's number, if there is one.")] = None,
    id_merge: Annotated[str, typer.Option(help="original or simplified.")] = "original",
    match_property: Annotated[str, typer.Option(help="The profile property with the Apptimize id.")] = "",
    name: Annotated[str, typer.Option(help="What to call the connection; an existing one is replaced.")] = "default",
) -> None:
    """Check the credentials and the account's role, then store them. The secret is asked for, or in the environment."""
    bridge = _bridge()
    secret = _secret(bridge.settings.mixpanel_secret, "Service account secret", "COHORT_BRIDGE_MIXPANEL_SECRET")
    form = connections.MixpanelForm(
        username=username,
        secret=secret,
        project_id=project_id,
        region=region,
        workspace_id=workspace_id,
        id_merge=id_merge,
        match_property=match_property,
        project_token=bridge.settings.mixpanel_project_token,
        name=name,
    )
    _say_connected(connections.connect_mixpanel(bridge, LOCAL, form))


@connect.command("apptimize")
def connect_apptimize(
    endpoint: Annotated[str, typer.Option(metavar="URL", help="Where cohort-sync messages go.")],
    name: Annotated[str, typer.Option(help="What to call the destination; an existing one is replaced.")] = "default",
) -> None:
    """Test the endpoint with the token, then store both. The token is asked for, or in the environment."""
    bridge = _bridge()
    token = _secret(bridge.settings.apptimize_token, "Apptimize token", "COHORT_BRIDGE_APPTIMIZE_TOKEN")
    _say_connected(connections.connect_endpoint(bridge, LOCAL, url=endpoint, token=token, name=name))


@connect.command("csv")
def connect_csv(
    folder: Annotated[str, typer.Option(metavar="DIR", help="Where a file for each group is written.")],
    name: Annotated[str, typer.Option(help="What to call the destination; an existing one is replaced.")] = "csv",
) -> None:
    """Deliver groups as CSV files, as Apptimize's Groups page takes them."""
    _say_connected(connections.connect_csv(_bridge(), LOCAL, folder=folder, name=name))


def _secret(given: SecretStr | None, what: str, variable: str) -> SecretStr:
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise SettingsError(f"{what}: this is needed.", advice=f"Set {variable}, or run this at a terminal.")
    return SecretStr(typer.prompt(what, hide_input=True, err=True))


def _say_connected(connection: Connection) -> None:
    note = " (practice sandbox)" if connection.practice else ""
    typer.echo(f"Connected: {connection.name}{note}.")


# --- cohorts and exports -------------------------------------------------------------------------------------------


@app.command("cohorts")
def list_cohorts(as_json: Json = False) -> None:
    """List the project's cohorts, asked for afresh."""
    found = syncs.list_cohorts(_bridge(), LOCAL)
    if as_json:
        _print_json(
            [
                {
                    "id": one.id,
                    "name": one.name,
                    "description": one.description,
                    "count": one.count,
                    "created": one.created,
                    "is_visible": one.is_visible,
                    "exportable": not one.of_groups,
                    "reason": syncs.NOT_USERS if one.of_groups else None,
                }
                for one in found
            ]
        )
        return
    rows = [
        (str(one.id), one.name, f"{one.count:,}", _cohort_marks(is_visible=one.is_visible, of_groups=one.of_groups))
        for one in found
    ]
    _print_table(("Cohort", "Name", "Count", ""), rows, right=(0, 2))


def _cohort_marks(*, is_visible: bool, of_groups: bool) -> str:
    return ", ".join(mark for mark, holds in (("hidden", not is_visible), ("not users", of_groups)) if holds)


@app.command()
def export(
    cohort_id: Annotated[str, typer.Argument(metavar="COHORT_ID")],
    group: Annotated[str | None, typer.Option(metavar="NAME", help="Group name; else it follows the cohort's.")] = None,
    to: To = None,
    full: Annotated[bool, typer.Option("--full", help="Overwrite in full, whatever it holds.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and compare, write nothing.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for a query slot as long as it takes.")] = False,
    as_json: Json = False,
) -> None:
    """Export a cohort once, here and now."""
    from core import worker

    number = _whole_number(cohort_id, "COHORT_ID")
    bridge = _bridge()
    owner = worker.new_owner()
    run = syncs.start_export(
        bridge, LOCAL, number, group=group, to=to, full=full, dry_run=dry_run, trigger="cli", owner=owner
    )
    assert run.id is not None
    run = _do_here(bridge, run.id, owner, patience_s=None if wait else PATIENCE_S, as_json=as_json)
    if as_json:
        _print_json(run_as_json(run))
    elif run.status == Status.SUCCEEDED:
        _print_run(run)
    if run.status != Status.SUCCEEDED:
        _complain(run.error_message or f"The run ended as {run.status}.", run.error_advice or "")
        raise typer.Exit(FAILED)


def _do_here(bridge: Bridge, run_id: int, owner: str, *, patience_s: float | None, as_json: bool) -> Run:
    from core import worker
    from core.progress import shown

    async def main() -> Run:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        with shown() as watch:
            return await worker.carry_out_here(
                bridge,
                run_id,
                owner=owner,
                patience_s=patience_s,
                watch=watch,
                tell=_say,
            )

    try:
        return asyncio.run(main())
    except (KeyboardInterrupt, asyncio.CancelledError):
        return syncs.get_run(bridge, LOCAL, run_id)
    except CohortBridgeError:
        if as_json:
            _print_json(run_as_json(syncs.get_run(bridge, LOCAL, run_id)))
        raise


@app.command("runs")
def list_runs(
    sync: Annotated[int | None, typer.Option(metavar="ID", help="Only runs of this sync.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 20,
    as_json: Json = False,
) -> None:
    """List runs, newest first."""
    found = syncs.list_runs(_bridge(), LOCAL, syncs.RunFilter(sync_id=sync), limit=limit)
    if as_json:
        _print_json([run_as_json(run) for run in found])
        return
    rows = [
        (
            str(run.id),
            f"{run.status}{' (dry run)' if run.dry_run else ''}",
            run.group_name,
            f"{run.members:,}",
            run.destination,
            _time_text(run.started_at),
        )
        for run in found
    ]
    _print_table(("Run", "Status", "Group", "Members", "Destination", "Started"), rows, right=(0, 3))


@one_run.command("show")
def show_run(run_id: Annotated[int, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """Show a run."""
    run = syncs.get_run(_bridge(), LOCAL, run_id)
    _print_json(run_as_json(run)) if as_json else _print_run(run)


@one_run.command("apply")
def apply_run(run_id: Annotated[int, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """Let a held run through once: it reads again, and writes whatever it finds."""
    _show_queued(recurring.apply_held(_bridge(), LOCAL, run_id), as_json=as_json)


@one_run.command("discard")
def discard_run(run_id: Annotated[int, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """Drop a held run; the group stays as it is."""
    run = recurring.discard_held(_bridge(), LOCAL, run_id)
    _print_json(run_as_json(run)) if as_json else typer.echo(f"Run {run.id} was discarded.")


@one_run.command("undo")
def undo_run(run_id: Annotated[int, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """Put the group back to its members as of this run; its recurring sync is paused."""
    _show_queued(recurring.undo_to(_bridge(), LOCAL, run_id), as_json=as_json)


def _show_queued(run: Run, *, as_json: bool) -> None:
    _print_json(run_as_json(run)) if as_json else typer.echo(f"Run {run.id} is queued: a worker does it.")


@one_run.command("cancel")
def cancel_run(run_id: Annotated[int, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """Stop a run that is queued, waiting or running."""
    run = syncs.cancel_run(_bridge(), LOCAL, run_id)
    if as_json:
        _print_json(run_as_json(run))
    else:
        typer.echo(f"Run {run.id}: {run.status}." if run.status == Status.CANCELLED else f"Run {run.id} is stopping.")


@groups_app.callback(invoke_without_command=True)
def list_groups(context: typer.Context, as_json: Json = False) -> None:
    """List the groups that were delivered."""
    if context.invoked_subcommand:
        return
    bridge = _bridge()
    names = {one.id: one.name for one in connections.list_connections(bridge, LOCAL)}
    found = syncs.list_groups(bridge, LOCAL)
    if as_json:
        _print_json([_group_as_json(group, names.get(group.destination_id)) for group in found])
        return
    rows = [
        (
            str(group.cohort_id),
            group.name,
            f"{group.members:,}",
            names.get(group.destination_id, "(removed)"),
            _time_text(group.delivered_at),
        )
        for group in found
    ]
    _print_table(("Cohort", "Group", "Members", "Destination", "Delivered"), rows, right=(0, 2))


@groups_app.command("members")
def group_members(
    cohort_id: Annotated[str, typer.Argument(metavar="COHORT_ID")],
    to: To = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write there: whole, or not at all.")] = None,
) -> None:
    """Print the last delivered members as the CSV that Apptimize takes."""
    bridge = _bridge()
    group = syncs.find_group(bridge, LOCAL, _whole_number(cohort_id, "COHORT_ID"), to=to)
    assert group.id is not None
    if out is not None:
        count = syncs.save_group_csv(bridge, LOCAL, group.id, out)
        typer.echo(f"{count:,} members written to {out}.", err=True)
        return
    for line in syncs.group_csv(bridge, LOCAL, group.id):
        sys.stdout.write(line)


# --- recurring syncs -----------------------------------------------------------------------------------------------


@syncs_app.command("add")
def add_sync(
    cohort_id: Annotated[str, typer.Argument(metavar="COHORT_ID")],
    every: Annotated[int, typer.Option(metavar="MINUTES", help="15, 30, 60 or 1440.")] = 15,
    group: Annotated[str | None, typer.Option(metavar="NAME", help="Group name; else it follows the cohort's.")] = None,
    to: To = None,
    max_shrink: MaxShrink = None,
    tag: Tags = None,
    as_json: Json = False,
) -> None:
    """Keep a group equal to a cohort; the first run is due at once."""
    bridge, number = _bridge(), _whole_number(cohort_id, "COHORT_ID")
    sync = recurring.add_sync(
        bridge, LOCAL, number, every_minutes=every, group=group, to=to, max_shrink=max_shrink, tags=tag or ()
    )
    _show_sync(bridge, sync, "is active: a worker keeps its group up to date", as_json=as_json)


@syncs_app.command("edit")
def edit_sync(
    sync_id: Annotated[int, typer.Argument(metavar="ID")],
    every: Annotated[int | None, typer.Option(metavar="MINUTES", help="15, 30, 60 or 1440.")] = None,
    max_shrink: MaxShrink = None,
    no_brake: Annotated[bool, typer.Option("--no-brake", help="Hold no run for what it would take away.")] = False,
    tag: Tags = None,
    no_tags: Annotated[bool, typer.Option("--no-tags", help="Take all tags away.")] = False,
    as_json: Json = False,
) -> None:
    """Change a recurring sync; what is not named stays as it is."""
    if no_brake and max_shrink is not None:
        raise SettingsError("Brake: --max-shrink and --no-brake exclude each other.", advice="Leave one out.")
    if no_tags and tag:
        raise SettingsError("Tags: --tag and --no-tags exclude each other.", advice="Leave one out.")
    bridge = _bridge()
    held = recurring.get_sync(bridge, LOCAL, sync_id).sync
    brake = None if no_brake else held.max_shrink if max_shrink is None else max_shrink
    changed = recurring.edit_sync(
        bridge,
        LOCAL,
        sync_id,
        every_minutes=every or held.every_minutes or 0,
        max_shrink=brake,
        tags=[] if no_tags else tag,
    )
    _show_sync(bridge, changed, "is changed", as_json=as_json)


@syncs_app.command("list")
def list_syncs(
    tag: Annotated[list[str] | None, typer.Option("--tag", metavar="NAME", help="Only those with this tag.")] = None,
    as_json: Json = False,
) -> None:
    """List the syncs."""
    found = [one for one in recurring.list_syncs(_bridge(), LOCAL) if set(tag or ()) <= set(one.sync.tags)]
    if as_json:
        _print_json([sync_as_json(one) for one in found])
        return
    rows = [
        (
            str(one.sync.id),
            f"every {one.sync.every_minutes} min" if one.sync.every_minutes else "one-time",
            one.sync.state if one.sync.every_minutes else "",
            one.group.name,
            one.destination,
            _time_text(one.sync.next_run_at),
            one.last_run.status if one.last_run else "",
            ", ".join(one.sync.tags),
        )
        for one in found
    ]
    _print_table(("Sync", "Kind", "State", "Group", "Destination", "Next run", "Last run", "Tags"), rows, right=(0,))


@syncs_app.command("pause")
def pause_sync(sync_id: Annotated[int, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """Stop a recurring sync until it is resumed."""
    bridge = _bridge()
    _show_sync(bridge, recurring.pause_sync(bridge, LOCAL, sync_id), "is paused", as_json=as_json)


@syncs_app.command("resume")
def resume_sync(sync_id: Annotated[int, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """Let a paused sync go on; it is due at once."""
    bridge = _bridge()
    _show_sync(bridge, recurring.resume_sync(bridge, LOCAL, sync_id), "is active", as_json=as_json)


@syncs_app.command("remove")
def remove_sync(sync_id: Annotated[int, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """End a sync; its group stays as it is."""
    bridge = _bridge()
    _show_sync(bridge, recurring.remove_sync(bridge, LOCAL, sync_id), "is removed", as_json=as_json)


@syncs_app.command("run")
def run_sync(sync_id: Annotated[int, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """Queue a run now, or name the one that is queued already; a worker does it."""
    _show_queued(recurring.run_now(_bridge(), LOCAL, sync_id), as_json=as_json)


def _show_sync(bridge: Bridge, sync: Sync, state: str, *, as_json: bool) -> None:
    assert sync.id is not None
    if as_json:
        _print_json(sync_as_json(recurring.get_sync(bridge, LOCAL, sync.id)))
    else:
        typer.echo(f"Sync {sync.id} {state}.")


# --- matching ------------------------------------------------------------------------------------------------------


@app.command("match")
def show_match(
    cohort_id: Annotated[str, typer.Argument(metavar="COHORT_ID")],
    to: To = None,
    last: Annotated[bool, typer.Option("--last", help="As of the latest reading; asks Mixpanel nothing.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for a query slot as long as it takes.")] = False,
    as_json: Json = False,
) -> None:
    """Read a cohort and tell how many of its users can be targeted, and why the others cannot; nothing is written."""
    from core import worker

    number, bridge = _whole_number(cohort_id, "COHORT_ID"), _bridge()
    if last:
        found = funnel.readings(bridge, LOCAL, number, limit=1)
        if not found:
            raise NotFound(f"Cohort {number} was not read yet.", advice="Leave --last out to read it now.")
        run = found[0]
    else:
        owner = worker.new_owner()
        run = syncs.start_export(bridge, LOCAL, number, to=to, dry_run=True, trigger="cli", owner=owner)
        assert run.id is not None
        run = _do_here(bridge, run.id, owner, patience_s=None if wait else PATIENCE_S, as_json=False)
        if run.status not in (Status.SUCCEEDED, Status.HELD):
            _complain(run.error_message or f"The run ended as {run.status}.", run.error_advice or "")
            raise typer.Exit(FAILED)
    if as_json:
        _print_json(funnel_as_json(run))
    else:
        _print_funnel(run)


@app.command("associate")
def associate(
    file: Annotated[
        Path | None, typer.Option(metavar="CSV", help="With the columns distinct_id and apptimize_id.")
    ] = None,
    resume: Annotated[int | None, typer.Option(metavar="ID", help="Go on with one that ended half way.")] = None,
    prefix: Annotated[
        str, typer.Option(help="For ids without one: i_, a_, or as-they-are. Else their rows are left out.")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the file, write nothing.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the outcome of every row there.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before writing.")] = False,
    as_json: Json = False,
) -> None:
    """Set the Apptimize ids of a file on Mixpanel profiles, here and now: checked first, an outcome for every row."""
    from core import worker

    if (file is None) == (resume is None):
        raise SettingsError("--file or --resume: give one of them.")
    bridge, owner = _bridge(), worker.new_owner()
    if resume is not None:
        from core import associating

        associating.wait_until_free(bridge, resume)
        found = association.resume_association(bridge, LOCAL, resume, owner=owner)
    else:
        assert file is not None
        found = _checked(bridge, file, prefix, owner, as_json=as_json)
        if found.stage == Stage.CHECKED and not dry_run:
            if not as_json:
                _print_association(found)
            if sys.stdin.isatty() and not yes and not as_json:
                typer.confirm(f"Write {found.writable:,} rows?", abort=True, err=True)
            assert found.id is not None
            found = association.confirm_association(bridge, LOCAL, found.id, seen=found, owner=owner)
    if found.stage == Stage.TO_WRITE:
        found = _associate_here(bridge, found, owner)
    assert found.id is not None
    if out is not None and found.rows:
        association.save_outcomes(bridge, LOCAL, found.id, out)
    if as_json:
        _print_json(association_as_json(found))
    else:
        _print_association(found)
    if found.stage != (Stage.CHECKED if dry_run and resume is None else Stage.DONE) or not found.writable:
        _complain(found.error_message or "Nothing was written.", found.error_advice or "")
        raise typer.Exit(FAILED)


def _checked(bridge: Bridge, file: Path, prefix: str, owner: str, *, as_json: bool) -> Association:
    wanted = {"": None, "as-they-are": association.AS_THEY_ARE}.get(prefix, prefix)
    try:
        with file.open("rb") as opened:
            found = association.start_association(bridge, LOCAL, opened, source=file.name, owner=owner, prefix=wanted)
    except OSError as exc:
        raise SettingsError(f"--file: {file} cannot be read: {exc.strerror}.") from exc
    return _associate_here(bridge, found, owner)


def _associate_here(bridge: Bridge, found: Association, owner: str) -> Association:
    from core import associating
    from core.progress import shown_rows

    number = found.id
    assert number is not None

    async def main() -> Association:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        with shown_rows() as watch:
            return await associating.carry_out_here(bridge, number, owner=owner, watch=watch)

    try:
        return asyncio.run(main())
    except (KeyboardInterrupt, asyncio.CancelledError):
        return association.get_association(bridge, LOCAL, number)


@app.command("who")
def show_who(wanted: Annotated[str, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """Look up a user by distinct id or Apptimize id, in what was read and associated; Mixpanel is asked nothing."""
    found = lookup.who(_bridge(), LOCAL, wanted, look_through=lookup.FAR_BACK)
    if as_json:
        _print_json(who_as_json(found))
    else:
        _print_who(found)
    if not found.is_known:
        _complain("No group and no reading had this id.", "Export, or read with `match`, a cohort that the user is in.")
        raise typer.Exit(FAILED)


# --- people, audit, keys -------------------------------------------------------------------------------------------


@people_app.command("list")
def list_people(as_json: Json = False) -> None:
    """List the people who signed in or were added."""
    found = people.list_people(_bridge(), LOCAL)
    if as_json:
        _print_json([_person_as_json(one) for one in found])
        return
    rows = [
        (
            one.person.email,
            one.role.label,
            ", ".join(mark for mark, holds in (("by setting", one.fixed), ("disabled", one.person.disabled)) if holds),
            _time_text(one.person.signed_in_at),
        )
        for one in found
    ]
    _print_table(("Address", "Role", "", "Signed in"), rows)


@people_app.command("add")
def add_person(
    email: Annotated[str, typer.Argument(metavar="EMAIL")],
    role: Annotated[str, typer.Option(help="viewer, analyst or admin.")] = "viewer",
) -> None:
    """Let somebody in before they sign in for the first time."""
    person = people.add_person(_bridge(), LOCAL, email, role)
    typer.echo(f"{person.email} may come in as {person.role}.")


@people_app.command("role")
def change_role(
    email: Annotated[str, typer.Argument(metavar="EMAIL")],
    role: Annotated[str, typer.Argument(metavar="ROLE", help="viewer, analyst or admin.")],
) -> None:
    """Give a person another role, from their next click on."""
    bridge = _bridge()
    person = people.change_role(bridge, LOCAL, _person_id(bridge, email), role)
    typer.echo(f"{person.email} is {person.role}.")


@people_app.command("disable")
def disable_person(email: Annotated[str, typer.Argument(metavar="EMAIL")]) -> None:
    """Shut a person out, from their next click on."""
    bridge = _bridge()
    person = people.disable_person(bridge, LOCAL, _person_id(bridge, email))
    typer.echo(f"{person.email} is shut out.")


@people_app.command("enable")
def enable_person(email: Annotated[str, typer.Argument(metavar="EMAIL")]) -> None:
    """Let a person in again, with the role that they had."""
    bridge = _bridge()
    person = people.enable_person(bridge, LOCAL, _person_id(bridge, email))
    typer.echo(f"{person.email} may come in as {person.role}.")


@people_app.command("sign-out")
def sign_out_person(email: Annotated[str, typer.Argument(metavar="EMAIL")]) -> None:
    """Sign a person out everywhere, from their next click on."""
    bridge = _bridge()
    person = people.end_sign_ins(bridge, LOCAL, _person_id(bridge, email))
    typer.echo(f"{person.email} is signed out everywhere.")


def _person_id(bridge: Bridge, email: str) -> int:
    found = people.find_person(bridge, LOCAL, email).id
    assert found is not None
    return found


def _person_as_json(one: people.PersonView) -> dict[str, Any]:
    return {
        "email": one.person.email,
        "name": one.person.name,
        "role": one.role.label,
        "by_setting": one.fixed,
        "disabled": one.person.disabled,
        "signed_in_at": _time_json(one.person.signed_in_at),
    }


@audit_app.command("verify")
def verify_audit(
    head: Annotated[
        str | None, typer.Option(metavar="NUMBER:HASH", help="The head of an earlier check, noted elsewhere.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Find any line of the audit log that was changed or removed."""
    verdict = audit.verify_audit(_bridge(), LOCAL, noted_head=head)
    if as_json:
        _print_json(
            {
                "ok": verdict.ok,
                "entries": verdict.entries,
                "head": verdict.head,
                "problems": verdict.problems,
                "notes": verdict.notes,
            }
        )
    elif verdict.ok:
        typer.echo(f"{verdict.entries:,} lines, none changed or removed. Head: {verdict.head or 'none yet'}")
        for note in verdict.notes:
            typer.echo(note)
    if not verdict.ok:
        _complain(" ".join(verdict.problems), "Compare with a backup of the database; docs/security.md says how.")
        raise typer.Exit(FAILED)


@audit_app.command("download")
def download_audit() -> None:
    """Print the audit log as CSV, oldest line first."""
    for line in audit.audit_csv(_bridge(), LOCAL):
        sys.stdout.write(line)


@app.command("rotate-key")
def rotate_key() -> None:
    """Seal the stored secrets with a new key; the old one opens nothing any more."""
    count = keys.rotate_key(_bridge(), LOCAL)
    typer.echo(f"{count:,} secrets are sealed with the new key." if count != 1 else "1 secret is sealed anew.")


# --- services ------------------------------------------------------------------------------------------------------


@app.command("worker")
def run_worker(
    once: Annotated[bool, typer.Option("--once", help="Try all that is due or queued, then end.")] = False,
) -> None:
    """Run what the dashboard queued, until told to stop."""
    from core import worker

    bridge = _bridge()
    if once:
        worker.once(bridge)
    else:
        worker.serve(bridge)


@app.command("sandbox")
def run_sandbox(
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8600,
    profiles: Annotated[Path | None, typer.Option(metavar="FILE.jsonl", help="People of your own.")] = None,
    cohorts: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Their cohorts.")] = None,
) -> None:
    """Run the stand-ins for Mixpanel and Apptimize alone, on this machine."""
    from core.sandbox import server
    from core.sandbox.store import SandboxError

    configured = settings.read()
    log.configure(configured.log_level)
    typer.echo(f"Sandbox: http://127.0.0.1:{port}", err=True)
    try:
        configured.home.mkdir(parents=True, exist_ok=True)
        server.serve(port=port, home=configured.home, profiles=profiles, cohorts=cohorts)
    except (SandboxError, OSError) as exc:
        raise SettingsError(str(exc), advice="Correct it and start the sandbox again.", code="sandbox") from exc


@app.command()
def up(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where the dashboard listens.")] = 8501,
    sandbox_port: Annotated[int, typer.Option(min=1, max=65535, help="Where the sandbox listens.")] = 8600,
    address: Annotated[str, typer.Option(help="Where the dashboard listens; others than loopback need sign-in.")] = (
        "127.0.0.1"
    ),
) -> None:
    """Run everything for one machine in one terminal: worker, dashboard, and the sandbox while practising."""
    from core import up as everything

    bridge = _bridge()
    raise typer.Exit(everything.run(bridge, port=port, sandbox_port=sandbox_port, address=address, tell=typer.echo))


# --- what is printed -----------------------------------------------------------------------------------------------


def run_as_json(run: Run) -> dict[str, Any]:
    """Turn a run into the form that scripts rely on."""
    error = None
    if run.error_code:
        error = {"code": run.error_code, "message": run.error_message, "advice": run.error_advice}
    plain = (
        "id sync_id cohort_id cohort_name group_name destination trigger actor dry_run status write "
        "started_at finished_at profiles members duplicates unmatched invalid unprefixed "
        "added removed unchanged queries requests messages"
    )
    values = {name: getattr(run, name) for name in plain.split()}
    return {name: _time_json(value) if isinstance(value, datetime) else value for name, value in values.items()} | {
        "error": error
    }


def sync_as_json(view: recurring.SyncView) -> dict[str, Any]:
    """Turn a sync into the form that scripts rely on."""
    return {
        "id": view.sync.id,
        "cohort_id": view.sync.cohort_id,
        "cohort_name": view.group.cohort_name,
        "group_name": view.group.name,
        "destination": view.destination,
        "kind": view.sync.kind,
        "every_minutes": view.sync.every_minutes,
        "state": view.sync.state,
        "paused_reason": view.sync.paused_reason,
        "next_run_at": _time_json(view.sync.next_run_at),
        "max_shrink": view.sync.max_shrink,
        "tags": view.sync.tags,
        "last_run": run_as_json(view.last_run) if view.last_run else None,
    }


def funnel_as_json(run: Run) -> dict[str, Any]:
    """Turn a reading into the form that scripts rely on."""
    found = funnel.funnel_of(run)
    id_merge, _, match_property = run.matched_by.partition(":")
    return {
        "cohort_id": run.cohort_id,
        "cohort_name": run.cohort_name,
        "run_id": run.id,
        "read_at": _time_json(run.finished_at),
        "id_merge": id_merge or None,
        "match_property": match_property or None,
        **asdict(found),
    }


def association_as_json(found: Association) -> dict[str, Any]:
    """Turn an association into the form that scripts rely on."""
    error = None
    if found.error_code:
        error = {"code": found.error_code, "message": found.error_message, "advice": found.error_advice}
    names = (
        "id source stage actor created_at finished_at match_property aliases prefix rows writable problems effects "
        "written refused looked_up found requests"
    )
    values = {name: getattr(found, name) for name in names.split()}
    return {name: _time_json(value) if isinstance(value, datetime) else value for name, value in values.items()} | {
        "error": error
    }


def who_as_json(found: lookup.Who) -> dict[str, Any]:
    """Turn what is known of a user into the form that scripts rely on."""
    return {
        "id": found.id,
        "distinct_ids": found.distinct_ids,
        "apptimize_ids": found.apptimize_ids,
        "is_cut_short": found.is_cut_short,
        "known_back_to": _time_json(found.looked.back_to),
        "groups": [
            {
                "cohort_id": one.group.cohort_id,
                "group_name": one.group.name,
                "destination": one.destination,
                "is_member": one.is_member,
                "apptimize_id": one.apptimize_id,
                "since": _time_json(one.since),
                "run_id": one.run_id,
                "reason": one.reason,
                "instead": one.instead,
            }
            for one in found.groups
        ],
        "associated": [
            {
                "association_id": one.id,
                "distinct_id": distinct_id,
                "apptimize_id": apptimize_id,
                "at": _time_json(one.finished_at or one.started_at),
                "by": one.confirmed_by,
            }
            for one, distinct_id, apptimize_id in found.associated
        ],
    }


def _group_as_json(group: Group, destination: str | None) -> dict[str, Any]:
    return {
        "cohort_id": group.cohort_id,
        "cohort_name": group.cohort_name,
        "group_name": group.name,
        "destination": destination,
        "members": group.members,
        "delivered_at": _time_json(group.delivered_at),
        "last_run_id": group.base_run_id,
        "in_doubt": group.in_doubt,
    }


def _time_json(at: datetime | None) -> str | None:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at else None


def _time_text(at: datetime | None) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M") if at else ""


_printed = False


def _print_json(document: Any) -> None:
    global _printed  # noqa: PLW0603
    _printed = True
    typer.echo(json.dumps(document, ensure_ascii=False))


def _print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not rows:
        typer.echo("None yet.", err=True)
        return
    table = Table(box=None, pad_edge=False)
    for number, name in enumerate(header):
        table.add_column(name, justify="right" if number in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # never markup: names are not ours
    Console(highlight=False).print(table)


def _print_run(run: Run) -> None:
    done = "would be" if run.dry_run else "are"
    typer.echo(f"Run {run.id}: {run.status}. Cohort {run.cohort_name} to group {run.group_name} ({run.destination}).")
    typer.echo(
        f"{run.profiles:,} profiles = {run.members:,} members + {run.duplicates:,} duplicates + "
        f"{run.unmatched:,} unmatched + {run.invalid:,} invalid"
    )
    if run.status == Status.SUCCEEDED:
        typer.echo(f"{run.added:,} {done} added, {run.removed:,} removed, {run.unchanged:,} unchanged.")
    if run.unprefixed:
        typer.echo(f"{run.unprefixed:,} members start with neither i_ nor a_: Apptimize may not recognise them.")
    if run.error_message:
        typer.echo(f"{run.error_message} {run.error_advice or ''}".rstrip())


def _print_funnel(run: Run) -> None:
    found = funnel.funnel_of(run)
    typer.echo(f"Cohort {run.cohort_name}, matched by {run.matched_by.partition(':')[2]} in run {run.id}.")
    counted = [
        ("In cohort, as Mixpanel last counted", found.in_cohort),
        ("With a profile", found.with_profile),
        ("With an id", found.with_id),
        ("Valid", found.valid),
        ("Distinct: the members", found.distinct),
        ("Of these with a prefix", found.prefixed),
        ("  identified (i_)", found.identified),
        ("  anonymous (a_)", found.anonymous),
        ("Left out: unmatched", found.unmatched),
        ("Left out: invalid", found.invalid),
        *((f"  {reason}", number) for reason, number in found.reasons.items()),
        ("Left out: duplicates", found.duplicates),
    ]
    rows = [(label, "" if number is None else f"{number:,}") for label, number in counted]
    _print_table(("Users", "Count"), rows, right=(1,))


def _print_association(found: Association) -> None:
    from core.rowcheck import PROBLEMS

    typer.echo(f"Association {found.id}: {found.stage}. {found.rows:,} rows, {found.writable:,} to write.")
    for problem, number in found.problems.items():
        typer.echo(f"{number:,} rows are not written: {PROBLEMS.get(problem, problem)}")
    if found.written or found.refused:
        typer.echo(f"{found.written:,} rows written, {found.refused:,} refused by Mixpanel.")
    if found.looked_up and not found.found:
        typer.echo(
            f"Of {found.looked_up:,} rows that were looked up afterwards none has its new id yet: look again in some "
            "minutes; if it stays so, the project token may be another project's."
        )


def _print_who(found: lookup.Who) -> None:
    typer.echo(f"Distinct ids: {', '.join(found.distinct_ids) or 'none known'}")
    typer.echo(f"Apptimize ids: {', '.join(found.apptimize_ids) or 'none known'}")
    if found.is_cut_short:
        typer.echo("More ids belong together than are followed here: not all of them are shown.")
    rows = [
        (
            one.group.name,
            one.destination,
            "member" if one.is_member else "not known" if one.reason == lookup.LOST else "missing",
            _time_text(one.since),
            one.reason or ("" if one.is_member else "not in the cohort when it was last read"),
        )
        for one in found.groups
    ]
    _print_table(("Group", "Destination", "", "Since", "Why"), rows)


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _complain(message: str, advice: str) -> None:
    typer.echo(f"{message} {advice}".rstrip(), err=True)


# --- starting ------------------------------------------------------------------------------------------------------


def _bridge() -> Bridge:
    configured = settings.read()
    log.configure(configured.log_level if configured.log_level != "INFO" or _is_service() else "WARNING")
    return open_bridge(configured)


def _is_service() -> bool:
    return "worker" in sys.argv[1:2]


def _whole_number(text: str, field: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 0 < int(text[:20]) < 2**63:
        raise SettingsError(f"{field}: {text!r} is not a whole number.", advice="`python -m core cohorts` lists them.")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit: 0 done, 1 failed or held, 2 wrong usage; never with a traceback."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        app(args=given, standalone_mode=True)
    except CohortBridgeError as exc:
        _complain(exc.message, exc.advice)
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
        _complain(
            f"This failed in a way that was not foreseen ({type(exc).__name__}).",
            "COHORT_BRIDGE_LOG_LEVEL=DEBUG says more.",
        )
        _end(given, FAILED)


def _end(given: Sequence[str], code: int) -> None:
    """Exit; a failure with --json still leaves one document on standard output."""
    if code and "--json" in given and not _printed:
        lists = {"cohorts", "runs", "groups"}
        listed = given[0] in lists or given[:2] in (["syncs", "list"], ["people", "list"])
        typer.echo("[]" if listed else "null")
    sys.exit(code)
