"""Whether an export of now would do what a preview showed: not where another run has, or may have, written since."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.connections.project import match_rule
from core.errors import SettingsError
from core.syncs import previews
from data import runs
from data.models import Run, RunStatus
from tests.stage.rows import change_row


@pytest.fixture
def ended(bridge: Bridge, group_with_runs: list[Run]) -> list[Run]:
    """Two runs that wrote a group, and a preview of it that began an hour after they had ended, as their rows say."""
    began = bridge.clock.now() - timedelta(hours=1)
    rows = runs.get_with_its_rows(bridge.engine, group_with_runs[2].id or 0)
    assert rows is not None
    assert rows.mixpanel is not None
    rule = str(match_rule(rows.mixpanel, rows.sync, rows.destination))
    for run, minutes in zip(group_with_runs, (-70, -60, 0), strict=True):
        change_row(
            bridge, Run, run.id, status=RunStatus.SUCCEEDED, queued_at=began - timedelta(hours=2), matched_by=rule,
            started_at=began + timedelta(minutes=minutes), finished_at=began + timedelta(minutes=minutes + 5),
        )  # fmt: skip
    change_row(bridge, Run, group_with_runs[2].id, dry_run=True)
    return group_with_runs


def began(run: Run, bridge: Bridge) -> datetime:
    found = runs.get(bridge.engine, run.id or 0)
    assert found is not None
    assert found.started_at is not None
    return found.started_at


def test_a_preview_counts_while_nothing_has_written_since(bridge: Bridge, ended: list[Run]):
    preview = ended[2]

    assert previews.require_current(bridge, LOCAL, preview.id or 0).id == preview.id


@pytest.mark.parametrize("turn", [0, 1], ids=["asked for first", "asked for last"])
@pytest.mark.parametrize("how", ["is at work", "ended after it", "ended while it read"])
def test_a_preview_does_not_count_once_any_run_may_have_written_since(
    bridge: Bridge, ended: list[Run], turn: int, how: str
):
    other, preview = ended[turn], ended[2]
    if how == "is at work":
        change_row(bridge, Run, other.id, status=RunStatus.WAITING, finished_at=None)
    else:
        minutes = 60 if how == "ended after it" else 1
        change_row(bridge, Run, other.id, finished_at=began(preview, bridge) + timedelta(minutes=minutes))

    with pytest.raises(SettingsError, match=f"run {other.id} has come after it"):
        previews.require_current(bridge, LOCAL, preview.id or 0)
