"""Which way the rooms depend, and which of them may use which library: read from the imports of every file.

docs/architecture.md says the same in words; a test below compares the rooms it names with those on disk.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.stage.processes import ROOT

ARCHITECTURE = ROOT / "docs" / "architecture.md"
# From the bottom up: a file imports its own room and rooms before it. Files that lie in core itself are the ground.
ROOMS = (
    "ground",
    "rules",
    "access",
    "leases",
    "vendors",
    "connections",
    "export",
    "syncs",
    "associate",
    "reports",
    "alerts",
    "backup",
    "api",
    "worker",
    "declared",
    "forgetting",
    "cli",
)
# The sandbox stands apart: it imports no other room, and only the command line, which starts it, imports it.
SANDBOX = "sandbox"
LIBRARIES = {
    "sqlalchemy": ("data/",),
    "sqlmodel": ("data/",),
    "alembic": ("data/",),
    "sqlite3": ("data/", "core/sandbox/"),
    "psycopg": ("data/",),
    "duckdb": ("data/members/",),
    "obstore": ("data/storage/",),
    "httpx": ("core/vendors/", "core/sandbox/", "core/cli/"),
    "apprise": ("core/vendors/apprise_",),  # it connects by itself: in a process of its own alone
    "requests": ("core/vendors/apprise_",),
    "streamlit": ("app.py", "pages/"),
    "importlib": ("pages/shell/resources.py",),  # what is imported by a name that is put together is not seen here
}
# Rooms that know no database: of what is kept they take the plain types, the sandbox not even those.
KNOW_NO_DATABASE = {"core/rules/": "data.models", "core/vendors/": "data.models", "core/sandbox/": ""}
# What surrounds and what is drawn by several pages is no page's own; and no section is another one's.
SHARED_BY_PAGES = ("shell", "parts")


def imported(source: str) -> Iterator[str]:
    """Yield what a file imports, also inside functions, as `package.module.name`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports name their package in full"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(path: str) -> str:
    """Name the room in core that a path or an import leads to: `core/rules/x.py` and `core.rules.x` to `rules`."""
    parts = re.split(r"[./]", path.removesuffix(".py"))
    return parts[1] if len(parts) > 1 and parts[1] in (*ROOMS, SANDBOX) else "ground"


def objections(path: str, source: str) -> list[str]:
    """List what a file at that path, from the top of the repository, imports and may not."""
    return [objection for name in imported(source) if (objection := _objection(path, name))]


def _objection(path: str, name: str) -> str | None:
    top = name.partition(".")[0]
    if not path.startswith(LIBRARIES.get(top, ("",))):
        return f"{path} imports {name}: only {', '.join(LIBRARIES[top])} may"
    if top == "pages" and path.startswith(("core/", "data/")):
        return f"{path} imports {name}: pages are above it"
    if top == "core" and path.startswith("data/"):
        return f"{path} imports {name}: core is above it"
    if top == "data" and path.startswith(("pages/", "app.py")) and not name.startswith("data.models"):
        return f"{path} imports {name}: pages take from data the models alone"
    if top == "core" and path.startswith("core/"):
        return _objection_to_room(path, name)
    if top == "data":
        return _objection_to_database(path, name)
    if path.startswith(("pages/", "app.py")):
        return _objection_to_page(path, name)
    return None


def _objection_to_database(path: str, name: str) -> str | None:
    for room, types in KNOW_NO_DATABASE.items():
        if path.startswith(room) and not (types and name.startswith(f"{types}.")):
            return f"{path} imports {name}: {room} knows no database"
    return None


def _objection_to_page(path: str, name: str) -> str | None:
    if name.startswith(f"core.{SANDBOX}"):
        return f"{path} imports {name}: only the command line starts the sandbox"
    if not name.startswith("pages.") or path == "app.py":
        return None
    here, there = path.split("/")[1], name.split(".")[1]
    if there in (here, *SHARED_BY_PAGES):
        return None
    return f"{path} imports {name}: {there} are pages of their own"


def _objection_to_room(path: str, name: str) -> str | None:
    here, there = room_of(path), room_of(name)
    if here == there or path == "core/__main__.py":
        return None
    if here == SANDBOX:
        return f"{path} imports {name}: the sandbox uses no other room"
    if there == SANDBOX:
        return None if here == "cli" else f"{path} imports {name}: only the command line starts the sandbox"
    if ROOMS.index(there) > ROOMS.index(here):
        return f"{path} imports {name}: {there} is above {here}"
    return None


def files() -> list[Path]:
    paths = [path for top in ("core", "data", "pages") for path in (ROOT / top).rglob("*.py")]
    return sorted(path for path in [*paths, ROOT / "app.py"] if "versions" not in path.parts)


def test_every_file_imports_only_what_its_room_may():
    told = [line for path in files() for line in objections(path.relative_to(ROOT).as_posix(), path.read_text())]

    assert told == []


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("data/runs.py", "from core.errors import NotFound"),
        ("data/runs.py", "import pages.parts.tables"),
        ("core/syncs/runs.py", "from pages.parts import tables"),
        ("core/bridge.py", "from core.rules import matching"),
        ("core/rules/matching.py", "from core.export.job import Job"),
        ("core/vendors/mixpanel.py", "from core.connections import lookup"),
        ("core/export/run.py", "    \nif True:\n    from core.syncs import runs"),
        ("core/worker/service.py", "from core.cli import output"),
        ("core/sandbox/server.py", "from core.vendors import addresses"),
        ("core/worker/service.py", "from core.sandbox import server"),
        ("core/export/run.py", "from sqlmodel import select"),
        ("pages/observe/groups.py", "import sqlalchemy.exc"),
        ("core/reports/members.py", "import duckdb"),
        ("data/runs.py", "import duckdb"),
        ("data/members/store.py", "import obstore"),
        ("core/export/run.py", "import httpx"),
        ("pages/export/cohorts.py", "from httpx import AsyncClient"),
        ("core/cli/up.py", "import streamlit as st"),
        ("pages/export/cohorts.py", "from data.runs import list_runs"),
        ("app.py", "from data import engine"),
        ("core/reports/members.py", "import sqlite3"),
        ("core/reports/members.py", "from importlib import import_module"),
        ("core/vendors/mixpanel.py", "from data.query_budget import spend"),
        ("core/vendors/mixpanel.py", "from data import runs"),
        ("core/rules/matching.py", "from data.engine import read_session"),
        ("core/sandbox/store.py", "from data.models import Member"),
        ("pages/admin/practice.py", "from core.sandbox import server"),
        ("pages/parts/tables.py", "from pages.observe import history"),
        ("pages/shell/gate.py", "from pages.admin.people import COLORS"),
        ("pages/observe/history.py", "from pages.export import cohorts"),
    ],
)
def test_a_wrong_import_is_told(path: str, line: str):
    assert len(objections(path, line)) == 1


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("pages/observe/groups.py", "from data.models import Member"),
        ("core/vendors/cohort_sync.py", "from data.models import Member"),
        ("core/cli/services.py", "from core.sandbox import server"),
        ("core/__main__.py", "from core.cli.app import main"),
        ("core/syncs/recurring.py", "from core.rules import due_times"),
        ("pages/parts/actions.py", "from pages.shell import page_frame"),
        ("pages/shell/gate.py", "from pages.parts import selection"),
        ("pages/export/cohorts.py", "from pages.export import cohort_form"),
        ("app.py", "from pages.shell import gate"),
    ],
)
def test_what_is_allowed_is_not_told(path: str, line: str):
    assert objections(path, line) == []


@cache
def origins(file: Path) -> dict[str, str]:
    """Return the names that a module imports, each with the top of the package that it comes from."""
    if not file.is_file():
        return {}
    return {
        alias.asname or alias.name: (node.module or "").partition(".")[0]
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def passed_on(path: str, source: str) -> list[str]:
    """List what a file takes of a library by way of another of our modules, where it may not import the library."""
    told: list[str] = []
    for name in imported(source):
        module, _, taken = name.rpartition(".")
        library = origins(ROOT / f"{module.replace('.', '/')}.py").get(taken, "") if module else ""
        if library in LIBRARIES and not path.startswith(LIBRARIES[library]):
            told.append(f"{path} takes {taken} of {library} from {module}")
    return told


# What names a database that is open; it is handed on, and asked by data alone.
HANDED_ON = {"Engine"}


def test_no_part_of_a_library_is_taken_by_way_of_another_module():
    told = [line for path in files() for line in passed_on(path.relative_to(ROOT).as_posix(), path.read_text())]

    assert [line for line in told if not any(f" takes {name} of " in line for name in HANDED_ON)] == []
    assert len(passed_on("core/syncs/runs.py", "from data.syncs import select, update, pause")) == 2
    assert passed_on("data/runs.py", "from data.syncs import select") == []


def test_the_map_names_the_rooms_that_are_there():
    tops = ("core", "data", "pages")
    there = {
        f"{top}/{path.name}/"
        for top in tops
        for path in (ROOT / top).iterdir()
        if path.is_dir() and path.name[0] != "_"
    }

    named = set(re.findall(r"^\| `((?:core|data|pages)/\w+/)`", ARCHITECTURE.read_text(), re.MULTILINE))

    assert named == there


def test_the_map_tells_the_order_of_the_rooms():
    order = re.search(r"^\*\*(cli > .* > ground)\*\*", ARCHITECTURE.read_text(), re.MULTILINE)

    assert order
    assert tuple(reversed(order[1].split(" > "))) == ROOMS


def test_no_page_lies_where_streamlit_would_open_it_unguarded():
    assert list((ROOT / "pages").glob("*.py")) == []


def test_every_dialog_is_one_that_stays_open_when_its_page_is_drawn_again():
    makers = [path.name for path in (ROOT / "pages").rglob("*.py") if "st.dialog(" in path.read_text()]

    assert makers == ["page_frame.py"], "by itself Streamlit closes it: page_frame.dialog keeps it"


MOST_LINES, MOST_LINES_OF_A_FUNCTION = 450, 50


def test_no_file_and_no_function_is_too_long_to_be_read():
    long: list[str] = []
    for path in files():
        source, name = path.read_text(), path.relative_to(ROOT).as_posix()
        if source.count("\n") > MOST_LINES:
            long.append(f"{name}: {source.count(chr(10))} lines")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > MOST_LINES_OF_A_FUNCTION:
                    long.append(f"{name}: {node.name} has {lines} lines")

    assert long == []


def test_core_never_imports_streamlit_nor_data_core():
    code = (
        "import sys, data.engine, data.runs, data.members.snapshots, data.models\n"
        "assert not [name for name in sys.modules if name.startswith('core')], 'data imports core'\n"
        "from tests.stage.modules import import_core\n"
        "import_core()\n"
        "assert 'streamlit' not in sys.modules, 'core imports streamlit'"
    )

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)

    assert ended.stderr == ""


def test_the_command_line_does_without_pandas_and_pyarrow():
    code = "import sys, core.cli.app; assert not {'pandas', 'pyarrow', 'numpy'} & set(sys.modules)"

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)

    assert ended.stderr == ""
