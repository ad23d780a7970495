"""Commands that keep running: worker, sandbox, all in one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from core import log, settings
from core.cli.common import open_here
from core.cli.output import print_note, say
from core.errors import SettingsError
from core.files import open_file

app = typer.Typer()


@app.command("worker")
def run_worker(
    once: Annotated[bool, typer.Option("--once", help="Try all that is due or queued, then end.")] = False,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="What this worker is called, where there are several.")
    ] = None,
) -> None:
    """Do what is due or queued, until asked to stop."""
    from core.leases.workers import check_name
    from core.worker import service

    if name is not None:
        check_name(name)
    if once and name is not None:
        raise SettingsError("--name: a worker that ends at once is not shown, and has no name.", advice="Omit it.")
    bridge = open_here()
    if once:
        service.once(bridge)
    else:
        service.serve(bridge, name)


@app.command("dashboard")
def run_dashboard(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where it listens.")] = 8501,
    address: Annotated[str, typer.Option(help="Where it listens; others than loopback need sign-in.")] = "127.0.0.1",
) -> None:
    """Run the dashboard alone: beside workers, on this machine or others."""
    from core.cli.up import become_dashboard

    become_dashboard(open_here(), address=address, port=port)


@app.command("sandbox")
def run_sandbox(
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8600,
    profiles: Annotated[
        Path | None, typer.Option(metavar="FILE.jsonl", parser=Path, help="Profiles in place of the made-up ones.")
    ] = None,
    cohorts: Annotated[Path | None, typer.Option(metavar="FILE.json", parser=Path, help="Their cohorts.")] = None,
) -> None:
    """Run the stand-ins for Mixpanel and Apptimize alone, on this machine."""
    from core.sandbox import server
    from core.sandbox.store import SandboxError

    configured = settings.read()
    log.configure(configured.log_level)
    print_note(f"Sandbox: http://127.0.0.1:{port}")
    try:
        for file in filter(None, (profiles, cohorts)):
            open_file(file).close()  # what is no file would be waited for
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
    """Run everything for one machine in one terminal: worker, dashboard, and the sandbox in practice mode."""
    from core.cli.up import run

    bridge = open_here()
    raise typer.Exit(run(bridge, port=port, sandbox_port=sandbox_port, address=address, notify=say))
