"""What an endpoint answers to a cohort-sync message: only a documented success is one."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from core.errors import VendorAuthFailed, VendorError, VendorRefused, VendorSurprise, VendorUnavailable
from core.vendors.cohort_sync import EndpointDelivery
from core.vendors.delivery import Target
from core.vendors.receiver import Receiver
from core.vendors.retry import RetryPlan
from data.models import Member
from tests.stage.members import ListedMembers

TARGET = Target(project_id=1, cohort_id=2, cohort_name="Payers", group_name="Payers")
SUCCESS = {"action": "members", "status": "success"}


async def ours() -> None:
    """The lease is ours."""


def deliver(body: object) -> None:
    """Send one message, and be answered with status 200 and this."""

    async def main() -> None:
        transport = httpx.MockTransport(lambda _: httpx.Response(200, json=body))
        async with httpx.AsyncClient(transport=transport) as http:
            retry = RetryPlan(attempts=1, over_s=0.01)
            delivery = EndpointDelivery(http, Receiver("https://e.example/", "token"), ours, retry=retry)
            await delivery.overwrite(TARGET, ListedMembers([[Member("i_1", "u1")]]), members=1)

    asyncio.run(main())


@pytest.mark.parametrize("error", [None, "", {}, []])
def test_a_success_without_an_error_beside_it_is_one(error: object):
    deliver(SUCCESS)
    deliver(SUCCESS | {"error": error})


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({"error": "queue full"}, VendorUnavailable),
        ({"error": {"message": "queue full"}}, VendorUnavailable),
        ({"error": {"message": "no such cohort", "code": 404}}, VendorRefused),
        ({"status": "failure"}, VendorUnavailable),
        ({"status": "failure", "error": "queue full"}, VendorUnavailable),
        ({"status": "failure", "error": ["queue full"]}, VendorUnavailable),
        ({"status": "failure", "error": {"code": "401"}}, VendorAuthFailed),
        ({"status": "failure", "error": {"code": 10**3000}}, VendorUnavailable),
        ({"status": "failure", "error": {"code": "soon"}}, VendorUnavailable),
        ({"status": "failure", "error": {"code": 200}}, VendorUnavailable),
        ({"status": "failure", "error": {"code": 4e2}}, VendorUnavailable),
        ({"status": "ok"}, VendorSurprise),
        ({"status": "Success"}, VendorSurprise),
        ({"status": True}, VendorSurprise),
        ({"status": None}, VendorSurprise),
        ({"action": "add_members"}, VendorSurprise),
    ],
)
def test_what_is_not_documented_as_a_success_is_a_failure_in_one_short_sentence(
    said: dict[str, Any], kind: type[VendorError]
):
    with pytest.raises(VendorError) as caught:
        deliver(SUCCESS | said)

    assert type(caught.value) is kind
    assert len(caught.value.message) < 200


@pytest.mark.parametrize("body", [[], ["status"], "success", 1, None, {}])
def test_what_is_no_answer_of_the_documented_form_is_a_surprise(body: object):
    with pytest.raises(VendorSurprise, match="documented form"):
        deliver(body)
