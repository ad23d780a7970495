"""A million users to associate beside hundreds of groups: checked within the memory that is given, right to the row."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from core.access.roles import LOCAL
from core.associate import actions
from core.bridge import Bridge
from core.settings import Settings
from data.engine import write_session
from data.members.association_check import CheckRules, KnownProfiles
from data.members.association_rows import ImportRows, RawRow
from data.models import Connection, Group, Member, Run, Sync, SyncKind
from data.run_queue import RunRequest, new_run
from tests.faults import process
from tests.faults.test_association_killed import MOST_MB, most_memory_mb
from tests.stage.home import Home
from tests.stage.seeds import SEEDS

# 500 groups of 20,000 and one of a million. What `make test` holds of this is in tests/unit/test_rows.py.
ROWS, GROUPS, MEMBERS = 1_000_000, 500, 20_000
# Ids as long as real ones are. Of the users three quarters are in groups, every tenth of them with another id.
USER = "md5('u' || {0}) || '-' || lpad({0}::VARCHAR, 8, '0')"
IS_ID = "'i_' || substr(md5('a' || {0}), 1, 24)"
WAS_ID = f"CASE WHEN {{0}} % 10 = 0 THEN 'i_was' || {{0}} ELSE {IS_ID} END"
KNOWN, EXCLUDED = ROWS * 3 // 4, ROWS // 20


def copy(query: str, target: Path, form: str = "parquet") -> None:
    duckdb.execute(f"COPY ({query}) TO '{target}' (FORMAT {form})")


def keep_groups(bridge: Bridge) -> None:
    """Keep groups that overlap, one as large as the file, and the profiles that one of them left out."""
    folder = bridge.snapshots.folder
    folder.mkdir(parents=True, exist_ok=True)
    member = f"SELECT {WAS_ID.format('n')} AS apptimize_id, {USER.format('n')} AS distinct_id FROM (SELECT {{0}} AS n)"
    for number in range(GROUPS):
        numbers = f"unnest(range({number * MEMBERS}, {(number + 1) * MEMBERS})) % {KNOWN}"
        copy(member.format(numbers) + " ORDER BY 1", folder / f"group-{number}.parquet")
    whole = f"unnest(list_concat(range({KNOWN}), range({2 * ROWS}, {2 * ROWS + ROWS - KNOWN})))"
    copy(member.format(whole) + " ORDER BY 1", folder / f"group-{GROUPS}.parquet")
    left_out = f"SELECT 'unmatched' AS reason, {USER.format('n')} AS distinct_id, NULL::VARCHAR AS apptimize_id"
    copy(f"{left_out} FROM range({KNOWN}, {KNOWN + EXCLUDED}) t(n)", folder / "excluded.parquet")


def record_groups(bridge: Bridge) -> None:
    now = bridge.clock.now()
    with write_session(bridge.engine) as session:
        mixpanel = Connection(created_at=now, side="mixpanel", kind="mixpanel", name="default", project_id=1)
        destination = Connection(created_at=now, side="destination", kind="csv", name="csv", folder="unused")
        session.add_all([mixpanel, destination])
        session.flush()
        assert destination.id is not None
        assert mixpanel.id is not None
        groups = [
            Group(
                created_at=now,
                destination_id=destination.id,
                project_id=1,
                cohort_id=number + 1,
                cohort_name="Payers",
                name=f"Payers {number}",
                base_snapshot=f"group-{number}",
            )
            for number in range(GROUPS + 1)
        ]
        session.add_all(groups)
        session.flush()
        assert groups[0].id is not None
        sync = Sync(
            created_at=now, kind=SyncKind.ONE_TIME, mixpanel_id=mixpanel.id, group_id=groups[0].id, project_id=1,
            cohort_id=1,
        )  # fmt: skip
        session.add(sync)
        session.flush()
        run: Run = new_run(sync, groups[0], RunRequest("manual", "local"), destination="csv", now=now)
        run.status, run.excluded = "succeeded", "excluded"
        session.add(run)


@pytest.mark.slow
@pytest.mark.skipif(not SEEDS, reason="takes two minutes")
def test_a_file_is_checked_beside_hundreds_of_groups_within_the_memory_that_is_given(tmp_path: Path):
    home, file = Home(tmp_path / "home"), tmp_path / "users.csv"
    copy(f"SELECT {USER.format('n')} AS distinct_id, {IS_ID.format('n')} AS apptimize_id FROM range({ROWS}) t(n)",
         file, "csv, HEADER")  # fmt: skip
    with home.bridge() as bridge:
        keep_groups(bridge)
        record_groups(bridge)
        checking = process.start(home, "associate", "--file", str(file), "--dry-run", "--json")
        assert checking.pid is not None
        memory = [most_memory_mb(checking.pid)]
        while checking.exitcode is None:
            memory.append(most_memory_mb(checking.pid))
            checking.join(0.2)
        done = actions.get_association(bridge, LOCAL, 1)

    assert (checking.exitcode, done.error_message) == (0, None)
    assert (done.rows, done.writable) == (ROWS, ROWS)
    changed, new = KNOWN // 10, EXCLUDED
    assert done.effects == {
        "same": KNOWN - changed,
        "changed": changed,
        "new": new,
        "unseen": ROWS - KNOWN - new,
    }
    assert max(memory) < MOST_MB, max(memory)


def chained(number: int) -> Member:
    """Give each user the next one's distinct id as Apptimize id."""
    return Member(f"i_0123456789_{number + 1}", f"i_0123456789_{number}")


def repeated(number: int) -> Member:
    return Member(f"i_0123456789_{number // 2}", f"user-0123456789-{number // 2}")


def contradicting(number: int) -> Member:
    return Member(f"i_0123456789_{number}", f"user-0123456789-{number // 2}")


def as_long_as_can_be(number: int) -> Member:
    text = hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()
    return Member("i_" + text * 7, text * 31)


@pytest.mark.slow
@pytest.mark.skipif(not SEEDS, reason="takes a minute")
@pytest.mark.parametrize(
    ("make", "rows", "problems"),
    [
        (chained, 1_000_000, {"crossed": 1_000_000}),
        (repeated, 1_000_000, {"repeated": 500_000}),
        (contradicting, 1_000_000, {"conflict": 1_000_000}),
        (as_long_as_can_be, 400_000, {}),  # as many as a file of 512 MB holds
    ],
)
def test_memory_does_not_depend_on_what_is_the_matter_with_the_rows(
    tmp_path: Path, make: Callable[[int], Member], rows: int, problems: dict[str, int]
):
    memory_mb = Settings(home=tmp_path, _env_file=None).snapshot_memory_mb  # type: ignore[call-arg]
    kept = ImportRows(tmp_path / "kept", scratch=tmp_path / "scratch", memory_mb=memory_mb)
    kept.keep(RawRow(number + 2, make(number), None) for number in range(rows))

    summary = kept.check(CheckRules(prefix="", prefixes=()), KnownProfiles())

    assert (summary.rows, summary.problems) == (rows, problems)
    lines = [row.row for chunk in kept.iterate() for row in chunk]
    assert lines == list(range(2, rows + 2))
