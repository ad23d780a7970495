"""Several exports at the same time: of one cohort, of several, by several processes."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.connections.destinations import connect_csv
from core.errors import RunAlreadyActive
from core.leases import lease
from core.syncs import one_time, runs
from core.syncs.runs import list_runs
from core.worker import inline_run, service
from data.models import Run
from tests.stage.home import Home
from tests.stage.sandbox import EVERYONE, NEWSLETTER, POWER, SPENDERS, TESTERS, TRIAL, WEB, Sandbox, wait_until
from tests.stage.seeds import LONG


def test_two_exports_of_one_cohort_leave_the_group_right(sandbox: Sandbox, home: Home):
    sandbox.fault("slow", target="mixpanel", seconds=0.4)

    both = [home.finish(started) for started in [home.begin("export", str(POWER), "--json") for _ in range(2)]]

    refused = [done for done in both if done.code]
    assert len(refused) < 2
    for done in refused:
        assert done.json["error"]["code"] == "run_already_active"
        # By its name, as soon as the first has read that.
        assert re.search(f"is writing the group (Power users|Cohort {POWER}) at this moment", done.err)
        assert "Wait for it to finish, or cancel it" in done.err
    assert sandbox.group(POWER) == sandbox.answer(POWER).group
    assert {listed["status"] for listed in home.run("runs", "--json").json} <= {"succeeded", "failed"}


def test_an_export_is_refused_while_another_run_writes_the_group(sandbox: Sandbox, home: Home):
    sandbox.fault("slow", target="mixpanel", page=1, seconds=60)
    first = home.begin("export", str(POWER), "--json")
    sandbox.wait_for("engage", page=1)

    second = home.run("export", str(POWER), "--json")

    assert (second.code, second.json["status"]) == (1, "failed")
    assert second.json["error"]["code"] == "run_already_active"
    assert second.err.startswith("Run 1 is writing the group")
    home.run("run", "cancel", "1")
    assert home.finish(first).json["status"] == "cancelled"


def test_a_dry_run_does_not_wait_for_a_run_that_writes(sandbox: Sandbox, home: Home):
    sandbox.fault("slow", target="apptimize", seconds=60)
    first = home.begin("export", str(POWER), "--json")
    sandbox.wait_for("cohort-sync")

    second = home.run("export", str(POWER), "--dry-run", "--json")

    assert (second.code, second.json["members"]) == (0, len(sandbox.answer(POWER).group))
    home.run("run", "cancel", "1")
    assert home.finish(first).json["status"] == "cancelled"


def test_processes_share_the_five_requests_of_a_project(sandbox: Sandbox, home: Home):
    sandbox.fault("slow", target="mixpanel", seconds=0.15)
    home.env = {"COHORT_BRIDGE_PAGE_SIZE": "100"}
    cohorts = (EVERYONE, POWER, NEWSLETTER)

    done = home.run_all(*(("export", str(cohort), "--json") for cohort in cohorts))

    assert [command.code for command in done] == [0, 0, 0]
    assert sandbox.log()["max_in_flight"] <= 5
    for cohort in cohorts:
        assert sandbox.group(cohort) == sandbox.answer(cohort).group


@LONG
def test_a_worker_does_several_cohorts_side_by_side_within_five_requests(sandbox: Sandbox, home: Home):
    sandbox.fault("slow", target="mixpanel", seconds=0.05)
    cohorts = (EVERYONE, POWER, NEWSLETTER, WEB)
    with home.bridge(page_size=100) as bridge:
        for cohort in cohorts:
            one_time.start_export(bridge, LOCAL, cohort)

        asyncio.run(service.Worker(bridge).once())

        assert {run.status for run in runs.list_runs(bridge, LOCAL)} == {"succeeded"}
    assert sandbox.log()["max_in_flight"] <= 5
    for cohort in cohorts:
        assert sandbox.group(cohort) == sandbox.answer(cohort).group


@LONG
def test_two_workers_share_a_queue_and_do_each_run_once(sandbox: Sandbox, home: Home):
    cohorts = (POWER, NEWSLETTER, WEB, TRIAL, SPENDERS, TESTERS)
    with home.bridge() as bridge:
        for cohort in cohorts:
            one_time.start_export(bridge, LOCAL, cohort)

        done = home.run_all(("worker", "--once"), ("worker", "--once"))

        runs = list_runs(bridge, LOCAL)
    assert [command.code for command in done] == [0, 0]
    assert [run.status for run in runs] == ["succeeded"] * len(cohorts)
    assert len([page for page in sandbox.asked("engage") if page["page"] == 0]) == len(cohorts)
    for cohort in cohorts:
        assert sandbox.group(cohort) == sandbox.answer(cohort).group


def test_a_destination_that_hangs_takes_half_of_the_places_and_no_request_to_mixpanel(
    sandbox: Sandbox, home: Home, tmp_path: Path
):
    sandbox.fault("slow", target="apptimize", seconds=60)
    hanging, others = (EVERYONE, POWER, NEWSLETTER, WEB), (TRIAL, SPENDERS, TESTERS)
    with home.bridge() as bridge:
        connect_csv(bridge, LOCAL, folder=str(tmp_path / "groups"))
        for cohort in hanging:
            one_time.start_export(bridge, LOCAL, cohort, to="default")
        for cohort in others:
            one_time.start_export(bridge, LOCAL, cohort, to="csv")

        asyncio.run(work_until_nothing_is_left_for(bridge, "csv"))

        all_runs = runs.list_runs(bridge, LOCAL)
        assert [run.status for run in all_runs if run.destination == "csv"] == ["succeeded"] * len(others)
        # Oldest first: the first two had the places, and are back in the queue as the worker ended.
        assert [run.started_at is not None for run in all_runs if run.destination == "default"] == [
            False,
            False,
            True,
            True,
        ]


async def work_until_nothing_is_left_for(bridge: Bridge, destination: str) -> None:
    def is_done() -> bool:
        return all(run.destination != destination for run in runs.active_runs(bridge, LOCAL))

    stop = asyncio.Event()
    working = asyncio.create_task(service.Worker(bridge).serve(stop))
    try:
        await asyncio.to_thread(wait_until, is_done)
    finally:
        stop.set()
        await working


def test_an_export_here_that_meets_the_workers_run_says_so(sandbox: Sandbox, home: Home):
    sandbox.fault("slow", target="mixpanel", page=1, seconds=60)
    with home.bridge() as bridge:
        queued = one_time.start_export(bridge, LOCAL, POWER)

        with pytest.raises(RunAlreadyActive, match=f"Run {queued.id} is writing the group Power users"):
            asyncio.run(export_while_a_worker_works(bridge, sandbox))

        assert [run.status for run in runs.list_runs(bridge, LOCAL)] == ["failed", "queued"]


async def export_while_a_worker_works(bridge: Bridge, sandbox: Sandbox) -> Run:
    stop = asyncio.Event()
    working = asyncio.create_task(service.Worker(bridge).serve(stop))
    try:
        await asyncio.to_thread(sandbox.wait_for, "engage", page=1)
        lease_owner = lease.new_lease_owner()
        run = await asyncio.to_thread(one_time.start_export, bridge, LOCAL, POWER, lease_owner=lease_owner)
        assert run.id
        return await inline_run.carry_out_here(bridge, run.id, lease_owner=lease_owner, patience_s=0)
    finally:
        stop.set()
        await working
