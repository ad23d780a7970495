"""Mixpanel's own rule: only an admin or owner of the project may connect. Looked at again once a day."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta

import httpx
from sqlmodel import col, select, update

from core.access import roles
from core.bridge import Bridge, storage_errors
from core.connections.connect import MIXPANEL_SIDE
from core.connections.project import project_for
from core.connections.query_budget import budget_for
from core.errors import CohortBridgeError, VendorAuthFailed
from core.vendors import mixpanel_answers
from core.vendors.mixpanel import Mixpanel
from core.vendors.retry import RetryPlan
from data.audit import recorder
from data.engine import StorageError, read_session, write_session
from data.models import Connection, utc_now

log = logging.getLogger(__name__)

ASK_EVERY = timedelta(days=1)
# An account that could not be asked about is asked about again this soon.
_AGAIN_AFTER = timedelta(hours=1)
# Early enough for somebody to make a new account, and to be back from a holiday.
EXPIRES_SOON = timedelta(days=14)
_LOOK_EVERY_S = 60.0


def expires_soon(connection: Connection, now: datetime | None = None) -> bool:
    """Tell whether the connection's service account expires within two weeks, or has."""
    at = connection.account_expires_at
    return at is not None and at - (now or utc_now()) < EXPIRES_SOON


async def watch(bridge: Bridge, http: httpx.AsyncClient) -> None:
    """Ask about each service account once a day, until cancelled; what fails is logged and tried again in an hour."""
    while True:
        try:
            await check_due(bridge, http)
        except (CohortBridgeError, StorageError) as exc:
            log.warning("service accounts not checked reason=%s", exc)
        except Exception:
            log.exception("service accounts not checked")
        await asyncio.sleep(_LOOK_EVERY_S)


async def check_due(bridge: Bridge, http: httpx.AsyncClient) -> int:
    """Ask about the accounts that were not asked about for a day, and mark their connections. Returns how many."""
    due = await asyncio.to_thread(_claim_due, bridge)
    for connection in due:
        await _check(bridge, http, connection)
    return len(due)


def _claim_due(bridge: Bridge) -> list[Connection]:
    now = utc_now()
    with storage_errors():
        with read_session(bridge.engine) as session:
            query = select(Connection).where(Connection.side == MIXPANEL_SIDE, col(Connection.removed).is_(False))
            found = session.exec(query.order_by(col(Connection.id))).all()
        due = [one for one in found if _is_due(one, now)]
        return [one for one in due if _claim(bridge, one, now)]


def _is_due(connection: Connection, now: datetime) -> bool:
    asked, answered = connection.account_asked_at, connection.checked_at
    if asked is not None and asked > now:
        return True  # the clock was set back since
    if asked is not None and now - asked < _AGAIN_AFTER:
        return False
    return answered is None or now - answered >= ASK_EVERY or answered > now


def _claim(bridge: Bridge, connection: Connection, now: datetime) -> bool:
    """Take the question as one's own: another worker may be about to ask it too."""
    seen = connection.account_asked_at
    with write_session(bridge.engine) as session:
        taken = session.exec(
            update(Connection)
            .where(col(Connection.id) == connection.id, col(Connection.account_asked_at).is_not_distinct_from(seen))
            .values(account_asked_at=now)
        )
    return taken.rowcount == 1


async def _check(bridge: Bridge, http: httpx.AsyncClient, connection: Connection) -> None:
    retry = RetryPlan(attempts=2, over_s=min(bridge.settings.retry_over_s, 15.0))
    try:
        project = project_for(bridge, connection)
        account = await Mixpanel(http, project, budget_for(bridge, project.key), retry=retry).account()
    except VendorAuthFailed as exc:
        await asyncio.to_thread(_mark, bridge, connection, trouble=exc.message, account=None)
    except CohortBridgeError as exc:
        log.warning("service account not checked connection=%s reason=%s", connection.name, exc)
    else:
        await asyncio.to_thread(_mark, bridge, connection, trouble=account.refusal, account=account)


def _mark(bridge: Bridge, before: Connection, *, trouble: str | None, account: mixpanel_answers.Account | None) -> None:
    """Write down what was found, unless the connection was entered anew meanwhile."""
    with storage_errors(), write_session(bridge.engine) as session:
        present = session.get(Connection, before.id)
        if present is None or present.removed or present.secret != before.secret:
            return
        scope = roles.scope(bridge, "worker", "check_service_account")
        if present.account_trouble != trouble:
            log.warning("service account connection=%s trouble=%s", present.name, trouble or "none any more")
            subject = f"mixpanel connection {present.name}"
            old, new = {"account_trouble": present.account_trouble}, {"account_trouble": trouble}
            recorder.append(session, scope, subject=subject, before={subject: old}, after={subject: new})
        present.account_trouble, present.checked_at = trouble, utc_now()
        if account is not None:
            present.account_expires_at = account.expires_at
        session.add(present)
