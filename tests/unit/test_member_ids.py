"""The two ids of a member: which is which is the same wherever they are kept, found, sent or written."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.associate.rows import read_rows
from core.rules.matching import by_distinct_id, match_page
from core.vendors.cohort_sync import EndpointDelivery
from core.vendors.csv_files import CsvDelivery, csv_name
from core.vendors.delivery import Target
from core.vendors.mixpanel_answers import decode_page
from core.vendors.mixpanel_ingestion import Ingestion
from core.vendors.mixpanel_project import Project
from core.vendors.receiver import Receiver
from core.vendors.retry import RetryPlan
from data.members.association_check import CheckRules, KnownProfiles
from data.members.association_rows import ImportRows, RowFilter
from data.members.excluded import ExcludedProfile, iterate_excluded, list_excluded, list_excluded_with
from data.members.lookup import list_members_with
from data.members.search import PageRequest, find_changes, find_members, find_others
from data.members.snapshots import Snapshots
from data.models import Member

# No id of one kind can be taken for one of the other.
MEMBERS = [Member(apptimize_id=f"i_apptimize-{number}", distinct_id=f"distinct-{number}") for number in range(3)]
TARGET = Target(project_id=1, cohort_id=2, cohort_name="Payers", group_name="Payers")
RETRY = RetryPlan(attempts=1, over_s=0.01)


async def ours() -> None:
    """The lease is ours."""


@pytest.fixture
def snapshots(tmp_path: Path) -> Snapshots:
    """A home with the snapshot `kept`, the difference `added` to nothing, and the profiles excluded from it."""
    store = Snapshots(tmp_path / "kept", scratch=tmp_path / "scratch", memory_mb=60)
    with store.collector() as collector:
        collector.add(
            distinct_ids=[member.distinct_id for member in MEMBERS] + ["distinct-9"],
            apptimize_ids=[member.apptimize_id for member in MEMBERS] + [MEMBERS[0].apptimize_id],
            unusable_ids=["distinct-8"],
            reasons=["blank"],
        )
        collector.tally()
        collector.write(store.path("kept"))
        collector.write_excluded(store.path("excluded"))
    with store.collector() as collector:
        collector.write(store.path("nobody"))
    store.keep_difference("added", "kept", "nobody")
    return store


@asynccontextmanager
async def answering(answer: Callable[[Any], httpx.Response]) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.MockTransport(lambda request: answer(json.loads(request.content)))
    async with httpx.AsyncClient(transport=transport) as http:
        yield http


def ways_to_read(snapshots: Snapshots) -> Iterator[list[Member]]:
    """Read all members in every way that snapshots offer."""
    yield [member for chunk in snapshots.iterate("kept") for member in chunk]
    yield [member for chunk in snapshots.iterate_changes("added", "added") for member in chunk]
    yield [member for chunk in snapshots.iterate_others("kept", "added", "removed") for member in chunk]
    yield find_members(snapshots, "kept", PageRequest()).rows
    yield find_members(snapshots, "kept", PageRequest("distinct-")).rows
    yield find_changes(snapshots, "added", "added", PageRequest()).rows
    yield find_others(snapshots, "kept", None, "added", PageRequest(), total=3).rows
    yield [
        member
        for expected in MEMBERS
        for member in list_members_with(snapshots, ["kept"], [expected.distinct_id])["kept"]
    ]
    yield [
        member
        for expected in MEMBERS
        for member in list_members_with(snapshots, ["kept"], [expected.apptimize_id])["kept"]
    ]


def test_what_is_read_from_snapshots_has_its_ids_in_their_places(snapshots: Snapshots):
    for members in ways_to_read(snapshots):
        assert [(member.apptimize_id, member.distinct_id) for member in members] == [
            ("i_apptimize-0", "distinct-0"),
            ("i_apptimize-1", "distinct-1"),
            ("i_apptimize-2", "distinct-2"),
        ]
        assert {type(member) for member in members} == {Member}


def test_what_was_excluded_has_its_ids_in_their_places(snapshots: Snapshots):
    duplicate = ExcludedProfile(reason="duplicate", distinct_id="distinct-9", apptimize_id="i_apptimize-0")

    assert list_excluded(snapshots, "excluded") == [ExcludedProfile("blank", "distinct-8", None), duplicate]
    assert list_excluded_with(snapshots, ["excluded"], ["distinct-9"]) == {"excluded": [duplicate]}
    assert [profile.distinct_id for rows in iterate_excluded(snapshots, "excluded") for profile in rows] == [
        "distinct-8",
        "distinct-9",
    ]


def test_messages_name_each_id_as_what_it_is(snapshots: Snapshots):
    sent = list[Any]()

    def answer(message: Any) -> httpx.Response:
        sent.append(message)
        return httpx.Response(200, json={"status": "success", "action": message["action"]})

    async def deliver() -> None:
        async with answering(answer) as http:
            delivery = EndpointDelivery(http, Receiver("https://e.example/", "token"), ours, retry=RETRY)
            await delivery.overwrite(TARGET, snapshots.stored("kept"), members=3)
            await delivery.change(TARGET, "added", snapshots.stored("added", "added"), members=3)

    asyncio.run(deliver())

    assert [message["action"] for message in sent] == ["members", "add_members"]
    for message in sent:
        assert message["parameters"]["members"] == [
            {"mixpanel_distinct_id": "distinct-0", "$apptimize_user_id": "i_apptimize-0"},
            {"mixpanel_distinct_id": "distinct-1", "$apptimize_user_id": "i_apptimize-1"},
            {"mixpanel_distinct_id": "distinct-2", "$apptimize_user_id": "i_apptimize-2"},
        ]


def test_a_file_holds_the_apptimize_ids(snapshots: Snapshots, tmp_path: Path):
    asyncio.run(CsvDelivery(tmp_path, ours).overwrite(TARGET, snapshots.stored("kept"), members=3))

    lines = (tmp_path / csv_name("Payers", 2)).read_text().splitlines()
    assert lines == ["user_id", "i_apptimize-0", "i_apptimize-1", "i_apptimize-2"]


@pytest.mark.parametrize("header", [b"distinct_id,apptimize_id", b"apptimize_id,distinct_id"])
def test_what_a_file_says_is_written_to_the_profile_it_names(tmp_path: Path, header: bytes):
    rows = ImportRows(tmp_path / "kept", scratch=tmp_path / "scratch", memory_mb=60)
    line = {name: getattr(MEMBERS[0], name) for name in Member._fields}
    upload = tmp_path / "users.csv"
    upload.write_bytes(header + b"\n" + ",".join(line[name] for name in header.decode().split(",")).encode() + b"\n")
    sent = list[Any]()

    def answer(records: Any) -> httpx.Response:
        sent.extend(records)
        return httpx.Response(200, json={"code": 200, "status": "OK", "num_records_imported": len(records)})

    async def write() -> None:
        async with answering(answer) as http:
            client = Ingestion(http, Project("https://mixpanel.com", 77, "user", "secret"), "token", ours, retry=RETRY)
            for batch in rows.batches(after=0, size=10):
                members = [row.member for row in batch]
                assert await client.set_ids(members, "$apptimize_user_id") == {}
                assert await client.alias(members, at_s=1_795_000_000) == {}

    with upload.open("rb") as file:
        rows.keep(read_rows(file, expects_prefix=True))
    rows.check(CheckRules(prefix=None, prefixes=("i_", "a_")), KnownProfiles())
    asyncio.run(write())

    assert [row.member for chunk in rows.iterate() for row in chunk] == [MEMBERS[0]]
    assert [row.member for row in rows.find("distinct-0")] == [
        row.member for row in rows.planned(RowFilter(writable=True))
    ]
    profile, alias = sent
    assert (profile["$distinct_id"], profile["$set"]) == ("distinct-0", {"$apptimize_user_id": "i_apptimize-0"})
    assert (alias["properties"]["distinct_id"], alias["properties"]["alias"]) == ("distinct-0", "i_apptimize-0")


def test_distinct_ids_of_any_characters_arrive_as_mixpanel_sends_them(tmp_path: Path):
    odd = [
        "u-1",
        " ",
        "\u200b",
        "a\nb",
        "\r",
        "\x1f",
        "\x00",
        "a\x00b",
        "\ufeff",
        '"',
        "\\u0000",
        "東京",
        "😀",
        "x" * 120_000,
    ]
    rows = [{"$distinct_id": id, "$properties": {}} for id in [*odd, 4711, "u\ud800", None, True]]
    page = decode_page(json.dumps({"status": "ok", "results": rows, "total": len(rows)}).encode(), "$distinct_id")
    matched = match_page(page.distinct_ids, page.values, by_distinct_id(), is_regular=page.is_regular)
    store = Snapshots(tmp_path / "kept", scratch=tmp_path / "scratch", memory_mb=60)
    with store.collector() as collector:
        collector.add(
            distinct_ids=matched.distinct_ids,
            apptimize_ids=matched.apptimize_ids,
            unusable_ids=matched.unusable_ids,
            reasons=matched.reasons,
        )
        tally = collector.tally()
        collector.write(store.path("kept"))

    chunks = store.stored("kept").json_chunks(distinct_id="mixpanel_distinct_id", apptimize_id="id", chunk=1000)
    members = [member for text, _ in chunks for member in json.loads(b"[" + text + b"]")]

    assert (tally.members, tally.duplicates, tally.reasons) == (len(odd) + 1, 0, {"distinct_id": 3})
    assert {(member["mixpanel_distinct_id"], member["id"]) for member in members} == {(id, id) for id in [*odd, "4711"]}
