"""Rows that tests of claiming and recording start from."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from core.bridge import Bridge
from data.engine import write_session
from data.models import Connection, ConnectionKind, Group, Run, Sync, SyncKind
from data.run_queue import RunRequest, new_run
from tests.stage.webhooks import Webhook, webhook


@pytest.fixture
def group_with_runs(bridge: Bridge) -> list[Run]:
    """One group with three queued runs of its one-time sync."""
    with write_session(bridge.engine) as session:
        mixpanel = Connection(
            created_at=bridge.clock.now(), side="mixpanel", kind=ConnectionKind.MIXPANEL, name="default", project_id=1
        )
        folder = Connection(
            created_at=bridge.clock.now(), side="destination", kind=ConnectionKind.CSV, name="csv", folder="unused"
        )
        session.add_all([mixpanel, folder])
        session.flush()
        group = Group(
            created_at=bridge.clock.now(),
            destination_id=folder.id,
            project_id=1,
            cohort_id=7,
            cohort_name="Payers",
            name="Payers",
        )
        session.add(group)
        session.flush()
        sync = Sync(
            created_at=bridge.clock.now(),
            kind=SyncKind.ONE_TIME,
            mixpanel_id=mixpanel.id,
            group_id=group.id,
            project_id=1,
            cohort_id=7,
        )
        session.add(sync)
        session.flush()
        request = RunRequest("manual", "local")
        runs = [new_run(sync, group, request, destination="csv", now=bridge.clock.now()) for _ in range(3)]
        session.add_all(runs)
    return runs


@pytest.fixture(scope="module")
def served_webhook() -> Generator[Webhook]:
    with webhook() as served:
        yield served


@pytest.fixture
def hook(served_webhook: Webhook) -> Webhook:
    """A webhook that nothing has arrived at, and that accepts what comes."""
    served_webhook.reset()
    return served_webhook
