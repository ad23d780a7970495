"""What cohorts were last read to hold, kept as runs keep it, without any run."""

from __future__ import annotations

from collections.abc import Sequence

from core.bridge import Bridge
from data.engine import write_session
from data.models import Connection, ConnectionKind, Group, Run, Sync


def add_connections(bridge: Bridge) -> tuple[int, int]:
    with write_session(bridge.engine) as session:
        mixpanel = Connection(
            created_at=bridge.clock.now(), side="mixpanel", kind=ConnectionKind.MIXPANEL, name="default", project_id=1
        )
        file = Connection(created_at=bridge.clock.now(), side="destination", kind=ConnectionKind.CSV, name="csv")
        session.add_all([mixpanel, file])
        session.flush()
        assert mixpanel.id is not None
        assert file.id is not None
        return mixpanel.id, file.id


def read(
    bridge: Bridge,
    ids: tuple[int, int],
    number: int,
    users: Sequence[tuple[str, str]],
    unmatched: Sequence[str] = (),
) -> None:
    """Keep a cohort's reading as a run does."""
    members, excluded = f"members-{number}", f"excluded-{number}"
    with bridge.snapshots.collector() as collector:
        collector.add(
            distinct_ids=[distinct_id for distinct_id, _ in users],
            apptimize_ids=[apptimize_id for _, apptimize_id in users],
            unusable_ids=list(unmatched),
            reasons=["unmatched"] * len(unmatched),
        )
        collector.tally()
        collector.write(bridge.snapshots.path(members))
        collector.write_excluded(bridge.snapshots.path(excluded))
    name = f"Cohort {number}"
    with write_session(bridge.engine) as session:
        group = Group(
            created_at=bridge.clock.now(),
            destination_id=ids[1],
            project_id=1,
            cohort_id=number,
            cohort_name=name,
            name=name,
            base_snapshot=members,
            delivered_at=bridge.clock.now(),
        )
        session.add(group)
        session.flush()
        sync = Sync(
            created_at=bridge.clock.now(),
            kind="one-time",
            mixpanel_id=ids[0],
            group_id=group.id,
            project_id=1,
            cohort_id=number,
        )
        session.add(sync)
        session.flush()
        session.add(
            Run(
                queued_at=bridge.clock.now(),
                sync_id=sync.id,
                group_id=group.id,
                cohort_id=number,
                cohort_name=name,
                group_name=name,
                destination="csv",
                trigger="cli",
                actor="local",
                status="succeeded",
                excluded=excluded,
            )
        )
