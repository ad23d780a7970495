"""Two versions side by side: who waits for whom, who notices, and what a migration may do meanwhile."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from core.access.roles import LOCAL
from core.settings import Settings
from core.syncs import recurring
from data import engine as data_engine
from data.engine import StorageError, make_engine, open_database, own_revision, schema_revision
from tests.stage import databases
from tests.stage.home import Home
from tests.stage.processes import ROOT
from tests.stage.sandbox import POWER, Sandbox, wait_until
from tests.stage.seeds import some

pytestmark = some(2)

VERSIONS = ROOT / "data" / "migrations" / "versions"
# The first of a release: what was before it was never beside it.
RELEASE = "0021"
ADDS = {"add_column", "create_table", "create_index", "create_foreign_key", "batch_alter_table", "get_bind"}
WIDENING = {'ALTER TABLE "', '" ', 'ALTER COLUMN "', '" TYPE bigint', ", ", "ALTER SEQUENCE ", " AS bigint"}


@pytest.fixture
def earlier(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """A database as an earlier version left it."""
    home = tmp_path / "home"
    home.mkdir()
    engine = make_engine(Settings(home=home, _env_file=None).database_url)  # type: ignore[call-arg]
    databases.upgrade(engine, getattr(request, "param", "0022"))
    yield engine
    engine.dispose()


def sign_on(engine: Engine, name: str, *, ago: timedelta = timedelta(seconds=5), **more: str) -> None:
    """Let a worker have given a heartbeat so long ago, by the database's own clock."""
    is_server = engine.dialect.name == "postgresql"
    at = f"now() - interval '{ago.seconds} seconds'" if is_server else f"datetime('now', '-{ago.seconds} seconds')"
    values = {
        "name": f"'{name}'",
        "started_at": at,
        "seen_at": at,
        **{key: f"'{value}'" for key, value in more.items()},
    }
    with engine.begin() as connection:
        connection.execute(text(f"INSERT INTO worker_beat ({', '.join(values)}) VALUES ({', '.join(values.values())})"))


def sign_off(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM worker_beat"))


def bring_up_to_date(engine: Engine, home: Path, *, patience_s: float = 0.0) -> None:
    url = engine.url.render_as_string(hide_password=False)
    open_database(url, home, patience_s=patience_s).dispose()


@pytest.mark.parametrize("earlier", ["0020", "0022"], indirect=True)
def test_the_schema_is_not_changed_below_a_worker_that_is_at_work(earlier: Engine, tmp_path: Path):
    before = schema_revision(earlier)
    sign_on(earlier, "host-1:7:ab")

    with pytest.raises(StorageError, match="still at work: host-1:7") as refused:
        bring_up_to_date(earlier, tmp_path / "home")

    assert "Stop them" in (refused.value.advice or "")
    assert schema_revision(earlier) == before
    sign_off(earlier)
    bring_up_to_date(earlier, tmp_path / "home")
    assert schema_revision(earlier) == own_revision()


def test_a_worker_that_waits_to_be_let_go_is_called_by_its_name(earlier: Engine, tmp_path: Path):
    sign_on(earlier, "host-1:7:ab", label="A", revision="0022")

    with pytest.raises(StorageError, match=r"still at work: A \(host-1:7\)"):
        bring_up_to_date(earlier, tmp_path / "home")


def test_dead_workers_are_not_waited_for(earlier: Engine, tmp_path: Path):
    sign_on(earlier, "host-1:7:ab", ago=timedelta(seconds=61))

    bring_up_to_date(earlier, tmp_path / "home")

    assert schema_revision(earlier) == own_revision()


@pytest.mark.usefixtures("fork_server")
def test_a_command_waits_says_so_and_goes_on_once_the_worker_has_left(earlier: Engine, tmp_path: Path):
    sign_on(earlier, "host-1:7:ab")
    home = Home(tmp_path / "home")

    waiting = home.begin("syncs", "list")

    wait_until(lambda: "Waiting for workers of an earlier version to end" in waiting.err.read_text())
    assert schema_revision(earlier) == "0022"
    sign_off(earlier)
    assert home.finish(waiting).code == 0
    assert schema_revision(earlier) == own_revision()


def test_a_worker_below_which_the_schema_was_changed_hands_its_run_back_and_ends(home: Home, sandbox: Sandbox):
    sandbox.fault("slow", target="mixpanel", page=1, seconds=30)
    with home.bridge() as bridge:
        recurring.add_sync(bridge, LOCAL, POWER)
        worker = home.begin("worker", "--name", "A")
        sandbox.wait_for("engage", page=1)
        with bridge.engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

        done = home.finish(worker, within_s=20)

        with bridge.engine.connect() as connection:
            runs = connection.execute(text("SELECT status FROM run")).scalars().all()
            workers = connection.execute(text("SELECT count(*) FROM worker_beat")).scalar()
    assert (done.code, runs, workers) == (1, ["queued"], 0)
    assert "brought up to date by a newer version" in done.err.splitlines()[-1]


# --- what migrations do --------------------------------------------------------------------------------------------


def of_this_release() -> list[Path]:
    revisions = data_engine._revisions()
    later = revisions[revisions.index("0024") :]  # the one that came before 0021, though its number says otherwise
    assert RELEASE in later
    return sorted(next(VERSIONS.glob(f"{revision}_*.py")) for revision in later)


def what_it_does_besides_adding(path: Path) -> list[str]:
    """List what a migration does that a process of the version before it could stumble over."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    texts = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    found = list[str]()
    for call in calls:
        assert isinstance(call.func, ast.Attribute)
        on = call.func.value.id if isinstance(call.func.value, ast.Name) else ""
        if on not in ("op", "batch"):
            continue
        written = ast.unparse(call)
        if call.func.attr == "execute":
            said = ast.literal_eval(call.args[0]) if isinstance(call.args[0], ast.Constant) else ""
            said = texts.get(call.args[0].id, "") if isinstance(call.args[0], ast.Name) else said
            adds = str(said).strip().upper().startswith("CREATE ") or is_wider(call)
        else:
            adds = call.func.attr in ADDS and "unique=True" not in written
            adds &= call.func.attr != "add_column" or "nullable=False" not in written or "server_default=" in written
        found += [] if adds else [written]
    return found


def is_wider(call: ast.Call) -> bool:
    """Return whether nothing is said but that whole numbers have 64 bits: whoever reads 32 of them reads the same."""
    said = {each.value for each in ast.walk(call) if isinstance(each, ast.Constant)}
    return bool(said) and said <= WIDENING


@pytest.mark.parametrize("path", of_this_release(), ids=lambda path: path.stem)
def test_migrations_within_a_release_only_add(path: Path):
    assert what_it_does_besides_adding(path) == []


def test_a_migration_that_takes_away_is_noticed(tmp_path: Path):
    lines = [
        'op.drop_column("run", "worker")',
        'op.alter_column("run", "worker", nullable=False)',
        'op.add_column("run", sa.Column("x", sa.Integer(), nullable=False))',
        'op.create_index("once", "run", ["x"], unique=True)',
        'op.execute("UPDATE run SET worker = NULL")',
        "op.execute(NAMED_NOWHERE)",
        """op.execute(f'ALTER TABLE "{table}" ALTER COLUMN "{name}" TYPE text')""",
    ]
    (tmp_path / "0099_x.py").write_text("\n".join(lines))

    assert len(what_it_does_besides_adding(tmp_path / "0099_x.py")) == len(lines)
