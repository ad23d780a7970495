"""A person who was forgotten is in no file of the home any more, and every group is what its cohort makes of it."""

from __future__ import annotations

import gzip
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import duckdb
import pytest
from sqlmodel import select, update

from core.access import audit_log
from core.access.roles import LOCAL
from core.associate import actions
from core.associate.files import import_rows
from core.bridge import Bridge
from core.errors import IdShared, RunAlreadyActive
from core.forgetting import person
from core.forgetting.traces import Traces
from core.reports import comparison, match_funnel, members, user_lookup
from core.syncs import held_runs, one_time, runs, undo
from core.worker import service
from data import leases, proofs, run_queue
from data.engine import write_session
from data.forgetting import ALL, NOT_KEPT
from data.models import AssociationBatch, AuditEntry, LeaseKind, Run, RunFilter, RunStatus
from tests.emulator.test_associate import check, enter_token, rows, write
from tests.stage import databases
from tests.stage.adding import lead_to
from tests.stage.home import Home, export, group_row, newest_run
from tests.stage.processes import ROOT
from tests.stage.sandbox import LATER_S, POWER, TRIAL, WEB, Sandbox, wait_until
from tests.stage.seeds import LONG, few, some

pytestmark = some(7)

# What stands in for the vendors keeps what vendors keep, and is no part of what is forgotten.
NOT_OURS = ("sandbox", "receivers")
UNIQUE = 12
# A process that dies as it calls a function of ours.
KILLED = """
import importlib, os, signal, sys
from pathlib import Path
from core.access.roles import LOCAL
from core.forgetting import person
from tests.stage.home import Home
module, name, home, user_id = sys.argv[1:]
setattr(importlib.import_module(module), name, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
with Home(Path(home)).bridge() as bridge:
    person.forget_person(bridge, LOCAL, user_id, patience_s=0.0)
"""


def forms_of(user_id: str) -> set[bytes]:
    """How an id can stand in bytes: as it is, and as JSON and a database's text of JSON escape it."""
    escaped = json.dumps(user_id)[1:-1]
    return {user_id.encode(), escaped.encode(), json.dumps(escaped)[1:-1].encode(), user_id.encode("utf-16-le")}


def places_of(home: Path, *ids: str) -> list[str]:
    """Search every file of a home for ids: its bytes, what is compressed in it, and every column of Parquet files."""
    found = list[str]()
    for path in sorted(home.rglob("*")):
        if not path.is_file() or path.name.startswith(NOT_OURS):
            continue
        texts = [path.read_bytes()]
        if texts[0].startswith(b"PAR1"):
            with closing(duckdb.connect()) as db:
                table = db.execute(f"SELECT * FROM read_parquet('{path}')").fetchall()
            texts.append("\n".join(str(value) for row in table for value in row).encode())
        if texts[0].startswith(b"\x1f\x8b"):
            texts.append(gzip.decompress(texts[0]))
        if any(form in text for text in texts for user_id in ids for form in forms_of(user_id)):
            found.append(str(path.relative_to(home)))
    return found


@pytest.fixture
def bridge(home: Home, sandbox: Sandbox) -> Iterator[Bridge]:
    with home.bridge() as opened:
        yield opened


def stayer(sandbox: Sandbox, cohort: int = TRIAL) -> tuple[str, str]:
    """A member of a cohort now and later: both ids."""
    before = sandbox.answer(cohort).group
    sandbox.at(LATER_S)
    after = sandbox.answer(cohort).group
    sandbox.at(0)
    # Short ids are a part of much else, so that searching for them tells nothing.
    both = {pair for pair in before.items() if pair[0] in after and min(map(len, pair)) >= UNIQUE}
    return min(both)


def two_runs(bridge: Bridge, sandbox: Sandbox) -> tuple[Run, Run]:
    first = export(bridge, TRIAL)
    sandbox.at(LATER_S)
    return first, export(bridge, TRIAL)


def forget(bridge: Bridge, user_id: str, **options: object) -> Traces:
    return person.forget_person(bridge, LOCAL, user_id, patience_s=0.0, **options)  # type: ignore[arg-type]


def last_line(bridge: Bridge) -> AuditEntry:
    return audit_log.list_audit(bridge, LOCAL)[0]


@few(1)
@pytest.mark.parametrize("by", ["Apptimize id", "distinct id"])
def test_nothing_in_the_home_holds_either_id_of_who_was_forgotten(
    home: Home, bridge: Bridge, sandbox: Sandbox, by: str
):
    ids = stayer(sandbox)
    first, second = two_runs(bridge, sandbox)
    comparison.compare_runs(bridge, LOCAL, first.id or 0, second.id or 0)
    with write_session(bridge.engine) as session:
        session.exec(update(Run).where(Run.id == first.id).values(decision_note=f"About {ids[0]} and {ids[1]}"))
        session.exec(update(Run).where(Run.id == second.id).values(decision_note="About nobody"))
    assert places_of(home.path, *ids)

    traces = forget(bridge, ids[0] if by == "Apptimize id" else ids[1])

    assert places_of(home.path, *ids) == []
    notes = [runs.get_run(bridge, LOCAL, run.id or 0).decision_note for run in (first, second)]
    assert notes == ["Not kept: it named somebody who was forgotten.", "About nobody"]
    assert (traces.distinct_ids, traces.apptimize_ids, traces.members, traces.groups_in_doubt) == (1, 1, 2, 1)
    line = last_line(bridge)
    assert (line.who, line.action, line.outcome) == ("local", "forget_person", "done")
    assert line.after["a person"]["members"] == 2
    assert audit_log.verify_audit(bridge, LOCAL).ok
    assert not user_lookup.look_up_user(bridge, LOCAL, ids[0]).is_known


def test_what_is_kept_without_the_person_is_no_damage(home: Home, bridge: Bridge, sandbox: Sandbox):
    ids = stayer(sandbox)
    first, second = two_runs(bridge, sandbox)
    compared = comparison.compare_runs(bridge, LOCAL, first.id or 0, second.id or 0)
    forget(bridge, ids[0])

    again = [runs.get_run(bridge, LOCAL, run.id or 0) for run in (first, second)]
    assert [run.members for run in again] == [first.members, second.members]
    assert all(members.are_whole(bridge, run) for run in again)
    assert members.find_changes(bridge, LOCAL, first.id or 0, "added").total == first.added - 1
    assert members.find_changes(bridge, LOCAL, second.id or 0, "added").total == second.added
    assert members.find_unchanged(bridge, LOCAL, second.id or 0).total == second.unchanged - 1
    now = comparison.compare_runs(bridge, LOCAL, first.id or 0, second.id or 0)
    assert (now.added, now.removed, now.unchanged) == (compared.added, compared.removed, compared.unchanged - 1)
    group = group_row(bridge, TRIAL)
    assert members.find_members(bridge, LOCAL, group.id or 0).total == second.members - 1
    assert proofs.is_proven(bridge.engine, bridge.snapshots, group.base_snapshot, members=0)
    assert not list(bridge.snapshots.folder.glob("*.damaged"))


@pytest.mark.parametrize("stays", [True, False], ids=["still in the cohort", "left the cohort"])
def test_the_next_run_makes_the_group_equal_to_its_cohort(bridge: Bridge, sandbox: Sandbox, stays: bool):
    export(bridge, TRIAL)
    before = sandbox.answer(TRIAL).group
    sandbox.at(LATER_S)
    after = sandbox.answer(TRIAL).group
    user_id = min(set(before) & set(after) if stays else set(before) - set(after))

    forget(bridge, user_id)

    assert sandbox.group(TRIAL) == before
    assert group_row(bridge, TRIAL).doubt_cause == "forgotten"
    run = export(bridge, TRIAL)
    assert (run.status, run.write, run.notice) == (RunStatus.SUCCEEDED, "full", None)
    assert sandbox.group(TRIAL) == after
    assert export(bridge, TRIAL).write == "none"


def test_a_cohort_that_is_as_it_was_without_the_person_is_written_all_the_same(bridge: Bridge, sandbox: Sandbox):
    """The kept members without the person are exactly the cohort: only the doubt tells that the group is not."""
    export(bridge, TRIAL)
    sandbox.at(LATER_S)
    export(bridge, TRIAL)
    sandbox.fill(TRIAL, {**sandbox.answer(TRIAL).group, "i_gone": "u-gone"})
    user_id = min(sandbox.answer(TRIAL).group)
    forget(bridge, user_id)

    run = export(bridge, TRIAL)

    assert (run.status, run.write) == (RunStatus.SUCCEEDED, "full")
    assert sandbox.group(TRIAL) == sandbox.answer(TRIAL).group


def test_a_receiver_that_only_adds_is_held_until_a_person_lets_it_through(bridge: Bridge, sandbox: Sandbox):
    receiver = sandbox.receiver("only-adds", key="crm id")
    lead_to(bridge, receiver)
    export(bridge, TRIAL)
    before = set(sandbox.answer(TRIAL).group)
    sandbox.at(LATER_S)
    after = set(sandbox.answer(TRIAL).group)
    gone = min(before - after)

    traces = forget(bridge, gone)

    assert (traces.groups_in_doubt, traces.groups_only_adding) == (1, 1)
    held = export(bridge, TRIAL)
    assert (held.status, held.error_code) == (RunStatus.HELD, "held_unknown_members")
    assert "was forgotten" in (held.error_message or "")
    assert set(receiver.members(TRIAL) or ()) == before
    held_runs.apply_held(bridge, LOCAL, held.id or 0)
    service.once(bridge)
    # Whom no file names any more nobody can remove: that was said.
    assert set(receiver.members(TRIAL) or ()) == after | {gone}
    assert export(bridge, TRIAL).write == "none"


def test_a_group_that_never_had_the_person_is_not_in_doubt(home: Home, bridge: Bridge, sandbox: Sandbox):
    ids = (str(row["$distinct_id"]) for row in sandbox.raw(WEB) if "$apptimize_user_id" not in row["$properties"])
    excluded = next(distinct_id for distinct_id in ids if len(distinct_id) >= UNIQUE)
    run = export(bridge, WEB)
    assert excluded in "".join(match_funnel.excluded_csv(bridge, LOCAL, run.id or 0))

    traces = forget(bridge, excluded)

    assert (traces.excluded, traces.members, traces.groups_in_doubt) == (1, 0, 0)
    assert places_of(home.path, excluded) == []
    assert match_funnel.excluded(bridge, LOCAL, run.id or 0).total == run.profiles - run.members - 1
    assert export(bridge, WEB).write == "none"


def test_rows_of_associations_are_forgotten_with_their_outcomes(home: Home, bridge: Bridge, sandbox: Sandbox):
    enter_token(bridge)
    ids, other = ("a-profile-without-another", "i_an-id-of-one-person"), ("another-profile-here", "i_another-person")
    association = write(bridge, rows(ids, other, ("", "i_nobody")))
    assert association.id is not None
    with write_session(bridge.engine) as session:
        batch = session.exec(select(AssociationBatch)).one()
        batch.refused = {"2": f"no such profile: {ids[0]}", "3": f"not {ids[0]}"}
        session.add(batch)
    assert {path.partition("/")[0] for path in places_of(home.path, *ids)} >= {"associations"}

    traces = forget(bridge, ids[0])

    assert (traces.association_rows, traces.members) == (1, 0)
    assert places_of(home.path, *ids) == []
    kept = "".join(actions.association_outcomes(bridge, LOCAL, association.id))
    assert other[0] in kept
    assert NOT_KEPT in kept
    again = actions.get_association(bridge, LOCAL, association.id)
    assert (again.rows, again.written) == (association.rows, association.written)


def test_a_row_that_waits_to_be_confirmed_is_not_written_any_more(home: Home, bridge: Bridge, sandbox: Sandbox):
    enter_token(bridge)
    ids, other = ("a-profile-without-another", "an-id-of-one-person"), ("another-profile-here", "i_another-person")
    checked = check(bridge, rows(ids, other), prefix="i_")
    assert checked.writable == 2

    forget(bridge, f"i_{ids[1]}")

    assert places_of(home.path, *ids) == []
    assert actions.get_association(bridge, LOCAL, checked.id or 0).writable == 1


def test_a_file_that_waits_to_be_checked_loses_the_row_too(home: Home, bridge: Bridge, sandbox: Sandbox):
    ids, other = ("a-profile-without-another", "i_an-id-of-one-person"), ("another-profile-here", "i_another-person")
    queued = actions.start_association(bridge, LOCAL, io.BytesIO(rows(ids, other)))

    forget(bridge, ids[0])

    assert places_of(home.path, *ids) == []
    service.once(bridge)
    assert actions.get_association(bridge, LOCAL, queued.id or 0).writable == 1


def test_what_was_set_aside_and_what_dead_runs_left_goes_with_the_person(home: Home, bridge: Bridge, sandbox: Sandbox):
    ids = stayer(sandbox)
    export(bridge, TRIAL)
    folder = bridge.snapshots.folder
    (snapshot,) = folder.glob("run-*.parquet")
    (folder / "run-00000099.damaged").write_bytes(snapshot.read_bytes())
    (folder / "run-00000098.damaged").write_bytes(b"PAR1 nothing that can be read")
    (folder / "leavers-00000097.parquet").write_bytes(snapshot.read_bytes())
    (folder / ".run-00000096.parquet.0a0b.part").write_text(ids[0])
    (home.path / "scratch" / "read-of-the-dead").mkdir(parents=True)
    (home.path / "scratch" / "read-of-the-dead" / "000000.txt").write_text(ids[0])
    (home.path / "associations").mkdir(exist_ok=True)
    packed = home.path / "associations" / ".0a0b0c0d0e0f0a0b.tar.part"
    packed.write_text(ids[0])
    os.utime(packed, (0, 0))
    (home.path / "logs").mkdir(exist_ok=True)
    log = home.path / "logs" / "worker.log"
    log.write_text(f"a line with {ids[1]}, and {ids[1]}0 of somebody else\n")

    traces = forget(bridge, ids[0])

    assert (traces.leftovers, traces.unreadable, traces.log_entries) == (2, 1, 1)
    assert places_of(home.path, ids[0]) == []
    assert log.read_text() == f"a line with {'*' * len(ids[1])}, and {ids[1]}0 of somebody else\n"


def test_while_a_run_is_running_no_one_is_forgotten(home: Home, bridge: Bridge, sandbox: Sandbox):
    export(bridge, TRIAL)
    before = sorted(path.name for path in bridge.snapshots.folder.iterdir())
    sandbox.fault("slow", target="mixpanel", page=1, seconds=30)
    process = home.begin("export", str(POWER))
    sandbox.wait_for("engage", page=1)

    with pytest.raises(RunAlreadyActive, match="Run 2 is running, and what was read would bring the person back"):
        forget(bridge, min(sandbox.answer(TRIAL).group))

    assert sorted(path.name for path in bridge.snapshots.folder.iterdir()) == before
    process.kill()
    sandbox.clear_faults()
    # Of one that died nothing comes any more: it is found dead at once.
    assert forget(bridge, min(sandbox.answer(TRIAL).group)).members == 1
    assert runs.get_run(bridge, LOCAL, 2).status == "interrupted"


def test_while_somebody_is_forgotten_no_run_begins_and_one_that_died_of_it_holds_up_nothing(
    bridge: Bridge, sandbox: Sandbox
):
    leases.acquire(bridge.engine, LeaseKind.FORGETTING, ALL, lease_owner="somebody", now=bridge.clock.now())
    run = one_time.start_export(bridge, LOCAL, TRIAL)
    assert not run_queue.claim(bridge.engine, run.id or 0, lease_owner="worker", now=bridge.clock.now())
    with write_session(bridge.engine) as session:
        lease = leases.find(session, LeaseKind.FORGETTING, ALL)
        assert lease is not None
        lease.pid, lease.process_started = 2**22 + 1, 1

    service.once(bridge)

    assert newest_run(bridge).status == "succeeded"


@LONG
@few(1)
@pytest.mark.parametrize("at", ["before it is recorded", "after it is recorded"])
def test_a_process_that_is_killed_has_changed_nothing_or_is_made_up_for_by_the_next(
    home: Home, bridge: Bridge, sandbox: Sandbox, at: str
):
    ids = stayer(sandbox)
    two_runs(bridge, sandbox)
    name = "record" if at.startswith("before") else "drop_leftovers"
    module = "data.forgetting" if name == "record" else "data.engine"
    process = subprocess.run(
        [sys.executable, "-c", KILLED, module, name, str(home.path), ids[0]],
        env={**os.environ, **databases.environment(home.path)}, cwd=ROOT, check=False, timeout=60,
    )  # fmt: skip
    assert process.returncode == -signal.SIGKILL
    line = last_line(bridge).action == "forget_person"
    assert line == (name != "record")
    assert all(members.are_whole(bridge, run) for run in runs.list_runs(bridge, LOCAL, RunFilter()))

    forget(bridge, ids[0])

    assert places_of(home.path, *ids) == []
    assert (export(bridge, TRIAL).status, sandbox.group(TRIAL)) == ("succeeded", sandbox.answer(TRIAL).group)


def test_an_id_that_leads_to_too_many_is_refused_unless_it_is_forgotten_alone(
    home: Home, bridge: Bridge, sandbox: Sandbox
):
    export(bridge, TRIAL)
    (snapshot,) = bridge.snapshots.folder.glob("run-*.parquet")
    with closing(duckdb.connect()) as db:
        many = "SELECT 'i_null' AS apptimize_id, 'u-' || range AS distinct_id FROM range(20)"
        db.execute(f"COPY ({many}) TO '{snapshot.with_name('run-00000050.parquet')}' (FORMAT parquet)")

    with pytest.raises(IdShared, match="More than 12 ids belong together"):
        forget(bridge, "u-7")
    assert forget(bridge, "u-7", alone=True).leftovers == 1


@LONG
def test_a_group_is_rolled_back_to_members_without_the_person(bridge: Bridge, sandbox: Sandbox):
    ids = stayer(sandbox)
    first, _ = two_runs(bridge, sandbox)
    sandbox.at(0)
    before = sandbox.answer(TRIAL).group
    forget(bridge, ids[1])

    undo.undo_to(bridge, LOCAL, first.id or 0)
    service.once(bridge)

    assert newest_run(bridge).status == "succeeded"
    assert sandbox.group(TRIAL) == {key: value for key, value in before.items() if key != ids[0]}


def test_the_command_says_what_was_removed_and_that_groups_are_not_touched(
    home: Home, bridge: Bridge, sandbox: Sandbox
):
    ids = stayer(sandbox)
    export(bridge, TRIAL)

    as_json, again = home.run("forget", ids[0], "--json"), home.run("forget", ids[0])

    assert (as_json.code, as_json.json["forgotten"], as_json.json["members"]) == (0, True, 1)
    assert (as_json.json["groups_in_doubt"], as_json.json["groups_touched"]) == (1, 0)
    assert (again.code, again.out.splitlines()[0]) == (0, "Nothing that is kept here had this id.")
    assert "the next run writes them to the group and keeps them here again" in again.out
    assert ids[0] not in as_json.out + as_json.err + again.out + again.err
    assert places_of(home.path, *ids) == []


@LONG
def test_a_command_that_is_told_to_end_while_it_waits_has_changed_nothing(home: Home, bridge: Bridge, sandbox: Sandbox):
    ids = stayer(sandbox)
    export(bridge, TRIAL)
    before = sorted(path.name for path in bridge.snapshots.folder.iterdir())
    sandbox.fault("slow", target="mixpanel", page=1, seconds=30)
    running = home.begin("export", str(POWER))
    sandbox.wait_for("engage", page=1)
    process = home.start("forget", ids[0])
    wait_until(lambda: leases.list_held(bridge.engine, LeaseKind.FORGETTING))

    process.terminate()
    done = home.finish(process, within_s=10)

    assert (done.code, done.out) == (1, "")
    assert "It was stopped." in done.err
    assert leases.list_held(bridge.engine, LeaseKind.FORGETTING) == []
    assert sorted(path.name for path in bridge.snapshots.folder.iterdir()) == before
    running.kill()


@pytest.mark.sqlite_file
def test_ids_of_any_letters_are_found_where_they_are_escaped(home: Home, bridge: Bridge, sandbox: Sandbox):
    user_id = 'i_Zoë "the" quoted/ü\\n, person'
    with write_session(bridge.engine) as session:
        session.add(
            AssociationBatch(
                association_id=write(enter(bridge), rows(("u-other-profile", "i_other-person"))).id or 0,
                start=900, end=901, size=1, refused={"900": f"bad: {user_id}"}, unaliased={},
            )
        )  # fmt: skip
    (home.path / "logs").mkdir(exist_ok=True)
    (home.path / "logs" / "worker.log").write_text(f"x {user_id} y {json.dumps(user_id)} z\n", encoding="utf-8")
    assert len(places_of(home.path, user_id)) >= 2

    forget(bridge, user_id)

    assert places_of(home.path, user_id) == []


def enter(bridge: Bridge) -> Bridge:
    enter_token(bridge)
    return bridge


def test_damaged_files_stop_nobody_from_being_forgotten(home: Home, bridge: Bridge, sandbox: Sandbox):
    """Nobody can be found in them, so they go; a base that is gone makes the next run write all of the group."""
    enter_token(bridge)
    association = check(bridge, rows(("u-other-profile", "i_other-person")))
    first = export(bridge, TRIAL)
    sandbox.at(LATER_S)
    second = export(bridge, TRIAL)
    plan = import_rows(bridge, association.id or 0).plan
    for path in (bridge.snapshots.path(second.snapshot or ""), plan):
        content = bytearray(path.read_bytes())
        content[8 : len(content) // 2] = bytes(len(content) // 2 - 8)
        path.write_bytes(content)

    traces = forget(bridge, min(sandbox.answer(TRIAL).group))

    assert traces.unreadable == 2
    assert not bridge.snapshots.path(second.snapshot or "").exists()
    assert members.are_whole(bridge, runs.get_run(bridge, LOCAL, first.id or 0))
    run = export(bridge, TRIAL)
    assert (run.status, run.write, sandbox.group(TRIAL)) == ("succeeded", "full", sandbox.answer(TRIAL).group)
