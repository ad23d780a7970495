"""Commands that back a home up, and restore one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from core.access.roles import LOCAL
from core.backup import backing_up, restoring
from core.backup.archive import Manifest
from core.cli.common import open_here, read_here
from core.cli.output import print_note, say

app = typer.Typer()


@app.command("backup")
def make_backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", parser=Path, help="Outside the home; best on another disk.")],
    force: Annotated[bool, typer.Option("--force", help="Take the place of a file of that name.")] = False,
) -> None:
    """Back everything up in one file, but for the key, while everything runs."""
    manifest = backing_up.back_up(open_here(), LOCAL, file, force=force)
    say(f"Backed up {_told(manifest)} in {file}.")
    if manifest.lost:
        print_note(
            f"{_counted(len(manifest.lost), 'file')} of members could not be found, and no backup can have them."
        )
    print_note("It holds ids of people. The key is not in it: keep secret.key, or COHORT_BRIDGE_SECRET_KEY, elsewhere.")


@app.command("restore")
def restore_backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", parser=Path, help="What `backup` wrote.")],
) -> None:
    """Restore a backup into an empty home."""
    configured, clock = read_here()
    done = restoring.restore(configured, file, clock)
    say(f"Restored the backup of {done.manifest.made_at}: {_told(done.manifest)}.")
    say("Every group is in doubt until its next run, which writes it in full.")
    if done.tokens:
        say("Every token for pipelines is revoked, since one that was revoked later may be among them: make new ones.")
    if done.without_key:
        why = "The key that is here does not open their secrets" if done.has_key else "There is no key here"
        say(
            f"{why}: {', '.join(done.without_key)}. Put back the key that sealed them (secret.key, or "
            "COHORT_BRIDGE_SECRET_KEY), or enter these again."
        )
    print_note("See to it that what the backup was made of does not run any more: both would write the same groups.")


def _told(manifest: Manifest) -> str:
    named = [_counted(manifest.counts.get(what, 0), what.removesuffix("s")) for what in ("groups", "syncs", "runs")]
    return f"{', '.join(named)}, {_counted(len(manifest.files), 'file')} of {manifest.size / 2**20:,.1f} MB"


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")
