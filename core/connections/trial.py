"""Sending a test to a receiver: an empty group of a cohort that there is not, and what the receiver answers."""

from __future__ import annotations

import asyncio

from core.access.roles import Actor, Role, action, note_done
from core.bridge import Bridge
from core.connections import attempts
from core.connections.destinations import entered_receiver, require_kind, test_sign_in
from core.connections.receiver_form import ReceiverForm, checked, receiver_for
from core.vendors import cohort_sync
from core.vendors.addresses import allowed_reach
from core.vendors.delivery import Target
from core.vendors.http import connect_entered
from core.vendors.receiver import Receiver
from data import connections
from data.models import MIXPANEL_SIDE, ConnectionKind

TEST_NAME = "Cohort Bridge test"
# No cohort has it: of a list that Mixpanel answers, none without an id is taken (core/vendors/mixpanel_lists).
TEST_COHORT_ID = 0


@action(Role.ADMIN)
def send_test(bridge: Bridge, actor: Actor, receiver: ReceiverForm | int, *, name: str = "") -> None:
    """Send a test to a receiver that is connected, by its id, or to what was entered under a name, which is not stored.

    Returns once the receiver has taken it. Raises: NotFound, SettingsError naming the field, SecretKeyLost,
    VendorAuthFailed, VendorRefused, VendorUnavailable, VendorSurprise.
    """
    known = connections.get_connection(bridge.engine, receiver) if isinstance(receiver, int) else None
    what = attempts.present(known) if isinstance(receiver, int) else attempts.receiver(bridge, name, receiver)
    with attempts.noted(bridge, actor, "send_test", what):
        if isinstance(receiver, int):
            present = require_kind(known, ConnectionKind.ENDPOINT)
            _send(bridge, receiver_for(bridge, present), practice=present.practice)
        else:
            form = checked(receiver)
            _send(bridge, entered_receiver(form), practice=test_sign_in(bridge, form))
    note_done(bridge, actor.name, "send_test", what)


def _send(bridge: Bridge, receiver: Receiver, *, practice: bool) -> None:
    """Send the test where a delivery may go, and nowhere else."""
    reach = allowed_reach(allow_private=bridge.settings.allow_private_hosts, practice=practice)
    projects = connections.list_side(bridge.engine, MIXPANEL_SIDE)
    target = Target(
        project_id=projects[0].project_id if projects else 0,
        cohort_id=TEST_COHORT_ID,
        cohort_name=TEST_NAME,
        group_name=TEST_NAME,
        description="Sent to see whether messages arrive. No one is in it.",
    )

    async def send() -> None:
        async with connect_entered(reach) as http:
            await cohort_sync.send_test(http, receiver, target)

    asyncio.run(send())
