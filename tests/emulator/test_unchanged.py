"""What was read adds up to what the group was given last, or not: what is read, written and sent then, and believed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.errors import NotFound
from core.reports import comparison, members, user_lookup
from core.syncs import one_time, undo
from core.worker import retention, service
from data import run_records
from data.engine import read_session, write_session
from data.models import MembershipChange, Run, RunStatus
from data.proof_models import SnapshotProof
from tests.emulator.test_damaged_files import DAMAGES, overwrite
from tests.stage.clock import FakeClock
from tests.stage.home import export, group_row, newest_run
from tests.stage.sandbox import LATER_S, POWER, TRIAL, Sandbox
from tests.stage.seeds import SEEDS, few, some

pytestmark = some(5)

Damage = Callable[[Path], object]
# Damage after which a file is there still. In the short form some of it.
UNSEEN = {kind: damage for kind, damage in DAMAGES.items() if kind not in ("deleted", "a folder in its place")}
if not SEEDS:
    UNSEEN = {kind: UNSEEN[kind] for kind in ("32 bytes of garbage at 200", "an id changed", "other types")}


def base_of(bridge: Bridge, cohort: int) -> Path:
    return bridge.snapshots.path(group_row(bridge, cohort).base_snapshot or "")


def files(bridge: Bridge) -> set[str]:
    return {path.stem for path in bridge.snapshots.folder.glob("[rd]*.parquet")}


def hide(bridge: Bridge, path: Path) -> None:
    """Let a file look, by its size and its time, as it did when it proved itself."""
    with write_session(bridge.engine) as session:
        proof = session.get_one(SnapshotProof, path.stem)
        proof.size, proof.written_ns = path.stat().st_size, path.stat().st_mtime_ns


def fingerprint(bridge: Bridge, run: Run) -> str | None:
    with read_session(bridge.engine) as session:
        return session.get_one(Run, run.id).fingerprint


def changes(bridge: Bridge, run: Run, kind: MembershipChange) -> set[str]:
    rows = members.find_changes(bridge, LOCAL, run.id or 0, kind, limit=10_000).rows
    return {member.apptimize_id for member in rows}


def test_a_group_that_has_not_changed_is_known_without_its_base_being_read_or_another_one_made(
    bridge: Bridge, sandbox: Sandbox
):
    first = export(bridge, TRIAL)
    base, before = base_of(bridge, TRIAL), files(bridge)
    status = base.stat()
    overwrite(0, status.st_size)(base)  # whoever reads it fails
    os.utime(base, ns=(status.st_atime_ns, status.st_mtime_ns))
    sandbox.forget_requests()

    again = export(bridge, TRIAL)

    assert (again.status, again.write, again.notice) == (RunStatus.SUCCEEDED, "none", None)
    assert (again.added, again.removed, again.unchanged) == (0, 0, first.members)
    assert (again.snapshot, again.difference) == (first.snapshot, None)
    assert fingerprint(bridge, again) == fingerprint(bridge, first) is not None
    assert sandbox.messages() == []
    assert files(bridge) == before


def test_an_overwrite_that_is_due_sends_the_base_once_that_has_proved_itself(bridge: Bridge, sandbox: Sandbox):
    first = export(bridge, TRIAL)
    sandbox.remove_groups()

    again = export(bridge, TRIAL, full=True)

    assert (again.write, again.snapshot, again.added) == ("full", first.snapshot, 0)
    assert sandbox.group(TRIAL) == sandbox.answer(TRIAL).group
    assert files(bridge) == {first.snapshot}


@few(1)
@pytest.mark.parametrize("damage", UNSEEN.values(), ids=UNSEEN.keys())
def test_a_damaged_base_is_never_sent_though_it_looks_as_it_did(bridge: Bridge, sandbox: Sandbox, damage: Damage):
    export(bridge, TRIAL)
    base = base_of(bridge, TRIAL)
    damage(base)
    hide(bridge, base)
    sandbox.remove_groups()

    again = export(bridge, TRIAL, full=True)

    assert (again.status, again.write) == (RunStatus.SUCCEEDED, "full")
    assert sandbox.group(TRIAL) == sandbox.answer(TRIAL).group
    assert "set aside as run-00000001.damaged" in (again.notice or "")
    assert base_of(bridge, TRIAL) != base
    assert export(bridge, TRIAL).write == "none"


@few(1)
@pytest.mark.parametrize("damage", UNSEEN.values(), ids=UNSEEN.keys())
def test_a_difference_with_a_damaged_base_does_not_add_up_though_it_looks_as_it_did(
    bridge: Bridge, sandbox: Sandbox, damage: Damage
):
    export(bridge, TRIAL)
    base = base_of(bridge, TRIAL)
    damage(base)
    hide(bridge, base)
    sandbox.at(LATER_S)

    again = export(bridge, TRIAL)

    assert (again.status, again.write) == (RunStatus.SUCCEEDED, "full")
    assert sandbox.group(TRIAL) == sandbox.answer(TRIAL).group
    assert "set aside as run-00000001.damaged" in (again.notice or "")


def test_a_base_of_the_first_version_is_believed_by_its_own_proof_and_gets_one_of_the_present(
    bridge: Bridge, sandbox: Sandbox
):
    export(bridge, TRIAL)
    base = base_of(bridge, TRIAL)
    # As version 1 had it: told a second time, outside the product.
    ((total,),) = duckdb.sql(
        "SELECT sum((md5_number(length(apptimize_id) || ':' || apptimize_id || distinct_id) & 18446744073709551615)"
        f"::UBIGINT) FROM read_parquet('{base}')"
    ).fetchall()

    def keep(fingerprint: str) -> None:
        with write_session(bridge.engine) as session:
            proof = session.get_one(SnapshotProof, base.stem)
            proof.fingerprint, proof.key, proof.size, proof.written_ns = fingerprint, None, None, None

    keep(f"1:{total:x}")
    assert (export(bridge, TRIAL).write, export(bridge, TRIAL).notice) == ("none", None)
    with read_session(bridge.engine) as session:
        proof = session.get_one(SnapshotProof, base.stem)
    assert (proof.fingerprint or "").startswith("2:")
    assert (bool(proof.key), proof.size) == (True, base.stat().st_size)

    keep(f"1:{total + 1:x}")
    assert "other members" in (export(bridge, TRIAL).notice or "")


def test_a_file_that_was_copied_back_proves_itself_once_and_is_believed_again(bridge: Bridge, sandbox: Sandbox):
    export(bridge, TRIAL)
    base = base_of(bridge, TRIAL)
    os.utime(base, ns=(0, 0))

    assert export(bridge, TRIAL).write == "none"

    with read_session(bridge.engine) as session:
        assert session.get_one(SnapshotProof, base.stem).written_ns == 0


def test_a_first_export_keeps_one_file_that_tells_who_was_added_as_long_as_the_run_is_kept(
    bridge: Bridge, sandbox: Sandbox, fake_clock: FakeClock
):
    first = export(bridge, POWER)
    assert files(bridge) == {first.snapshot}
    began = set(sandbox.answer(POWER).group)
    sandbox.at(LATER_S)
    second = export(bridge, POWER)
    stayed = min(began & set(sandbox.answer(POWER).group))

    for name in run_records.forget_snapshots(bridge.engine, group_row(bridge, POWER).id or 0, keep=1):
        bridge.snapshots.remove(name)
    fake_clock.shift_s += 48 * 3600
    retention.remove_unnamed_files(bridge)

    assert changes(bridge, first, "added") == began
    assert changes(bridge, first, "removed") == set()
    assert changes(bridge, second, "added") == set(sandbox.answer(POWER).group) - began
    lines = list(members.changes_csv(bridge, LOCAL, first.id or 0))
    assert (len(lines), lines[1].split(",")[0]) == (len(began) + 1, "added")
    (answer,) = user_lookup.look_up_user(bridge, LOCAL, stayed).groups
    assert (answer.since, answer.run_id) == (first.finished_at, first.id)
    with pytest.raises(Exception, match="not kept"):
        undo.undo_to(bridge, LOCAL, first.id or 0)


def test_that_all_were_counted_who_began_a_group_proves_no_snapshot(bridge: Bridge, sandbox: Sandbox):
    first = export(bridge, TRIAL)
    sandbox.at(LATER_S)
    second = export(bridge, TRIAL)
    bridge.snapshots.proven.forget(first.snapshot or "")  # as in another process
    DAMAGES["an id changed"](bridge.snapshots.path(first.snapshot or ""))

    members.find_changes(bridge, LOCAL, first.id or 0, "added")

    with pytest.raises(NotFound, match=f"as of run {first.id} are not kept"):
        comparison.compare_runs(bridge, LOCAL, first.id or 0, second.id or 0)


def test_a_preview_of_a_group_that_is_not_there_yet_keeps_who_would_come(bridge: Bridge, sandbox: Sandbox):
    def look() -> Run:
        one_time.start_export(bridge, LOCAL, TRIAL, dry_run=True)
        service.once(bridge)
        return newest_run(bridge)

    preview = look()

    assert (preview.snapshot, preview.added) == (None, len(sandbox.answer(TRIAL).group))
    assert changes(bridge, preview, "added") == set(sandbox.answer(TRIAL).group)
    newer = look()
    assert files(bridge) == {newer.difference}


def test_a_snapshot_that_began_a_group_outlives_its_run_as_long_as_the_group_is_made_of_it(
    bridge: Bridge, sandbox: Sandbox, fake_clock: FakeClock
):
    first = export(bridge, TRIAL)
    again = export(bridge, TRIAL, full=True)
    assert (first.snapshot, first.difference) == (again.snapshot, first.snapshot)
    fake_clock.shift_s += 181 * 24 * 3600

    assert retention.forget_old_runs(bridge) == 1

    assert bridge.snapshots.exists(group_row(bridge, TRIAL).base_snapshot)
    assert export(bridge, TRIAL).write == "full"


def test_a_group_is_rolled_back_to_the_members_that_it_began_with_and_back_again(bridge: Bridge, sandbox: Sandbox):
    first = export(bridge, TRIAL)
    began = sandbox.group(TRIAL)
    sandbox.at(LATER_S)
    second = export(bridge, TRIAL)
    base_of(bridge, TRIAL).unlink()

    undo.undo_to(bridge, LOCAL, first.id or 0)
    service.once(bridge)

    assert sandbox.group(TRIAL) == began
    group = group_row(bridge, TRIAL)
    assert (group.base_snapshot, group.members) == (first.snapshot, first.members)
    sandbox.at(0)
    again = export(bridge, TRIAL)
    assert (again.write, again.snapshot) == ("none", first.snapshot)
    told = comparison.compare_runs(bridge, LOCAL, first.id or 0, again.id or 0)
    assert (told.added, told.removed, second.status) == (0, 0, RunStatus.SUCCEEDED)


def test_what_a_group_is_to_be_rolled_back_to_is_not_forgotten_before_that(bridge: Bridge, sandbox: Sandbox):
    first, began = export(bridge, TRIAL), sandbox.group(TRIAL)
    sandbox.at(LATER_S)
    export(bridge, TRIAL)
    undo.undo_to(bridge, LOCAL, first.id or 0)

    assert run_records.forget_snapshots(bridge.engine, group_row(bridge, TRIAL).id or 0, keep=1) == []
    service.once(bridge)

    assert (newest_run(bridge).status, sandbox.group(TRIAL)) == (RunStatus.SUCCEEDED, began)
