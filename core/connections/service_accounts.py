"""Mixpanel's own rule: only an admin or owner of the project may connect. Checked again once a day."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta

from core.access import roles
from core.bridge import Bridge, storage_errors
from core.connections.project import project_for
from core.connections.query_budget import budget_for
from core.errors import CohortBridgeError, VendorAuthFailed
from core.vendors.http import HttpClient
from core.vendors.mixpanel import Mixpanel
from core.vendors.retry import RetryPlan
from data import connections
from data.account_alerts import EXPIRES_SOON
from data.connections import AccountCheck
from data.engine import StorageError
from data.models import MIXPANEL_SIDE, Connection

log = logging.getLogger(__name__)

_ASK_EVERY = timedelta(days=1)
# An account that could not be asked about is asked about again this soon.
_AGAIN_AFTER = timedelta(hours=1)
_LOOK_EVERY_S = 60.0


def expires_soon(connection: Connection, now: datetime) -> bool:
    """Return whether the connection's service account expires within two weeks, or has."""
    at = connection.account_expires_at
    return at is not None and at - now < EXPIRES_SOON


async def watch(bridge: Bridge, http: HttpClient) -> None:
    """Ask about each service account once a day, until cancelled; what fails is logged and tried again in an hour."""
    while True:
        try:
            await check_due(bridge, http)
        except (CohortBridgeError, StorageError) as exc:
            log.warning("service accounts not checked reason=%s", exc)
        except Exception:
            log.exception("service accounts not checked")
        await asyncio.sleep(_LOOK_EVERY_S)


async def check_due(bridge: Bridge, http: HttpClient) -> int:
    """Ask about the accounts that were not asked about for a day, and mark their connections. Returns how many."""
    due = await asyncio.to_thread(_claim_due, bridge)
    for connection in due:
        await _check(bridge, http, connection)
    return len(due)


def _claim_due(bridge: Bridge) -> list[Connection]:
    now = bridge.clock.now()
    with storage_errors():
        present = connections.list_side(bridge.engine, MIXPANEL_SIDE)
        due = [connection for connection in present if _is_due(connection, now)]
        return [account for account in due if connections.claim_account_check(bridge.engine, account, now=now)]


def _is_due(connection: Connection, now: datetime) -> bool:
    asked, answered = connection.account_asked_at, connection.checked_at
    if asked is not None and asked > now:
        return True  # the clock was set back since
    if asked is not None and now - asked < _AGAIN_AFTER:
        return False
    return answered is None or now - answered >= _ASK_EVERY or answered > now


async def _check(bridge: Bridge, http: HttpClient, connection: Connection) -> None:
    retry = RetryPlan(attempts=2, over_s=min(bridge.settings.retry_over_s, 15.0))
    try:
        project = project_for(bridge, connection)
        account = await Mixpanel(http, project, budget_for(bridge, project.key), retry=retry).account()
    except VendorAuthFailed as exc:
        check = AccountCheck(trouble=exc.message)
    except CohortBridgeError as exc:
        log.warning("service account not checked connection=%s reason=%s", connection.name, exc)
        return
    else:
        if account.left_out:
            log.warning("service accounts left out connection=%s entries=%s", connection.name, account.left_out)
        check = AccountCheck(account.refusal, answered=True, expires_at=account.expires_at)
    await asyncio.to_thread(record, bridge, connection, check)


def record(bridge: Bridge, before: Connection, check: AccountCheck) -> None:
    """Record what was reported of an account, unless the connection was entered again since `before` was read."""
    scope = roles.scope(bridge, "worker", "check_service_account")
    with storage_errors():
        is_news = connections.record_account_check(bridge.engine, before, check, scope=scope, now=bridge.clock.now())
    if is_news:
        log.warning("service account connection=%s trouble=%s", before.name, check.trouble or "none any more")
