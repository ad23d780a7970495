"""What a command imports: it starts within the time that its own work needs, and not that of every other command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from core.cli.app import command
from tests.stage import databases
from tests.stage.home import Home
from tests.stage.processes import ROOT
from tests.stage.sandbox import POWER

# Each stage in one process, after those before it; then what was imported by the end of each.
STAGES = """
import json, sys
from core.cli.app import main
there = lambda: sorted(name for name, module in sys.modules.items() if module)
loaded = {"help": there()}
for name, arguments in json.loads(sys.argv[1]).items():
    try:
        main(arguments)
    except SystemExit as end:
        assert not end.code, (name, end.code)
    loaded[name] = there()
with open(sys.argv[2], "w") as file:
    json.dump(loaded, file)
"""
COMMANDS = {
    "syncs list": ["syncs", "list", "--json"],
    "runs": ["runs", "--json"],
    "cohorts": ["cohorts", "--json"],
    "export": ["export", str(POWER), "--dry-run", "--json"],
}
# What only another command needs, or one at a terminal, or a database of another kind or version.
NOT_FOR_AN_EXPORT = {
    "alembic", "jinja2", "pandas", "numpy", "pyarrow", "streamlit", "starlette", "uvicorn", "schedule", "stamina",
    "rich", "click", "pygments", "sqlalchemy.dialects.postgresql", "core.associate", "core.reports", "core.sandbox",
    "core.worker.service", "core.connections.destinations", "core.connections.mixpanel_connection",
    "core.cli.up", "core.cli.match", "core.cli.who", "core.access.people", "core.access.audit_log",
    "data.partial_indexes", "apprise", "requests", "core.alerts.channels", "core.vendors.notifiers",
}  # fmt: skip
NOT_FOR_COHORTS = NOT_FOR_AN_EXPORT | {
    "duckdb", "core.export.run", "core.worker", "core.syncs.one_time",
}  # fmt: skip
NOT_FOR_A_LIST = NOT_FOR_COHORTS | {"httpx", "httpcore", "anyio", "cryptography", "filelock", "core.vendors.http"}
NOT_FOR_HELP = NOT_FOR_A_LIST | {"sqlalchemy", "sqlmodel", "pydantic_settings", "core.bridge", "core.settings", "data"}
NOT_IMPORTED = {
    "help": NOT_FOR_HELP,
    "syncs list": NOT_FOR_A_LIST,
    "runs": NOT_FOR_A_LIST,
    "cohorts": NOT_FOR_COHORTS,
    "export": NOT_FOR_AN_EXPORT,
}


def unneeded(modules: list[str], names: set[str]) -> list[str]:
    """List the modules that are these, or parts of them."""
    return [module for module in modules if any(f"{module}.".startswith(f"{name}.") for name in names)]


def test_a_command_imports_what_it_uses(home: Home, tmp_path: Path):
    listed = tmp_path / "modules.json"

    ended = subprocess.run(
        [sys.executable, "-c", STAGES, json.dumps(COMMANDS), str(listed)],
        env={**home._environment(None), "PYTHONPATH": str(ROOT)},
        cwd=home.path.parent,
        capture_output=True,
        text=True,
    )

    assert (ended.returncode, ended.stderr) == (0, "")
    loaded = json.loads(listed.read_text())
    needed = {"sqlalchemy.dialects.postgresql"} if databases.SERVER else set[str]()
    found = {name: unneeded(loaded[name], names - needed) for name, names in NOT_IMPORTED.items()}
    assert found == dict.fromkeys(loaded, [])


def test_the_help_says_of_each_command_what_the_command_says():
    commands = command.__wrapped__()
    listed = {name: stub.help for name, stub in commands.commands.items()}

    loaded = commands.load_all().commands

    assert listed == {name: whole.help.partition("\n\n")[0].replace("\n", " ") for name, whole in loaded.items()}
