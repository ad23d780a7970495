"""Sending the outbox: each message is marked before it is sent, so that none is sent twice, whatever ends a process."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta
from functools import partial

from core.alerts import wording
from core.bridge import Bridge
from core.errors import CohortBridgeError
from core.leases.watch import LeaseWatch
from core.vendors.notifiers import NotifyError, NotifyFailed, NotifyRefused, notify
from data import outbox
from data.engine import StorageError
from data.models import Lease, LeaseKind
from data.outbox import Marked, Outcome
from data.outbox_models import MessageStatus

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0
# A message is undecided a while before another process could take its sender for dead.
_WITHIN_S = 20.0
# What is on its way when the process is to end gets so long.
_GRACE_S = 3.0
_FIRST_PAUSE, _LONGEST_PAUSE = timedelta(seconds=30), timedelta(minutes=30)
_MOST_DOUBLED = 10
_RECORD_TRIES, _RECORD_AGAIN_S = 5, 2.0


def watch_senders(bridge: Bridge) -> LeaseWatch:
    """Watch the messages that any process is sending, to tell a person of those whose process died."""

    def abandon(lease: Lease) -> bool:
        is_dead = outbox.abandon(bridge.engine, lease, now=bridge.clock.now())
        if is_dead:
            log.warning("alert undecided message_id=%s reason=its sender ended", lease.key)
        return is_dead

    return LeaseWatch(bridge, LeaseKind.ALERT, abandon)


class AlertSender:
    """Sends what waits in the outbox, to several channels at once and to each one after the other."""

    def __init__(self, bridge: Bridge, lease_owner: str) -> None:
        self._bridge = bridge
        self._lease_owner = lease_owner
        self._tasks: dict[int, asyncio.Task[None]] = {}  # by channel

    async def serve(self) -> None:
        """Send until cancelled; what fails is logged and tried again."""
        while True:
            await self.start_due()
            await asyncio.sleep(_LOOK_EVERY_S)

    async def start_due(self) -> int:
        """Start sending what is due, but to channels that are being sent to. Returns how many messages that is."""
        self._tasks = {channel: task for channel, task in self._tasks.items() if not task.done()}
        marking = asyncio.ensure_future(asyncio.to_thread(self._mark))
        try:
            marked = await asyncio.shield(marking)
        except asyncio.CancelledError:
            for each in await marking:
                await self._record(each, Outcome(MessageStatus.WAITING))
            raise
        for each in marked:
            assert each.channel.id is not None
            self._tasks[each.channel.id] = asyncio.create_task(self._send(each))
        return len(marked)

    async def send_all(self) -> int:
        """Send what is due to its end, and return how many tries that were."""
        done = 0
        while True:
            started = await self.start_due()
            done += started
            working = [task for task in self._tasks.values() if not task.done()]
            if working:  # a channel that is done goes on, whatever the others wait for
                await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
            elif not started:
                return done

    async def stop(self) -> None:
        """Let what is on its way arrive, for a moment; what has not then is undecided."""
        working = [task for task in self._tasks.values() if not task.done()]
        if working:
            await asyncio.wait(working, timeout=_GRACE_S)
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)

    def _mark(self) -> list[Marked]:
        now, busy = self._bridge.clock.now(), list(self._tasks)
        try:
            return outbox.mark_next(self._bridge.engine, lease_owner=self._lease_owner, now=now, busy=busy)
        except StorageError as exc:
            log.warning("alerts not looked at reason=%s", exc)
        except Exception:
            log.exception("alerts not looked at")
        return []

    async def _send(self, marked: Marked) -> None:
        try:
            outcome = await self._try(marked)
        except asyncio.CancelledError:
            outcome = Outcome(MessageStatus.UNDECIDED, "The process was stopped while the message was on its way.")
            await asyncio.shield(self._record(marked, outcome))
            raise
        await self._record(marked, outcome)

    async def _try(self, marked: Marked) -> Outcome:
        """Send a message, and return what became of it, whatever that is."""
        message, channel, settings = marked.message, marked.channel, self._bridge.settings
        try:
            notice = wording.notice_of(message, dashboard_url=settings.dashboard_url)
            address = self._bridge.vault.decrypt(channel.address or "")
        except CohortBridgeError as exc:  # a key may be back later
            return Outcome(MessageStatus.WAITING, exc.message, self._next_try(marked, None))
        except Exception:
            log.exception("alert not worded message_id=%s", message.id)
            return Outcome(MessageStatus.GIVEN_UP, "The message could not be put into words.")
        try:
            await notify(
                channel.kind,
                address,
                notice,
                allow_private=settings.allow_private_hosts,
                within_s=min(_WITHIN_S, self._bridge.lease_times.lease_s / 2),
            )
        except NotifyFailed as exc:
            return Outcome(MessageStatus.WAITING, exc.message, self._next_try(marked, exc.retry_after_s))
        except NotifyRefused as exc:
            return Outcome(MessageStatus.GIVEN_UP, f"{exc.message} {exc.advice}")
        except NotifyError as exc:  # whether it arrived is not known
            return Outcome(MessageStatus.UNDECIDED, exc.message)
        except Exception:
            log.exception("alert failed unexpectedly message_id=%s", message.id)
            return Outcome(MessageStatus.UNDECIDED, "Sending it failed in a way that was not foreseen.")
        return Outcome(MessageStatus.SENT)

    def _next_try(self, marked: Marked, retry_after_s: float | None) -> datetime:
        pause = min(_FIRST_PAUSE * 2 ** min(marked.message.tries - 1, _MOST_DOUBLED), _LONGEST_PAUSE)
        if retry_after_s is not None:
            pause = min(max(pause, timedelta(seconds=retry_after_s)), outbox.LONGEST_WAIT)
        return self._bridge.clock.now() + pause

    async def _record(self, marked: Marked, outcome: Outcome) -> None:
        """Record what became of a message; while the database cannot be written, a few times more."""
        number, channel = marked.message.id or 0, marked.channel.id
        level = logging.INFO if outcome.status == MessageStatus.SENT else logging.WARNING
        log.log(
            level, "alert message_id=%s channel_id=%s outcome=%s reason=%s",
            number, channel, outcome.status, outcome.why or "none",
        )  # fmt: skip
        record = partial(outbox.record, self._bridge.engine, number, outcome, lease_owner=self._lease_owner)
        for tries_left in reversed(range(_RECORD_TRIES)):
            try:
                await asyncio.to_thread(record, now=self._bridge.clock.now())
            except StorageError as exc:
                # Its lease runs out if this never comes through, and it is undecided then.
                log.warning("alert not recorded message_id=%s reason=%s", number, exc)
                if tries_left:
                    await asyncio.sleep(_RECORD_AGAIN_S)
            else:
                return
