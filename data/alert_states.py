"""What is not well: opened and closed in the transaction of what it tells of, with the messages about it.

A subject (a sync, a connection, the worker) is in one condition at most, and a channel is told once of each that asks
something else of a person, and once when it is over. What is only found by looking is settled by the worker's ticks.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from sqlalchemy import exists
from sqlmodel import Session, col, func, select

from data import pauses
from data.alert_channels import list_present_in
from data.alert_models import AlertChannel
from data.engine import Engine, read_session, write_session
from data.models import FAILED, Connection, Group, Run, RunStatus, Sync, SyncKind, SyncState
from data.outbox_models import (
    CRITICAL,
    RECOVERED,
    WARNING,
    AlertMessage,
    AlertSetting,
    AlertState,
    Condition,
    MessageStatus,
)
from data.repeating import repeated
from data.run_order import last_ended_first
from data.seen import ChangedSinceSeen

FAILING_AFTER = 3
# So many failures in a row can be asked for at most; no more are counted.
MOST_FAILURES = 20
# How a run of a row of failures ended; a run that was held or cancelled neither goes on with the row nor ends it.
_COUNTED = (*FAILED, RunStatus.SUCCEEDED)
# The runs that say how a sync is: neither previews, nor those that rolled its group back to what the cohort held once.
_OF_COHORT = (col(Run.dry_run).is_(False), col(Run.restore_snapshot).is_(None))


@dataclass(frozen=True)
class Finding:
    """What was found wrong with a subject, and what is told of it."""

    condition: Condition
    severity: str
    facts: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class SyncHealth:
    """A recurring sync as a tick looks at it, with what is known to be wrong with it."""

    sync: Sync
    group: Group
    open_alert: AlertState | None
    resumed_at: datetime | None  # when an alert about it ended last


# --- what runs and people do ---------------------------------------------------------------------------------------


def note_run_end(session: Session, group_id: int, run_id: int, status: str, *, now: datetime) -> None:
    """Settle what the end of a run that was meant to write means for the recurring sync of its group.

    One that rolls the group back says nothing of its sync: the group holds what its cohort held earlier.
    """
    of_group = select(Sync.id, Sync.state, AlertState).join(AlertState, _is_open_of_sync(), isouter=True)
    is_of_cohort = exists().where(col(Run.id) == run_id, *_OF_COHORT)
    row = session.exec(of_group.where(Sync.group_id == group_id, *_RECURRING, is_of_cohort)).first()
    if row is None or row[0] is None or row[1] == SyncState.PAUSED:
        return  # what pauses it tells of it
    sync_id, present = row[0], cast("AlertState | None", row[2])
    if status == RunStatus.SUCCEEDED:
        if present is not None:
            _close(session, present, {"run_id": run_id, "how": "succeeded"}, now)
    elif status == RunStatus.HELD and (present is None or present.condition != Condition.HELD):
        facts = _sync_facts(session, sync_id) | _cause(session, run_id)
        _enter(session, f"sync:{sync_id}", present, Finding(Condition.HELD, CRITICAL, facts), now)
    elif status in FAILED and present is None:
        failures = count_failures(session, group_id)
        if failures >= get_failing_after(session):
            facts = _sync_facts(session, sync_id) | _cause(session, run_id) | {"failures": failures}
            _enter(session, f"sync:{sync_id}", None, Finding(Condition.FAILING, CRITICAL, facts), now)


def note_paused(
    session: Session, sync_ids: Sequence[int | None], *, by_person: bool, now: datetime, again: bool = False
) -> None:
    """Tell that syncs were just paused, for the reason that their rows hold; `again`: it is another one than before."""
    session.flush()
    pauses.begin(session, sync_ids, now=now)
    for sync_id in sync_ids:
        present = find_open(session, f"sync:{sync_id}")
        if sync_id is None or (present is not None and present.condition == Condition.PAUSED and not again):
            continue
        paused = select(Sync.paused_reason, Sync.paused_until).where(Sync.id == sync_id)
        reason, until = session.exec(paused).one()
        facts = _sync_facts(session, sync_id) | {"cause": reason or "", "by_person": by_person}
        facts |= {"until": until.isoformat()} if until else {}
        finding = Finding(Condition.PAUSED, WARNING if by_person else CRITICAL, facts)
        _enter(session, f"sync:{sync_id}", present, finding, now)


def note_pause_end(session: Session, sync_id: int, until: datetime | None) -> None:
    """Keep what is shown of a paused sync true, whose pause has another end; nobody is told of that."""
    present = find_open(session, f"sync:{sync_id}")
    if present is not None and present.condition == Condition.PAUSED:
        others = {name: value for name, value in present.facts.items() if name != "until"}
        present.facts = others | ({"until": until.isoformat()} if until else {})
        session.add(present)


def note_resumed(session: Session, sync_id: int, *, now: datetime) -> None:
    """Tell that a paused sync runs again; where it was held or failing before, that is what it is in once more."""
    present = find_open(session, f"sync:{sync_id}")
    if present is None or present.condition != Condition.PAUSED:
        pauses.end(session, sync_id, now=now)
        return
    pauses.end(session, sync_id, since=present.changed_at, now=now)
    facts = _sync_facts(session, sync_id)
    held = select(Run.id).where(Run.group_id == facts["group_id"], Run.status == RunStatus.HELD)
    held_id = session.exec(held.where(col(Run.dry_run).is_(False)).order_by(col(Run.id).desc())).first()
    failures = count_failures(session, facts["group_id"])
    if held_id is not None:
        finding = Finding(Condition.HELD, CRITICAL, facts | _cause(session, held_id))
    elif failures >= get_failing_after(session):
        finding = Finding(Condition.FAILING, CRITICAL, facts | {"failures": failures})
    else:
        _close(session, present, {"how": "resumed"}, now)
        return
    _enter(session, present.subject, present, finding, now, again=True)


def note_removed(session: Session, sync_id: int, *, now: datetime) -> None:
    """Tell who was told of a sync that it was removed."""
    pauses.end(session, sync_id, now=now)
    present = find_open(session, f"sync:{sync_id}")
    if present is not None:
        _close(session, present, {"how": "removed"}, now)


def count_failures(session: Session, group_id: int) -> int:
    """Count how many of the runs of a group that ended last failed in a row, up to some."""
    latest = select(Run.status).where(Run.group_id == group_id, *_OF_COHORT, col(Run.status).in_(_COUNTED))
    statuses = session.exec(latest.order_by(*last_ended_first()).limit(MOST_FAILURES)).all()
    return next((number for number, status in enumerate(statuses) if status not in FAILED), len(statuses))


_RECURRING = (Sync.kind == SyncKind.RECURRING, col(Sync.state) != SyncState.REMOVED)


def _is_open_of_sync() -> Any:
    return (col(AlertState.sync_id) == col(Sync.id)) & col(AlertState.closed_at).is_(None)


def _sync_facts(session: Session, sync_id: int) -> dict[str, Any]:
    query = select(Group, Connection.name, Sync.cohort_id).where(
        Sync.id == sync_id, Sync.group_id == Group.id, Group.destination_id == Connection.id
    )
    group, destination, cohort_id = session.exec(query).one()
    at = group.verified_at or group.delivered_at
    facts = {"sync_id": sync_id, "group_id": group.id, "cohort_id": cohort_id}
    return facts | {
        "group": group.name,
        "destination": destination,
        "last_success": at.isoformat() if at else None,
    }


def _cause(session: Session, run_id: int) -> dict[str, Any]:
    message, advice = session.exec(select(Run.error_message, Run.error_advice).where(Run.id == run_id)).one()
    return {"run_id": run_id, "cause": message or "", "advice": advice or ""}


# --- what is found by looking --------------------------------------------------------------------------------------


def settle(session: Session, subject: str, finding: Finding | None, *, now: datetime) -> None:
    """Open, change or close what is known of a subject that is no sync, as it was found just now."""
    present = find_open(session, subject)
    if finding is None:
        if present is not None:
            _close(session, present, {"how": "over"}, now)
    elif present is None or present.condition != finding.condition:
        _enter(session, subject, present, finding, now)


@repeated
def settle_found(engine: Engine, found: dict[str, Finding | None], *, now: datetime) -> None:
    """Settle what was found of several subjects; nothing is written while nothing is new."""
    present = {state.subject: state.condition for state in list_open(engine)}
    news = {
        subject: finding
        for subject, finding in found.items()
        if present.get(subject) != (finding.condition if finding else None)
    }
    if news:
        with write_session(engine) as session:
            for subject, finding in news.items():
                settle(session, subject, finding, now=now)


def list_health(engine: Engine) -> list[SyncHealth]:
    """List the recurring syncs that were not removed, with what is known to be wrong with each."""
    ended = (
        select(AlertState.sync_id, func.max(AlertState.closed_at).label("at"))
        .where(col(AlertState.sync_id).is_not(None))
        .group_by(col(AlertState.sync_id))
        .subquery()
    )
    query = (
        select(Sync, Group, AlertState, ended.c.at)
        .join(Group, col(Group.id) == col(Sync.group_id))
        .join(AlertState, _is_open_of_sync(), isouter=True)
        .join(ended, ended.c.sync_id == col(Sync.id), isouter=True)
    )
    with read_session(engine) as session:
        return [SyncHealth(*row) for row in session.exec(query.where(*_RECURRING)).all()]


@repeated
def open_late(engine: Engine, seen: SyncHealth, *, now: datetime) -> bool:
    """Tell that a sync is late, unless anything was done about it since it was looked at."""
    sync_id, group_id = seen.sync.id or 0, seen.group.id or 0
    with write_session(engine) as session:
        as_seen = select(Group.id).where(
            Group.id == group_id,
            col(Group.verified_at).is_not_distinct_from(seen.group.verified_at),
            Sync.id == sync_id,
            Sync.group_id == Group.id,
            Sync.state == SyncState.ACTIVE,
        )
        if session.exec(as_seen).first() is None or find_open(session, f"sync:{sync_id}") is not None:
            return False
        facts = _sync_facts(session, sync_id)
        newest = select(Run.id).where(Run.group_id == group_id, *_OF_COHORT, col(Run.status).in_(_COUNTED))
        run_id = session.exec(newest.order_by(*last_ended_first()).limit(1)).first()
        facts |= _cause(session, run_id) if run_id is not None else {}
        _enter(session, f"sync:{sync_id}", None, Finding(Condition.LATE, CRITICAL, facts), now)
    return True


@repeated
def catch_up(engine: Engine, sync_id: int, *, now: datetime) -> None:
    """Settle a sync whose alert does not go with its state any more, or that is on time again."""
    with write_session(engine) as session:
        state = session.exec(select(Sync.state).where(Sync.id == sync_id)).one()
        present = find_open(session, f"sync:{sync_id}")
        if state == SyncState.PAUSED:
            note_paused(session, [sync_id], by_person=False, now=now)
        elif present is not None and present.condition == Condition.PAUSED:
            note_resumed(session, sync_id, now=now)
        elif present is not None and present.condition == Condition.LATE:
            _close(session, present, {"how": "over"}, now)


# --- read ----------------------------------------------------------------------------------------------------------


def find_open(session: Session, subject: str) -> AlertState | None:
    """Return what is known to be wrong with a subject."""
    return session.exec(
        select(AlertState).where(AlertState.subject == subject, col(AlertState.closed_at).is_(None))
    ).first()


def list_open(engine: Engine) -> list[AlertState]:
    """List what is known to be wrong at this moment, the oldest first."""
    query = select(AlertState).where(col(AlertState.closed_at).is_(None)).order_by(col(AlertState.id))
    with read_session(engine) as session:
        return list(session.exec(query).all())


def get_failing_after(session: Session) -> int:
    """Return after how many failures in a row a sync is failing."""
    return session.exec(select(AlertSetting.failing_after).where(AlertSetting.id == 1)).first() or FAILING_AFTER


def read_failing_after(engine: Engine) -> int:
    """Return after how many failures in a row a sync is failing, with nothing else."""
    with read_session(engine) as session:
        return get_failing_after(session)


@repeated
def set_failing_after(engine: Engine, failures: int, *, seen: int | None = None) -> None:
    """Set after how many failures in a row a sync is failing; what is open stays as it is. Raises ChangedSinceSeen."""
    with write_session(engine) as session:
        if seen not in (None, get_failing_after(session)):
            raise ChangedSinceSeen
        setting = session.get(AlertSetting, 1) or AlertSetting(failing_after=failures)
        setting.failing_after = failures
        session.add(setting)


# --- the messages --------------------------------------------------------------------------------------------------


def _enter(
    session: Session, subject: str, present: AlertState | None, finding: Finding, now: datetime, *, again: bool = False
) -> None:
    """Put a subject into a condition, and tell of it whoever wants to know.

    Who was told of another condition that asks as little of a person, or of this one before it was paused (`again`), is
    not told once more.
    """
    told, every = set[int](), list_present_in(session)
    if present is None:
        present = AlertState(
            subject=subject,
            condition=finding.condition,
            severity=finding.severity,
            sync_id=finding.facts.get("sync_id"),
            opened_at=now,
            changed_at=now,
        )
        session.add(present)
        session.flush()
    elif again:
        told = {channel.id or 0 for channel in every} if present.muted else _list_told(session, present)
    present.condition, present.severity, present.changed_at = finding.condition, finding.severity, now
    present.facts = finding.facts
    channels = [
        channel for channel in every if channel.enabled and _wants(session, channel, present) and channel.id not in told
    ]
    present.muted = present.muted and not channels
    _write(session, present, finding.severity, finding.facts, channels, now)


def _close(session: Session, present: AlertState, ending: dict[str, Any], now: datetime) -> None:
    """End what was wrong with a subject, and tell who was told of it."""
    told = set[int]() if present.muted else _list_told(session, present)
    channels = [channel for channel in list_present_in(session) if channel.enabled and channel.id in told]
    facts = {**present.facts, "opened_at": present.opened_at.isoformat(), **ending}
    present.closed_at = present.changed_at = now
    _write(session, present, RECOVERED, facts, channels, now)


def _write(
    session: Session,
    state: AlertState,
    severity: str,
    facts: dict[str, Any],
    channels: Sequence[AlertChannel],
    now: datetime,
) -> None:
    assert state.id is not None
    if channels:
        state.messages, state.told_at = state.messages + len(channels), now
    session.add(state)
    for channel in channels:
        assert channel.id is not None
        session.add(
            AlertMessage(
                key=secrets.token_hex(16),
                state_id=state.id,
                channel_id=channel.id,
                subject=state.subject,
                event=state.condition,
                severity=severity,
                facts=facts,
                written_at=now,
                next_try_at=now,
            )
        )
    session.flush()


def _list_told(session: Session, state: AlertState) -> set[int]:
    """List the channels that have a message of this alert, sent or not yet."""
    own = select(AlertMessage.channel_id).where(
        AlertMessage.state_id == state.id, col(AlertMessage.status) != MessageStatus.DROPPED
    )
    return set(session.exec(own.distinct()).all())


def _wants(session: Session, channel: AlertChannel, state: AlertState) -> bool:
    """Return whether a channel wants to know; what concerns no single sync concerns those of every channel."""
    if state.severity == WARNING and not channel.warnings:
        return False
    if state.sync_id is None or channel.all_syncs or state.sync_id in channel.sync_ids:
        return True
    tags = session.get_one(Sync, state.sync_id).tags if channel.tags else []
    return bool(set(tags) & set(channel.tags))
