"""How a group goes to an endpoint: which messages, in which order, how many at a time, and when none at all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec
import pytest

from core.errors import LeaseLost, StorageFailed
from core.vendors.cohort_sync import EndpointDelivery
from core.vendors.delivery import Target
from core.vendors.receiver import Receiver
from core.vendors.retry import RetryPlan
from data.models import Member
from tests.stage.members import ListedMembers

TARGET = Target(project_id=1, cohort_id=2, cohort_name="Payers", group_name='Pay"ers\x1b', description="]}}")


@dataclass
class Taker:
    """Takes messages, and keeps them in the order in which they came in; the first of each is refused if asked for."""

    refuses_first: bool = False
    bodies: list[bytes] = field(default_factory=list[bytes])
    refused: set[bytes] = field(default_factory=set[bytes])
    in_flight: int = 0
    most_in_flight: int = 0

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer one message after the others have had the chance to be sent too."""
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self.bodies.append(request.content)
        for _ in range(20):
            await asyncio.sleep(0)
        self.in_flight -= 1
        if self.refuses_first and request.content not in self.refused:
            self.refused.add(request.content)
            return httpx.Response(503)
        return httpx.Response(200, json={"status": "success"})

    @property
    def pages(self) -> list[int]:
        """The numbers of the messages."""
        return [json.loads(body)["parameters"]["page_info"]["page_count"] for body in self.bodies]


@dataclass
class Lease:
    """A lease that is asked about, and lost after so many times."""

    lasts: int = 10**6
    asked: int = 0

    async def check(self) -> None:
        """Say whether the run may still write."""
        self.asked += 1
        if self.asked > self.lasts:
            raise LeaseLost("The run was taken over by another process.")


def listed(number: int, *, chunk: int = 1000) -> ListedMembers:
    members = [Member(f"i_{index}", f"u-{index}") for index in range(number)]
    return ListedMembers([members[start : start + chunk] for start in range(0, number, chunk)])


def deliver(
    receiver: Taker, stored: ListedMembers, *, members: int, lease: Lease | None = None, change: Any = None
) -> EndpointDelivery:
    async def main() -> EndpointDelivery:
        async with httpx.AsyncClient(transport=httpx.MockTransport(receiver)) as http:
            delivery = EndpointDelivery(
                http,
                Receiver("https://e.example/", "token"),
                (lease or Lease()).check,
                retry=RetryPlan(attempts=2, over_s=0.01),
            )
            if change:
                await delivery.change(TARGET, change, stored, members=members)
            else:
                await delivery.overwrite(TARGET, stored, members=members)
            return delivery

    return asyncio.run(main())


def test_a_message_is_what_msgspec_makes_of_it():
    receiver = Taker()

    deliver(receiver, listed(1001), members=1001)

    session_id = json.loads(receiver.bodies[0])["parameters"]["mixpanel_session_id"]
    for page, body in enumerate(receiver.bodies, start=1):
        assert body == msgspec.json.encode(
            {
                "action": "members",
                "parameters": {
                    "mixpanel_project_id": "1",
                    "mixpanel_cohort_id": "2",
                    "mixpanel_cohort_name": 'Pay"ers\x1b',
                    "mixpanel_cohort_description": "]}}",
                    "mixpanel_session_id": session_id,
                    "page_info": {"total_pages": 2, "page_count": page},
                    "members": [
                        {"mixpanel_distinct_id": f"u-{index}", "$apptimize_user_id": f"i_{index}"}
                        for index in range(1000 * (page - 1), min(1000 * page, 1001))
                    ],
                },
            }
        )


def test_a_whole_group_goes_in_order_four_messages_at_a_time():
    receiver, lease = Taker(), Lease()

    delivery = deliver(receiver, listed(19_500), members=19_500, lease=lease)

    assert receiver.pages == list(range(1, 21))
    assert receiver.most_in_flight == 4
    assert (delivery.messages, lease.asked) == (20, 20)


def test_an_empty_group_is_one_message_of_none_and_an_empty_difference_is_none():
    whole, difference = Taker(), Taker()

    deliver(whole, listed(0), members=0)
    deliver(difference, listed(0), members=0, change="added")

    assert [json.loads(body)["parameters"]["members"] for body in whole.bodies] == [[]]
    assert difference.bodies == []


@pytest.mark.parametrize("change", ["added", "removed"])
def test_a_difference_goes_one_message_after_the_other(change: str):
    receiver = Taker()

    deliver(receiver, listed(3500), members=3500, change=change)

    assert (receiver.pages, receiver.most_in_flight) == ([1, 2, 3, 4], 1)


def test_the_lease_is_asked_for_before_each_try_and_nothing_is_sent_without_it():
    receiver, lease = Taker(refuses_first=True), Lease(lasts=3)

    with pytest.raises(LeaseLost):
        deliver(receiver, listed(5000), members=5000, lease=lease, change="added")

    assert (receiver.pages, lease.asked) == ([1, 1, 2], 4)


@pytest.mark.parametrize(
    ("kept", "counted"), [(0, 1), (1, 0), (999, 1000), (1001, 1000), (2400, 2500), (2500, 2400), (3000, 2000)]
)
def test_members_that_are_not_those_that_were_counted_are_not_put_in_place(kept: int, counted: int):
    receiver = Taker()

    with pytest.raises(StorageFailed, match="not the members that were counted"):
        deliver(receiver, listed(kept), members=counted)

    assert len(receiver.pages) < -(-counted // 1000) or not receiver.pages, "a receiver waits for the last message"


def test_a_chunk_that_is_not_full_is_no_message_but_the_last():
    receiver = Taker()

    with pytest.raises(StorageFailed):
        deliver(receiver, listed(2000, chunk=500), members=2000)

    assert receiver.bodies == []


def test_reading_runs_ahead_of_what_was_sent_by_a_few_messages_only():
    receiver, read, furthest = Taker(), 0, 0

    def chunks() -> Iterator[list[Member]]:
        nonlocal read, furthest
        for number in range(60):
            read += 1
            furthest = max(furthest, read - len(receiver.bodies))
            yield [Member(f"i_{number}-{index}", "u") for index in range(1000)]

    deliver(receiver, ListedMembers(chunks()), members=60_000)

    assert receiver.pages == list(range(1, 61))
    assert furthest <= 2 * 8 + 2
