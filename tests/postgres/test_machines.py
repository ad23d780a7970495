"""Workers on several machines, with one PostgreSQL and one object storage, while all of that fails again and again."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.access.roles import LOCAL
from core.leases import workers
from tests.postgres import judging
from tests.postgres.disturbing import Disturber
from tests.postgres.machines import Scale, machines
from tests.stage.sandbox import wait_until
from tests.stage.seeds import SEEDS

SHORT = Scale(syncs=12, workers=4, speed=30, disturbed_s=20, lease_s=6)
LONG = Scale(syncs=60, workers=4, speed=10, disturbed_s=300, lease_s=None)


@pytest.mark.parametrize("seed", range(1, SEEDS + 1) if SEEDS else [1])
def test_every_group_equals_its_cohort_whatever_failed_on_the_way(
    tmp_path: Path, seed: int, capfd: pytest.CaptureFixture[str]
):
    scale = LONG if SEEDS else SHORT
    with machines(tmp_path, scale, seed) as stage:
        disturber = Disturber(stage)
        for worker in stage.workers:
            stage.start(worker)
        wait_until(lambda: workers.worker_is_up(stage.bridge, LOCAL), within_s=60)

        disturber.disturb(scale.disturbed_s)

        judging.settle(stage, disturber, within_s=300, at_once=not SEEDS)
        told = judging.tell(stage, disturber)
        with capfd.disabled():
            print(f"\nSeed {seed}:", *told, sep="\n  ")
        assert judging.find_faults(stage, disturber) == []
