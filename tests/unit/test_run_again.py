"""Running a run again that did not succeed: it does what that one was to do, where that one was to do it."""

from __future__ import annotations

import pytest
from sqlmodel import select

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.errors import NotConnected, NotFound
from core.syncs import one_time, recurring, run_again
from data.engine import read_session, write_session
from data.models import Connection, Group, Run, RunStatus, SyncState
from tests.stage.rows import build_folder, build_mixpanel, change_row

COHORT = 7


@pytest.fixture
def home(bridge: Bridge) -> Bridge:
    """A home with connections to two projects and to two folders, none of them the usual one."""
    with write_session(bridge.engine) as session:
        for number, name in ((1, "shop"), (2, "news")):
            session.add_all([build_mixpanel(bridge, name, number), build_folder(bridge, f"csv-{name}")])
    return bridge


def failed(bridge: Bridge, run: Run, **values: object) -> int:
    change_row(bridge, Run, run.id, status=RunStatus.FAILED, finished_at=bridge.clock.now(), **values)
    return run.id or 0


def change_connection(bridge: Bridge, present_name: str, **values: object) -> None:
    with read_session(bridge.engine) as session:
        connection_id = session.exec(select(Connection.id).where(Connection.name == present_name)).one()
    change_row(bridge, Connection, connection_id, **values)


def test_an_export_goes_between_the_same_connections_whatever_they_are_called_by_now(home: Bridge):
    run = one_time.start_export(home, LOCAL, COHORT, mixpanel="news", to="csv-news")
    change_connection(home, "csv-news", name="papers")
    change_connection(home, "csv-shop", name="csv-news")

    again = run_again.run_again(home, LOCAL, failed(home, run))

    assert (again.id != run.id, again.sync_id, again.group_id) == (True, run.sync_id, run.group_id)
    assert (again.status, again.destination, again.trigger) == (RunStatus.QUEUED, "papers", "manual")
    assert run_again.run_again(home, LOCAL, run.id or 0).id == again.id


def test_a_group_is_written_again_from_its_own_project(home: Bridge):
    run = one_time.start_export(home, LOCAL, COHORT, mixpanel="news", to="csv-news")
    failed(home, run)

    again = run_again.export_again(home, LOCAL, run.group_id)

    assert (again.id != run.id, again.group_id, again.sync_id) == (True, run.group_id, run.sync_id)
    change_connection(home, "news", removed=True)
    with pytest.raises(NotConnected, match="not connected any more"):
        run_again.export_again(home, LOCAL, run.group_id)


@pytest.mark.parametrize("asked", [{"dry_run": True}, {"full": True}], ids=["preview", "full"])
def test_a_preview_writes_nothing_again_and_a_full_overwrite_stays_one(home: Bridge, asked: dict[str, bool]):
    run = one_time.start_export(home, LOCAL, COHORT, mixpanel="shop", to="csv-shop", **asked)

    again = run_again.run_again(home, LOCAL, failed(home, run))

    assert again.id != run.id
    assert (again.dry_run, again.force_full) == (asked.get("dry_run", False), asked.get("full", False))


def test_a_run_of_a_recurring_sync_is_its_own_again_with_its_shrink_limit(home: Bridge):
    sync = recurring.add_sync(home, LOCAL, COHORT, mixpanel="shop", to="csv-shop", max_shrink=10)
    run = recurring.run_now(home, LOCAL, sync.id or 0)

    again = run_again.run_again(home, LOCAL, failed(home, run))

    assert (again.id != run.id, again.sync_id) == (True, sync.id)
    recurring.remove_sync(home, LOCAL, sync.id or 0)
    assert run_again.run_again(home, LOCAL, run.id or 0).sync_id != sync.id  # there is no such limit any more


def test_a_preview_is_made_again_under_its_own_name(home: Bridge):
    run = one_time.start_export(home, LOCAL, COHORT, group="Beta", mixpanel="shop", to="csv-shop", dry_run=True)

    again = run_again.run_again(home, LOCAL, failed(home, run))

    assert (again.id != run.id, again.dry_run, again.group_name) == (True, True, "Beta")
    change_row(home, Run, again.id, status=RunStatus.FAILED)
    one_time.start_export(home, LOCAL, COHORT, group="Gamma", mixpanel="shop", to="csv-shop")
    change_row(home, Group, run.group_id, delivered_at=home.clock.now())  # a group that is there keeps its name
    assert run_again.run_again(home, LOCAL, run.id or 0).group_name == "Gamma"


def test_a_rollback_is_one_again_and_to_the_same_members(home: Bridge):
    sync = recurring.add_sync(home, LOCAL, COHORT, mixpanel="shop", to="csv-shop")
    earlier = recurring.run_now(home, LOCAL, sync.id or 0)
    with home.snapshots.collector() as collector:
        collector.add(distinct_ids=["user"], apptimize_ids=["i_1"])
        home.snapshots.make("run-00000001", collector.write)
    change_row(
        home, Run, earlier.id, status=RunStatus.SUCCEEDED, finished_at=home.clock.now(), snapshot="run-00000001",
        members=1, matched_by="original:$apptimize_user_id",
    )  # fmt: skip
    run = recurring.run_now(home, LOCAL, sync.id or 0)
    number = failed(home, run, trigger="undo", restore_snapshot="run-00000001")

    again = run_again.run_again(home, LOCAL, number)

    assert (again.trigger, again.restore_snapshot) == ("undo", "run-00000001")
    assert recurring.pause_sync(home, LOCAL, sync.id or 0).state == SyncState.PAUSED
    change_row(home, Run, earlier.id, snapshot=None)
    with pytest.raises(NotFound, match=f"The members that run {number} was to write are not kept"):
        run_again.run_again(home, LOCAL, number)


@pytest.mark.parametrize(
    ("name", "values"),
    [("shop", {"removed": True}), ("shop", {"project_id": 3}), ("csv-shop", {"removed": True})],
    ids=["no project", "another project", "no destination"],
)
def test_what_is_no_longer_connected_is_not_exported_to_or_from_elsewhere(
    home: Bridge, name: str, values: dict[str, object]
):
    run = one_time.start_export(home, LOCAL, COHORT, mixpanel="shop", to="csv-shop")
    change_connection(home, name, **values)

    with pytest.raises(NotConnected, match="was removed") as refused:
        run_again.run_again(home, LOCAL, failed(home, run))

    assert refused.value.advice == "Export the cohort from Cohorts, to what is connected now."


def test_of_several_one_that_is_refused_stops_no_other(home: Bridge):
    gone, kept = (
        failed(home, one_time.start_export(home, LOCAL, COHORT, mixpanel=name, to=f"csv-{name}"))
        for name in ("shop", "news")
    )
    change_connection(home, "csv-shop", removed=True)

    done = run_again.run_each_again(home, LOCAL, [gone, kept, kept])

    assert {run_id: run.destination for run_id, run in done.queued.items()} == {kept: "csv-news"}
    assert list(done.refused) == [gone]
    with pytest.raises(NotConnected):
        run_again.run_each_again(home, LOCAL, [gone])
