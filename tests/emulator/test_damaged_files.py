"""Files of members that are not what they say: they count as gone, people are told, and no group is wrong for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.errors import CohortBridgeError, NotFound, StorageFailed
from core.export import job
from core.export.base import find_base, prove_restored
from core.export.compare import compare_kept
from core.reports import comparison, match_funnel, members, user_lookup
from core.syncs import groups, held_runs, recurring, runs, undo
from core.worker import retention, service
from data import installation
from data.engine import write_session
from data.models import RunStatus
from data.proof_models import SnapshotProof
from tests.stage.clock import BothClocks, FakeClock
from tests.stage.home import Home, export, group_row, newest_run
from tests.stage.sandbox import LATER_S, POWER, SPENDERS, TRIAL, Sandbox
from tests.stage.seeds import SEEDS, few, some

pytestmark = some(5)

Damage = Callable[[Path], object]


def overwrite(at: int, size: int) -> Damage:
    """Put bytes that mean nothing into the middle of a file."""

    def damage(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[at : at + size] = bytes(index * 37 % 251 for index in range(min(size, len(content) - at)))
        path.write_bytes(content)

    return damage


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-500])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def remove(path: Path) -> None:
    path.unlink()


def put_a_folder_there(path: Path) -> None:
    path.unlink()
    path.mkdir()


def rewrite(query: str) -> Damage:
    """Put a whole, well-formed file in place of another one, made of it by a query with {0} as its table."""

    def damage(path: Path) -> None:
        made = path.with_name("made.tmp")
        select = query.format(f"read_parquet('{path}')")
        duckdb.sql(f"COPY ({select}) TO '{made}' (FORMAT parquet)")
        made.replace(path)

    return damage


DAMAGES: dict[str, Damage] = {
    "32 bytes of garbage at 200": overwrite(200, 32),
    "4,000 bytes of garbage at 200": overwrite(200, 4000),
    "truncated": truncate,
    "emptied": empty,
    "deleted": remove,
    "a folder in its place": put_a_folder_there,
    "other columns": rewrite("SELECT apptimize_id AS other FROM {0}"),
    "other types": rewrite("SELECT row_number() OVER () AS apptimize_id, distinct_id FROM {0}"),
    "one member missing": rewrite("SELECT * FROM {0} OFFSET 1"),
    "one member twice and another missing": rewrite("(SELECT * FROM {0} OFFSET 1) UNION ALL (SELECT * FROM {0} OFFSET "
    "5 LIMIT 1)"),
    "an id changed": rewrite("SELECT replace(apptimize_id, '7', '8') AS apptimize_id, distinct_id FROM {0}"),
    "no members": rewrite("SELECT * FROM {0} LIMIT 0"),
}  # fmt: skip


def damages(turn: int) -> pytest.MarkDecorator:
    """Try a test with each kind of damage; in the short form its four tests share them out, each at its turn."""
    kinds = dict(DAMAGES if SEEDS else list(DAMAGES.items())[turn::4])
    return pytest.mark.parametrize("damage", kinds.values(), ids=kinds.keys())


def base_of(bridge: Bridge, cohort: int) -> Path:
    return bridge.snapshots.path(group_row(bridge, cohort).base_snapshot or "")


@few(1)
@damages(0)
def test_a_base_that_is_not_what_it_says_counts_as_gone_and_the_group_is_overwritten(
    bridge: Bridge, sandbox: Sandbox, damage: Damage
):
    export(bridge, TRIAL)
    base = base_of(bridge, TRIAL)
    was_deleted = damage is remove
    damage(base)
    sandbox.at(LATER_S)

    run = export(bridge, TRIAL)

    assert (run.status, run.write) == (RunStatus.SUCCEEDED, "full")
    assert sandbox.group(TRIAL) == sandbox.answer(TRIAL).group
    assert "The file of the members that the group was given last" in (run.notice or "")
    assert base.with_suffix(".damaged").exists() is not was_deleted
    assert ("set aside as run-00000001.damaged" in (run.notice or "")) is not was_deleted
    again = export(bridge, TRIAL)
    assert (again.write, again.notice) == ("none", None)


@few(1)
@damages(1)
def test_a_damaged_base_is_held_first_where_the_sync_has_a_limit_and_the_damage_is_named(
    bridge: Bridge, sandbox: Sandbox, clock: BothClocks, damage: Damage
):
    recurring.add_sync(bridge, LOCAL, TRIAL, max_shrink=50)
    service.once(bridge)
    before = sandbox.group(TRIAL)
    damage(base_of(bridge, TRIAL))
    clock.pass_minutes(15)

    service.once(bridge)
    first = newest_run(bridge)
    clock.pass_minutes(15)
    service.once(bridge)
    second = newest_run(bridge)

    for run in (first, second):
        assert (run.status, run.error_code) == (RunStatus.HELD, "held_shrink")
        assert "damaged" in (run.error_message or "") or damage is remove or "other members" in run.error_message
    assert sandbox.group(TRIAL) == before
    held_runs.apply_held(bridge, LOCAL, second.id or 0)
    service.once(bridge)
    assert newest_run(bridge).write == "full"
    assert sandbox.group(TRIAL) == sandbox.answer(TRIAL).group


def test_the_bases_of_two_groups_that_changed_places_are_told_from_their_own(bridge: Bridge, sandbox: Sandbox):
    export(bridge, POWER)
    export(bridge, SPENDERS)
    base, other = base_of(bridge, POWER), base_of(bridge, SPENDERS)
    third = base.with_name("third")
    base.replace(third)
    other.replace(base)
    third.replace(other)

    for cohort in (POWER, SPENDERS):
        with pytest.raises(StorageFailed, match="damaged"):
            list(groups.group_csv(bridge, LOCAL, group_row(bridge, cohort).id or 0))
        run = export(bridge, cohort)
        assert (run.write, "other members" in (run.notice or "")) == ("full", True)
        assert sandbox.group(cohort) == sandbox.answer(cohort).group


@few(1)
@damages(2)
def test_a_group_is_rolled_back_over_a_damaged_base_and_never_to_damaged_members(
    bridge: Bridge, sandbox: Sandbox, damage: Damage
):
    first = export(bridge, TRIAL)
    before = sandbox.group(TRIAL)
    sandbox.at(LATER_S)
    second = export(bridge, TRIAL)
    damage(bridge.snapshots.path(second.snapshot or ""))

    undo.undo_to(bridge, LOCAL, first.id or 0)
    service.once(bridge)
    assert newest_run(bridge).status == RunStatus.SUCCEEDED
    assert sandbox.group(TRIAL) == before

    sandbox.forget_requests()
    with pytest.raises(NotFound):
        undo.undo_to(bridge, LOCAL, second.id or 0)
    assert sandbox.messages() == []
    assert runs.active_runs(bridge, LOCAL) == []


def test_members_that_are_damaged_once_the_rollback_was_asked_for_are_not_written(bridge: Bridge, sandbox: Sandbox):
    first = export(bridge, TRIAL)
    sandbox.at(LATER_S)
    export(bridge, TRIAL)
    before = sandbox.group(TRIAL)
    undo.undo_to(bridge, LOCAL, first.id or 0)
    overwrite(200, 32)(bridge.snapshots.path(first.snapshot or ""))

    service.once(bridge)

    run = newest_run(bridge)
    assert (run.status, run.error_code) == (RunStatus.FAILED, "members_damaged")
    assert "was set aside as run-00000001.damaged" in (run.error_message or "")
    assert sandbox.group(TRIAL) == before


def test_a_base_that_is_swapped_after_it_proved_itself_stops_the_run_that_compares_with_it(bridge: Bridge):
    for cohort in (POWER, TRIAL):
        assert export(bridge, cohort).status == RunStatus.SUCCEEDED
    loaded = job.load(bridge, newest_run(bridge).id or 0)
    name = loaded.group.base_snapshot or ""
    proof, proven = prove_restored(bridge, name), find_base(bridge, loaded.group)
    base_of(bridge, POWER).replace(base_of(bridge, TRIAL))

    with pytest.raises(StorageFailed, match="changed by something else") as raised:
        compare_kept(bridge.snapshots, loaded, name, proof, proven)

    assert "Start the export again" in raised.value.advice


def test_a_fingerprint_of_an_unknown_version_is_worked_out_again_and_never_taken_for_damage(
    bridge: Bridge, sandbox: Sandbox
):
    run = export(bridge, TRIAL)
    for fingerprint in ("99:feed", None):
        with write_session(bridge.engine) as session:
            row = session.get_one(SnapshotProof, run.snapshot)
            kept, row.fingerprint = row.fingerprint, fingerprint
            session.add(row)

        again = export(bridge, TRIAL)

        assert (again.write, again.notice) == ("none", None)
        with write_session(bridge.engine) as session:
            assert session.get_one(SnapshotProof, run.snapshot).fingerprint == kept


def test_without_a_fingerprint_the_number_of_members_decides(bridge: Bridge, sandbox: Sandbox):
    run = export(bridge, TRIAL)
    with write_session(bridge.engine) as session:
        session.get_one(SnapshotProof, run.snapshot).fingerprint = None
    DAMAGES["one member missing"](base_of(bridge, TRIAL))

    assert export(bridge, TRIAL).write == "full"


def test_what_was_set_aside_is_kept_for_a_month_and_removed_then(
    bridge: Bridge, sandbox: Sandbox, fake_clock: FakeClock
):
    export(bridge, TRIAL)
    overwrite(200, 32)(base_of(bridge, TRIAL))
    aside = base_of(bridge, TRIAL).with_suffix(".damaged")
    export(bridge, TRIAL)

    fake_clock.shift_s += 29 * 24 * 3600
    retention.remove_unnamed_files(bridge)
    assert (retention.remove_set_aside(bridge), aside.exists()) == (0, True)
    fake_clock.shift_s += 2 * 24 * 3600
    assert (retention.remove_set_aside(bridge), aside.exists()) == (1, False)
    assert base_of(bridge, TRIAL).is_file()


def test_what_a_process_that_died_had_begun_to_write_is_removed_after_a_day(bridge: Bridge, fake_clock: FakeClock):
    folder = bridge.snapshots.folder
    folder.mkdir(parents=True, exist_ok=True)
    # As ours is called until it is whole, and DuckDB's own beside it, which holds the members until then.
    begun = [folder / f"{name}.run-00000001.parquet.0a1b2c3d.part" for name in ("", "tmp_")]
    for path in begun:
        path.touch()
        os.utime(path, (bridge.clock.now().timestamp(),) * 2)

    fake_clock.shift_s += 23 * 3600
    assert retention.remove_unnamed_files(bridge) == 0
    fake_clock.shift_s += 2 * 3600
    # One that another worker removes is listed, and gone when it is looked at.
    gone = folder / ".run-00000002.parquet.0a1b2c3d.part"
    gone.symlink_to(folder / "removed")
    assert retention.remove_unnamed_files(bridge) == 2
    assert {path.name for path in folder.iterdir()} == {gone.name, installation.NAME}


@few(1)
@damages(3)
def test_what_cannot_be_read_is_said_in_a_sentence_and_other_groups_are_not_affected(
    bridge: Bridge, sandbox: Sandbox, damage: Damage
):
    first = export(bridge, TRIAL)
    export(bridge, POWER)
    sandbox.at(LATER_S)
    run = export(bridge, TRIAL)
    member = min(sandbox.answer(POWER).group)
    for name in (run.snapshot, run.difference, run.excluded):
        damage(bridge.snapshots.path(name or ""))
    group, run_id = group_row(bridge, TRIAL).id or 0, run.id or 0

    asked: list[Callable[[], object]] = [
        lambda: members.find_members(bridge, LOCAL, group),
        lambda: list(groups.group_csv(bridge, LOCAL, group)),
        lambda: members.find_unchanged(bridge, LOCAL, run_id),
        lambda: comparison.compare_runs(bridge, LOCAL, first.id or 0, run_id),
    ]
    if damage is not DAMAGES["one member twice and another missing"]:  # differences are known by their counts alone
        asked += [
            lambda: members.find_changes(bridge, LOCAL, run_id, "added"),
            lambda: list(members.changes_csv(bridge, LOCAL, run_id)),
            lambda: match_funnel.excluded(bridge, LOCAL, run_id),
        ]
    for ask in asked:
        with pytest.raises(CohortBridgeError) as caught:
            ask()
        assert caught.value.message.endswith(".")
        assert caught.value.advice
    user = user_lookup.look_up_user(bridge, LOCAL, member)
    states = {answer.group.cohort_id: (answer.is_member, answer.reason) for answer in user.groups}
    # Whether ids were changed shows in a fingerprint only, and for a look at many groups none is worked out.
    if damage is not DAMAGES["an id changed"] and damage is not DAMAGES["one member twice and another missing"]:
        assert states[TRIAL] == (False, user_lookup.LOST)
    assert states[POWER] == (True, None)
    assert members.find_members(bridge, LOCAL, group_row(bridge, POWER).id or 0).total == len(
        sandbox.answer(POWER).group
    )


def test_commands_answer_for_all_that_can_be_read(bridge: Bridge, home: Home, sandbox: Sandbox):
    run = export(bridge, TRIAL)
    export(bridge, POWER)
    for name in (run.snapshot, run.difference, run.excluded):
        overwrite(200, 4000)(bridge.snapshots.path(name or ""))

    member = min(sandbox.answer(POWER).group)
    commands = [("run", "show", "1"), ("who", member), ("groups",), ("groups", "members", str(POWER))]
    assert [done.code for done in home.run_all(*commands)] == [0, 0, 0, 0]
    refused = home.run("groups", "members", str(TRIAL))
    assert (refused.code, refused.out) == (1, "")
    assert "damaged. Export the cohort again" in refused.err


def test_a_difference_that_changed_places_with_another_runs_is_not_shown_as_its_own(bridge: Bridge, sandbox: Sandbox):
    run, other = export(bridge, TRIAL), export(bridge, POWER)
    bridge.snapshots.path(other.difference or "").replace(bridge.snapshots.path(run.difference or ""))

    with pytest.raises(StorageFailed, match="who joined and left with run 1 is damaged"):
        members.find_changes(bridge, LOCAL, run.id or 0, "added")


def test_a_comparison_that_was_kept_of_other_runs_of_these_numbers_is_made_again(bridge: Bridge, sandbox: Sandbox):
    first = export(bridge, TRIAL)
    sandbox.at(LATER_S)
    second = export(bridge, TRIAL)
    told = comparison.compare_runs(bridge, LOCAL, first.id or 0, second.id or 0)
    for damage in (overwrite(200, 32), empty, rewrite("SELECT * FROM {0} OFFSET 1")):
        damage(bridge.snapshots.path(told.name))

        again = comparison.compare_runs(bridge, LOCAL, first.id or 0, second.id or 0)

        assert (again.added, again.removed, again.unchanged) == (told.added, told.removed, told.unchanged)
