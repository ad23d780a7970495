"""Copies of members that something else damages while a run uses them: the group is right all the same, and so is all
that is told of it. What lies in object storage is whole meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from core.access.roles import LOCAL
from core.reports import members, user_lookup
from data.models import RunStatus
from tests.stage.home import export, group_row
from tests.stage.machines import Machines, members_of, named
from tests.stage.object_storage import Asked
from tests.stage.sandbox import LATER_S, POWER, Sandbox
from tests.stage.seeds import few, some

pytestmark = some(3)


def flip(path: Path) -> None:
    """Change a bit, and let the time of the file be what it was, as a disk does that lies."""
    status, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def write_to(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 3)
        file.write(b"garbage")


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def replace(path: Path) -> None:
    other = path.with_suffix(".other")
    other.write_bytes(b"garbage" * 1000)
    other.replace(path)


DAMAGES = [flip, write_to, truncate, replace, Path.unlink]
# What is put at that moment: before what was read is compared, once it was, and before that is delivered.
MOMENTS = ["/run-", "/difference-", "/excluded-"]


@few(1)
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_whose_copies_are_damaged_meanwhile_writes_the_right_group_and_counts_right(
    machines: Machines, sandbox: Sandbox, moment: str, damage: Callable[[Path], object]
):
    struck = list[Path]()

    def strike(asked: Asked) -> None:
        if asked.method == "PUT" and moment in asked.path and not struck:
            struck.extend(bridge.snapshots.folder.glob("*.parquet"))
            for path in struck:
                damage(path)

    before = set(sandbox.answer(POWER).ids)
    with machines.machine("a") as bridge:
        export(bridge, POWER)
        sandbox.at(LATER_S)
        now = set(sandbox.answer(POWER).ids)
        machines.way.fault = strike
        run = export(bridge, POWER)

        assert struck
        assert (run.status, run.write, run.notice) == (RunStatus.SUCCEEDED, "delta", None)
        assert (run.added, run.removed, run.members) == (len(now - before), len(before - now), len(now))
        assert set(sandbox.group(POWER) or {}) == now
        assert named(bridge) == machines.objects()

        for path in bridge.snapshots.folder.glob("*.parquet"):
            damage(path)
        sandbox.at(0)
        back = export(bridge, POWER)
        assert (back.write, back.added, back.removed) == ("delta", len(before - now), len(now - before))
        assert set(sandbox.group(POWER) or {}) == before
        assert members_of(bridge, POWER) == before


@few(1)
@pytest.mark.parametrize("damage", [write_to, truncate, replace, Path.unlink])
def test_what_pages_tell_is_of_no_copy_that_something_else_wrote_to(
    machines: Machines, sandbox: Sandbox, damage: Callable[[Path], object]
):
    with machines.machine("a") as bridge:
        export(bridge, POWER)
        sandbox.at(LATER_S)
        run = export(bridge, POWER)
        someone, group_id = max(sandbox.answer(POWER).ids), group_row(bridge, POWER).id or 0

        for ask in (
            lambda: len(members.find_changes(bridge, LOCAL, run.id or 0, "added", limit=10_000).rows) == run.added,
            lambda: members.find_members(bridge, LOCAL, group_id).total == run.members,
            lambda: user_lookup.look_up_user(bridge, LOCAL, someone).groups[0].is_member,
            lambda: members_of(bridge, POWER) == set(sandbox.answer(POWER).ids),
        ):
            for path in bridge.snapshots.folder.glob("*.parquet"):
                damage(path)
            assert ask()
