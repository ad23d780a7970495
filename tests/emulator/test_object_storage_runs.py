"""Members in object storage, the whole way: exported, compared, rolled back, looked up, kept and forgotten there."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
from pathlib import Path

import pytest

from core.access.roles import LOCAL
from core.associate import actions, running
from core.associate.retention import forget_old
from core.backup.backing_up import back_up
from core.backup.restoring import restore
from core.errors import StorageFailed
from core.forgetting import person
from core.leases import lease
from core.reports import comparison, match_funnel, members, user_lookup
from core.settings import Settings
from core.syncs import groups, undo
from core.worker import retention, service, upkeep
from data.models import ImportStage, RunStatus
from tests.emulator.test_associate import enter_token, outcomes, rows
from tests.stage.clock import FakeClock
from tests.stage.home import Home, export, group_row, newest_run
from tests.stage.machines import PREFIX, Machines, copies, members_of, named
from tests.stage.object_storage import environ, storage_at
from tests.stage.sandbox import LATER_S, POWER, TRIAL, Sandbox
from tests.stage.seeds import LONG, few, some

pytestmark = some(3)


def test_the_whole_way_of_a_group_over_two_machines(machines: Machines, sandbox: Sandbox):
    with machines.machine("a") as one:
        first = export(one, POWER)
        assert (first.status, first.write) == (RunStatus.SUCCEEDED, "full")
        assert named(one) == machines.objects()
        assert members_of(one, POWER) == set(sandbox.group(POWER) or {})

    sandbox.at(LATER_S)
    with machines.machine("b") as other:
        second = export(other, POWER)

        assert (second.status, second.write, second.notice) == (RunStatus.SUCCEEDED, "delta", None)
        assert second.added + second.removed > 0
        assert named(other) == machines.objects()
        assert members_of(other, POWER) == set(sandbox.group(POWER) or {})

    with machines.machine("a") as one:
        someone = min(members_of(one, POWER))
        (answer,) = user_lookup.look_up_user(one, LOCAL, someone).groups
        assert answer.is_member
        compared = comparison.compare_runs(one, LOCAL, first.id or 0, second.id or 0)
        assert (compared.added, compared.removed) == (second.added, second.removed)
        assert len(members.find_changes(one, LOCAL, second.id or 0, "added", limit=10_000).rows) == second.added
        assert named(one) == machines.objects(), "what pages compare is theirs alone"

        undo.undo_to(one, LOCAL, first.id or 0)
        service.once(one)
        back = newest_run(one)

        assert (back.status, back.trigger, back.members) == (RunStatus.SUCCEEDED, "undo", first.members)
        assert members_of(one, POWER) == set(sandbox.group(POWER) or {})
        assert named(one) == machines.objects()


@LONG
def test_a_run_that_changes_nothing_and_a_dry_run_leave_nothing_behind(machines: Machines, sandbox: Sandbox):
    with machines.machine("a") as one:
        export(one, TRIAL)
        before = {name for name in machines.objects() if name.startswith("run-")}
        machines.way.asked.clear()

        again = export(one, TRIAL)

        assert (again.status, again.write) == (RunStatus.SUCCEEDED, "none")
        assert {name for name in machines.objects() if name.startswith("run-")} == before
        assert not [asked for asked in machines.way.asked if "/run-" in asked.path], "its copy tells"
        assert named(one) == machines.objects()

        sandbox.at(LATER_S)
        dry = export(one, TRIAL, dry_run=True)
        assert dry.status == RunStatus.SUCCEEDED
        assert named(one) == machines.objects()


@LONG
def test_a_person_who_is_forgotten_is_in_no_object_and_in_no_copy(machines: Machines, sandbox: Sandbox):
    with machines.machine("a") as one, machines.machine("b") as other:
        export(one, TRIAL)
        sandbox.at(LATER_S)
        export(other, TRIAL)
        someone = min(members_of(other, TRIAL))
        members_of(one, TRIAL)
        before = machines.objects()

        traces = person.forget_person(other, LOCAL, someone, patience_s=0.0)

        assert traces.members
        assert machines.objects() == named(other)
        assert copies(other) <= machines.objects()
        assert not machines.objects() & {name for name in before if name.startswith("run-")}
        assert someone not in members_of(other, TRIAL)

        assert copies(one) - machines.objects(), "a machine's copies are its own"
        for path in one.snapshots.folder.rglob("*.parquet"):
            os.utime(path, ns=(0, path.stat().st_mtime_ns))  # used long ago
        assert someone not in members_of(one, TRIAL)
        upkeep.tidy_copies(one)
        assert copies(one) <= machines.objects()


@LONG
def test_objects_that_no_row_names_go_after_a_day_and_others_stay_whatever_a_listing_says(
    machines: Machines, sandbox: Sandbox, tmp_path: Path
):
    left = tmp_path / "left"
    left.write_bytes(b"left by a process that died")
    with machines.machine("a") as one:
        export(one, TRIAL)
        for name in ("run-00000099-0a0a0a0a.parquet", "of-somebody-else", "of-somebody-else.parquet"):
            one.storage.put_file(left, name)
        assert retention.remove_unnamed_files(one) == 0

        list(one.storage.list())
        machines.way.fault = lambda asked: "stale" if "list-type" in asked.path else None
        sandbox.at(LATER_S)
        export(one, TRIAL)
        machines.clock.shift_s += 25 * 3600
        assert retention.remove_unnamed_files(one) == 2  # one of them was removed already

        others = {"of-somebody-else", "of-somebody-else.parquet"}
        assert machines.objects() == named(one) | others
        machines.way.fault = lambda asked: None
        assert retention.remove_unnamed_files(one) == 0


@LONG
def test_a_copy_that_is_damaged_is_fetched_again_before_its_object_counts_as_damaged(
    machines: Machines, sandbox: Sandbox
):
    with machines.machine("a") as one:
        first = export(one, TRIAL)
        (copy,) = one.snapshots.folder.glob("run-*.parquet")
        copy.write_bytes(b"garbage" * 100)
        sandbox.at(LATER_S)
        second = export(one, TRIAL)

        assert (second.status, second.write, second.notice) == (RunStatus.SUCCEEDED, "delta", None)
        assert members_of(one, TRIAL) == set(sandbox.group(TRIAL) or {})

        storage = storage_at(machines.bucket, prefix=PREFIX)
        storage.remove(f"{second.snapshot}.parquet")
        copy.write_bytes(b"garbage" * 100)
        storage.put_file(copy, f"{second.snapshot}.parquet")
    with machines.machine("b") as other:
        sandbox.at(0)
        third = export(other, TRIAL)

        assert (third.status, third.write) == (RunStatus.SUCCEEDED, "full")
        assert "damaged" in (third.notice or "")
        assert members_of(other, TRIAL) == set(sandbox.group(TRIAL) or {})
        assert third.snapshot not in (first.snapshot, second.snapshot)


@few(1)
@pytest.mark.parametrize(
    ("fault", "method"),
    [
        ("unconfirmed", "PUT"),
        ("error", "PUT"),
        ("cut", "GET"),
        ("half", "GET"),
        ("error", "HEAD"),
        ("slow", "PUT"),
    ],
)
def test_what_goes_wrong_once_changes_nothing(machines: Machines, sandbox: Sandbox, fault: str, method: str):
    with machines.machine("a") as one:
        export(one, TRIAL)
    sandbox.at(LATER_S)
    with machines.machine("b") as other:
        machines.way.times(1, fault, method)
        run = export(other, TRIAL)

        assert (run.status, run.write, run.notice) == (RunStatus.SUCCEEDED, "delta", None)
        assert machines.objects() == named(other)
        assert members_of(other, TRIAL) == set(sandbox.group(TRIAL) or {})


@LONG
@pytest.mark.parametrize(
    ("fault", "method", "told"),
    [
        ("expired", "PUT", "refuses these credentials"),
        ("error", "PUT", "answered with errors"),
        ("cut", "GET", "cannot be reached"),
        ("error", "HEAD", "answered with errors"),
        ("slow", "PUT", "did not answer in time"),
    ],
)
def test_what_lasts_fails_the_run_with_a_sentence_and_the_group_stays(
    machines: Machines, sandbox: Sandbox, fault: str, method: str, told: str
):
    with machines.machine("a") as one:
        export(one, TRIAL)
        before, kept = sandbox.group(TRIAL), named(one)
    sandbox.at(LATER_S)
    with machines.machine("b") as other:
        machines.way.fault = lambda asked: fault if asked.method == method else None
        run = export(other, TRIAL)

        assert run.status == RunStatus.FAILED
        assert run.error_code == "storage_failed"
        assert told in (run.error_message or "")
        assert sandbox.group(TRIAL) == before
        assert named(other) == kept
        machines.way.fault = lambda asked: None
        again = export(other, TRIAL)
        assert (again.status, again.write, again.notice) == (RunStatus.SUCCEEDED, "delta", None)
        assert members_of(other, TRIAL) == set(sandbox.group(TRIAL) or {})


@LONG
def test_pages_say_that_the_storage_cannot_be_reached_and_never_that_nobody_is_there(
    machines: Machines, sandbox: Sandbox
):
    with machines.machine("a") as one:
        run = export(one, TRIAL)
        someone = min(members_of(one, TRIAL))
    with machines.machine("b") as other:
        machines.way.fault = lambda asked: "cut"
        group_id = group_row(other, TRIAL).id or 0
        for ask in (
            lambda: user_lookup.look_up_user(other, LOCAL, someone),
            lambda: members.find_members(other, LOCAL, group_id),
            lambda: list(groups.group_csv(other, LOCAL, group_id)),
            lambda: match_funnel.excluded(other, LOCAL, run.id or 0),
        ):
            with pytest.raises(StorageFailed, match="object storage cannot be reached"):
                ask()


def test_an_association_queued_on_one_machine_is_checked_and_written_on_others(machines: Machines, sandbox: Sandbox):
    pairs = [(f"a-profile-{number}", f"i_an-id-{number}") for number in range(5)]
    with machines.machine("a") as one:
        enter_token(one)
        queued = actions.start_association(one, LOCAL, io.BytesIO(rows(*pairs)), source="users.csv")
        number = queued.id or 0
        assert len(machines.objects()) == 1
        shutil.rmtree(one.settings.associations)  # another machine has none of it

        asyncio.run(running.carry_out_here(one, number, lease_owner=lease.new_lease_owner()))
        checked = actions.get_association(one, LOCAL, number)
        assert (checked.stage, checked.writable) == (ImportStage.CHECKED, 5)
        assert machines.objects() == {f"associations/{checked.bundle}.tar"} != {f"associations/{queued.bundle}.tar"}
        shutil.rmtree(one.settings.associations)

        assert actions.planned_rows(one, LOCAL, number, writable=True).total == 5
        actions.confirm_association(one, LOCAL, number)
        shutil.rmtree(one.settings.associations)
        done = asyncio.run(running.carry_out_here(one, number, lease_owner=lease.new_lease_owner()))
        assert (done.stage, done.written) == (ImportStage.DONE, 5)
        assert {row["outcome"] for row in outcomes(one, done).values()} == {"written"}

        before = machines.objects()
        traces = person.forget_person(one, LOCAL, pairs[0][0], patience_s=0.0)
        assert traces.association_rows == 1
        assert len(machines.objects()) == 1
        assert not machines.objects() & before
        shutil.rmtree(one.settings.associations)
        assert len(outcomes(one, done)) == 4

        machines.clock.shift_s += 31 * 24 * 3600
        forget_old(one)  # by name, at once
        assert machines.objects() == set()


@LONG
def test_an_association_whose_storage_is_out_of_reach_ends_with_a_sentence(machines: Machines, sandbox: Sandbox):
    with machines.machine("a") as one:
        queued = actions.start_association(one, LOCAL, io.BytesIO(rows(("a-profile", "i_an-id"))))
        shutil.rmtree(one.settings.associations)
        machines.way.fault = lambda asked: "cut"

        ended = asyncio.run(running.carry_out_here(one, queued.id or 0, lease_owner=lease.new_lease_owner()))

        assert ended.stage == ImportStage.FAILED
        assert "object storage cannot be reached" in (ended.error_message or "")
        with pytest.raises(StorageFailed, match="object storage cannot be reached"):
            actions.start_association(one, LOCAL, io.BytesIO(rows(("a-profile", "i_an-id"))))
        assert len(actions.list_associations(one, LOCAL)) == 1


@LONG
def test_an_installation_and_its_backup_that_works_beside_it_in_one_prefix_write_right_groups(
    machines: Machines, sandbox: Sandbox, tmp_path: Path
):
    """They remove each other's files, and notice each other: what each of them writes is all of what it has read."""
    for name, value in environ(machines.way.port).items():
        machines.monkeypatch.setenv(name, value)
    with machines.machine("a") as one:
        export(one, POWER)
        back_up(one, LOCAL, tmp_path / "backup.tar")
    twin = twin_of(machines, tmp_path / "backup.tar")
    later = FakeClock(shift_s=2 * 24 * 3600.0)
    for hour in range(1, 4):
        sandbox.at(hour * LATER_S)
        with machines.machine("a") as one:
            run = export(one, POWER)
            assert (run.status, run.write) == (RunStatus.SUCCEEDED, "full" if hour > 1 else "delta")
            assert members_of(one, POWER) == set(sandbox.group(POWER) or {}) == set(sandbox.answer(POWER).group)
        with twin.bridge(clock=later.clock, storage_url=machines.storage_url) as other:
            assert retention.remove_unnamed_files(other) > 0
            run = export(other, POWER)
            assert (run.status, run.write) == (RunStatus.SUCCEEDED, "full")
            assert members_of(other, POWER) == set(sandbox.group(POWER) or {}) == set(sandbox.answer(POWER).group)


def twin_of(machines: Machines, file: Path) -> Home:
    """Return a home of its own that a backup is restored to, over the storage that its first installation uses."""
    twin = Home(file.parent / "twin")
    twin.path.mkdir()
    shutil.copy(machines.first.path / "secret.key", twin.path)
    settings = Settings(home=twin.path, storage_url=machines.storage_url, _env_file=None)  # type: ignore[call-arg]
    restore(settings, file, machines.clock.clock)
    return twin
