"""Commands for the audit log and the keys."""

from __future__ import annotations

from typing import Annotated

import typer

from core.access import audit_log
from core.access.roles import LOCAL
from core.cli.as_json import audit_check_as_json
from core.cli.common import FAILED, Json, open_here
from core.cli.output import complain, print_csv, print_json, say
from core.connections import key_rotation
from core.text import harmless

app = typer.Typer()
audit_app = typer.Typer(help="The audit log: who did what, and who was refused.", no_args_is_help=True)


@audit_app.command("verify")
def verify_audit(
    head: Annotated[
        str | None, typer.Option(metavar="NUMBER:HASH", help="The head of an earlier check, noted elsewhere.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Find any line of the audit log that was changed or removed."""
    check = audit_log.verify_audit(open_here(), LOCAL, noted_head=head)
    if as_json:
        print_json(audit_check_as_json(check))
    elif check.ok:
        say(f"{check.entries:,} lines, none changed or removed. Head: {check.head or 'none yet'}")
        for note in check.notes:
            say(note)
    if not check.ok:
        complain(" ".join(check.problems), "Compare with a backup of the database; docs/security.md says how.")
        raise typer.Exit(FAILED)


@audit_app.command("download")
def download_audit() -> None:
    """Print the audit log as CSV, oldest line first."""
    print_csv(harmless(line, keep="\r\n\ufeff") for line in audit_log.audit_csv(open_here(), LOCAL))


@app.command("rotate-key")
def rotate_key() -> None:
    """Encrypt the stored secrets with a new key; the old one no longer opens them."""
    count = key_rotation.rotate_key(open_here(), LOCAL)
    secrets = f"{count:,} secrets are" if count != 1 else "1 secret is"
    say(f"{secrets} encrypted with the new key.")
