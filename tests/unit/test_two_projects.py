"""Two Mixpanel projects that both have a cohort of one number: each command finds the one that is meant, or asks."""

from __future__ import annotations

import pytest
from sqlmodel import select

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.errors import NotConnected, NotFound, SettingsError
from core.reports import match_funnel, overview
from core.reports.export_forecast import forecast_exports
from core.syncs import groups, one_time, recurring
from core.vendors.mixpanel_answers import Cohort
from data import run_queue
from data.engine import write_session
from data.models import Connection, Group, Run, RunStatus
from tests.stage.clock import FakeClock
from tests.stage.rows import build_folder, build_mixpanel
from tests.stage.sandbox import NOON

FIRST, SECOND, COHORT = 11, 22, 7


@pytest.fixture
def projects(bridge: Bridge) -> Bridge:
    """A home with a connection to each of two projects, and one folder for both."""
    with write_session(bridge.engine) as session:
        session.add_all([build_mixpanel(bridge, "default", FIRST), build_mixpanel(bridge, "second", SECOND)])
        session.add(build_folder(bridge, "csv"))
    return bridge


def export_of(bridge: Bridge, mixpanel: str) -> Run:
    """Keep an export of the cohort as if a worker had done it."""
    run = one_time.start_export(bridge, LOCAL, COHORT, group=f"Cohort of {mixpanel}", mixpanel=mixpanel)
    with write_session(bridge.engine) as session:
        done = session.get_one(Run, run.id)
        done.status, done.started_at, done.finished_at = RunStatus.SUCCEEDED, bridge.clock.now(), bridge.clock.now()
        session.get_one(Group, run.group_id).delivered_at = bridge.clock.now()
    return done


def test_the_only_group_of_a_number_is_found_and_one_of_several_by_its_project(projects: Bridge):
    second = export_of(projects, "second")
    assert groups.find_group(projects, LOCAL, COHORT).id == second.group_id
    first = export_of(projects, "default")

    with pytest.raises(SettingsError, match="several projects have a cohort 7: default, second") as no:
        groups.find_group(projects, LOCAL, COHORT, to="csv")

    assert "--mixpanel NAME" in no.value.advice
    found = [groups.find_group(projects, LOCAL, COHORT, mixpanel=name).id for name in ("default", "second")]
    assert found == [first.group_id, second.group_id]
    with pytest.raises(NotConnected, match="no connection called elsewhere"):
        groups.find_group(projects, LOCAL, COHORT, mixpanel="elsewhere")


def test_a_project_that_no_connection_leads_to_any_more_is_found_by_its_number(projects: Bridge):
    runs = [export_of(projects, name) for name in ("default", "second")]
    with write_session(projects.engine) as session:
        session.exec(select(Connection).where(Connection.name == "second")).one().removed = True

    with pytest.raises(SettingsError, match="several projects have a cohort 7: default, 22"):
        groups.find_group(projects, LOCAL, COHORT)

    assert groups.find_group(projects, LOCAL, COHORT, mixpanel=str(SECOND)).id == runs[1].group_id


def test_the_last_read_is_that_of_the_project_that_is_meant(projects: Bridge):
    reads = {name: export_of(projects, name) for name in ("default", "second")}

    with pytest.raises(SettingsError, match="several projects"):
        match_funnel.find_last_read(projects, LOCAL, COHORT)

    for name, read in reads.items():
        assert match_funnel.find_last_read(projects, LOCAL, COHORT, mixpanel=name).id == read.id
    with pytest.raises(NotFound, match="Cohort 7 was not read yet"):
        match_funnel.find_last_read(projects, LOCAL, COHORT, to="elsewhere")


def test_matching_tells_the_reads_of_each_project_apart(projects: Bridge):
    reads = {FIRST: export_of(projects, "default"), SECOND: export_of(projects, "second")}
    own = {project: read.id for project, read in reads.items()}

    assert {read.project_id: read.run.id for read in match_funnel.latest_reads(projects, LOCAL)} == own
    latest = {project: match_funnel.find_read(projects, LOCAL, run_id or 0) for project, run_id in own.items()}
    assert {project: read and (read.project_id, read.run.id) for project, read in latest.items()} == {
        project: (project, run_id) for project, run_id in own.items()
    }
    assert {
        project: [run.id for run in match_funnel.list_reads(projects, LOCAL, project, COHORT)] for project in own
    } == {project: [run_id] for project, run_id in own.items()}


def test_what_a_cohort_took_to_read_is_told_of_its_own_project(projects: Bridge):
    reads = {FIRST: export_of(projects, "default"), SECOND: export_of(projects, "second")}

    assert {project: overview.match_rates(projects, LOCAL, project)[COHORT].id for project in reads} == {
        project: read.id for project, read in reads.items()
    }


def test_what_waits_for_the_queries_of_another_project_is_not_ahead(projects: Bridge, fake_clock: FakeClock):
    fake_clock.start_s = NOON
    chosen = [Cohort(number, "", "", 10, "", is_visible=True, of_groups=False) for number in range(1, 31)]
    alone = forecast_exports(projects, LOCAL, chosen)
    for number in range(1, 51):
        one_time.start_export(projects, LOCAL, number, mixpanel="second")

    assert forecast_exports(projects, LOCAL, chosen) == alone
    assert run_queue.count_waiting_reads(projects.engine, SECOND) == 50


def test_with_no_usual_project_the_refusal_names_the_option_that_chooses_one(projects: Bridge):
    with write_session(projects.engine) as session:
        session.exec(select(Connection).where(Connection.name == "default")).one().name = "first"

    for start in (one_time.start_export, recurring.add_sync):
        with pytest.raises(SettingsError, match="Mixpanel connection: choose one of first, second") as no:
            start(projects, LOCAL, COHORT)
        assert no.value.advice == "On the command line: --mixpanel NAME."
