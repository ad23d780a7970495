"""A home with 300 syncs, written to a file, applied to an empty home: the same groups. `make test` has four syncs."""

from __future__ import annotations

import json
import os
import re
from contextlib import closing
from pathlib import Path

import pytest

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.declared import applying, exporting
from core.sandbox import people
from core.sandbox.server import running
from core.syncs import recurring
from core.worker import service
from tests.faults.conftest import Tally
from tests.faults.population import Population, get_distinct_id, write_files
from tests.stage.home import Home, connect, copy_home
from tests.stage.sandbox import NOON
from tests.stage.seeds import SEEDS

SYNCS = 300
# CPU-seconds: three times what applying them took on the machine that this was written on.
WITHIN_S = 9.0


def cohorts_of(folder: Path) -> dict[str, Path]:
    """Write people, and cohorts that overlap."""
    files = write_files(folder)
    cohorts = [
        {
            "id": 1000 + number,
            "name": f"Cohort {number}",
            "distinct_ids": [get_distinct_id(each) for each in range(number * 7, number * 7 + 40)],
        }
        for number in range(SYNCS)
    ]
    files["cohorts"].write_text(json.dumps(cohorts))
    return files


def state(bridge: Bridge) -> str:
    return re.sub(r"(?m)^#.*\n", "", exporting.export_config(bridge, LOCAL, practice=True))


@pytest.mark.skipif(not SEEDS, reason="make faults applies 300")
def test_300_syncs_applied_to_an_empty_home_give_the_same_groups(
    migrated_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ran: Tally
):
    with running(tmp_path, **cohorts_of(tmp_path), clock=lambda: NOON) as server:
        with closing(Population(server.url)) as sandbox:
            sandbox.limit(hourly_limit=5000)
            first, second = (copy_home(migrated_template, tmp_path / name / "home") for name in ("first", "second"))
            path, before = write(first, sandbox, tmp_path)
            monkeypatch.setenv("COHORT_BRIDGE_MIXPANEL_DEFAULT_SECRET", people.ADMIN_SECRET)
            monkeypatch.setenv("COHORT_BRIDGE_DESTINATION_DEFAULT_SECRET", sandbox.token)
            groups = [sandbox.group(1000 + number) for number in range(SYNCS)]
            sandbox.remove_groups()

            with second.bridge(mixpanel_url=sandbox.url, allow_private_hosts=True) as bridge:
                began = os.times()
                applying.apply_config(bridge, LOCAL, path)
                took = os.times()
                assert state(bridge) == before
                assert applying.plan_config(bridge, LOCAL, path, prune=True).plan.changes == []
                service.once(bridge)

            assert [sandbox.group(1000 + number) for number in range(SYNCS)] == groups
            assert all(groups)
    spent_s = sum(took[:2]) - sum(began[:2])
    print(f"applying {SYNCS} syncs: {spent_s:.1f} CPU-seconds")
    assert spent_s < WITHIN_S
    ran("syncs applied from a file", SYNCS)


def write(home: Home, sandbox: Population, folder: Path) -> tuple[Path, str]:
    """Set up a home whose groups are delivered, and write its file."""
    with home.bridge(mixpanel_url=sandbox.url) as bridge:
        connect(bridge, sandbox)
        for number in range(SYNCS):
            own_name = f"Group {number}" if number % 3 == 0 else None
            tags, limit = [f"tag {number % 7}"], number % 50 or None
            recurring.add_sync(
                bridge, LOCAL, 1000 + number, every_minutes=1440, group=own_name, tags=tags, max_shrink=limit
            )
        service.once(bridge)
        path = folder / "bridge.toml"
        path.write_text(exporting.export_config(bridge, LOCAL, practice=True), encoding="utf-8")
        return path, state(bridge)
