"""Members as JSON: byte for byte what msgspec makes of them, each in its chunk."""

from __future__ import annotations

import hashlib

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.members.members_json import JsonChunk, StoredMembers
from data.members.snapshots import Snapshots
from data.models import Member
from tests.stage.members import as_json

KEYS = {"distinct_id": "mixpanel_distinct_id", "apptimize_id": "$apptimize_user_id"}
NASTY = [
    *map(chr, range(0x20)),
    "\x7f",
    "\x80",
    '"',
    "\\",
    '\\"',
    "\\u001B",
    "\\\\u001B",
    "\\\x1b",
    "\x1b\\u001B\x0f\\\\\x0b",
    "/",
    "</script>",
    "é",
    "e\u0301",
    "\u2028\u2029",
    "\ufeff",
    "\ufffe\uffff",
    "😀",
    "\U0010ffff",
    "'",
    "{0}",
    "%s",
    "?",
    "null",
    "1e5",
    "10000000000000000000001",
    " ",
    " i_1 ",
    "true",
    '{"a": 1}',
    "[]",
    ",",
]
ids = st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory: pytest.TempPathFactory) -> Snapshots:
    home = tmp_path_factory.mktemp("members-json")
    return Snapshots(home / "kept", scratch=home / "scratch", memory_mb=60)


def write(snapshots: Snapshots, name: str, members: dict[str, str]) -> StoredMembers:
    """Write a snapshot of distinct ids by Apptimize id."""
    with snapshots.collector() as collector:
        collector.add(distinct_ids=list(members.values()), apptimize_ids=list(members))
        collector.write(snapshots.path(name))
    return snapshots.stored(name)


def all_chunks(stored: StoredMembers, *, chunk: int = 1000, keys: dict[str, str] = KEYS) -> list[JsonChunk]:
    return list(stored.json_chunks(**keys, chunk=chunk))


def expected(stored: StoredMembers, *, chunk: int = 1000, keys: dict[str, str] = KEYS) -> list[JsonChunk]:
    return [JsonChunk(as_json(members, **keys), len(members)) for members in stored.chunks(chunk=chunk)]


def test_odd_ids_are_written_as_msgspec_writes_them(snapshots: Snapshots):
    texts = [*NASTY, *(f"a{text}z" for text in NASTY)]
    stored = write(snapshots, "nasty", {text: texts[-index] for index, text in enumerate(texts)})

    (found,) = all_chunks(stored)

    assert found == expected(stored)[0]
    assert found.members == len(texts)
    assert {(each[KEYS["apptimize_id"]], each[KEYS["distinct_id"]]) for each in msgspec.json.decode(
        b"[" + found.text + b"]"
    )} == {(text, texts[-index]) for index, text in enumerate(texts)}  # fmt: skip


@settings(max_examples=25)
@given(st.dictionaries(ids, ids, max_size=15), st.integers(min_value=1, max_value=4))
def test_any_ids_are_written_as_msgspec_writes_them(snapshots: Snapshots, members: dict[str, str], chunk: int):
    stored = write(snapshots, "any", members)

    assert all_chunks(stored, chunk=chunk) == expected(stored, chunk=chunk)


@pytest.mark.parametrize(
    "key", ["?", "id", *(text for text in NASTY if len(text) > 1), '"', "\\", "\x1b", "mixpanel_distinct_id"]
)
@pytest.mark.parametrize("distinct_id", ["it's \"\x1b", "mixpanel_distinct_id"])
def test_keys_are_written_as_msgspec_writes_them(snapshots: Snapshots, distinct_id: str, key: str):
    stored = write(snapshots, "keys", {"i_1": "u-1"})

    keys = {"distinct_id": distinct_id, "apptimize_id": key}
    assert all_chunks(stored, keys=keys) == expected(stored, keys=keys)


def test_where_both_keys_are_one_it_has_the_id_that_members_are_known_by(snapshots: Snapshots):
    stored = write(snapshots, "one-key", {'L"1': "u-1", "L-2": "u-2"})

    keys = {"distinct_id": "mixpanel_distinct_id", "apptimize_id": "mixpanel_distinct_id"}
    assert [chunk.text for chunk in all_chunks(stored, keys=keys)] == [
        b'{"mixpanel_distinct_id":"L\\"1"},{"mixpanel_distinct_id":"L-2"}'
    ]


def test_a_distinct_id_of_any_characters_is_written_as_msgspec_writes_it(snapshots: Snapshots):
    texts = [*NASTY, *(f"a{text}z" for text in NASTY), "\x00", "a\x00b", "x" * 5000]
    stored = write(snapshots, "distinct", {text: text for text in texts})

    keys = {"distinct_id": "mixpanel_distinct_id", "apptimize_id": "mixpanel_distinct_id"}
    (found,) = all_chunks(stored, keys=keys)

    assert found == expected(stored, keys=keys)[0]
    assert {each["mixpanel_distinct_id"] for each in msgspec.json.decode(b"[" + found.text + b"]")} == set(texts)


def test_every_chunk_but_the_last_is_full_across_the_parts_of_a_file(snapshots: Snapshots):
    stored = write(snapshots, "large", {f"i_{number:05}": f"u-{number}" for number in range(20_234)})

    found = all_chunks(stored)

    assert [chunk.members for chunk in found] == [1000] * 20 + [234]
    assert found == expected(stored)


@pytest.mark.parametrize(("change", "numbers"), [("added", range(50, 97)), ("removed", range(27))])
def test_of_a_difference_those_with_one_change_are_written(snapshots: Snapshots, change: str, numbers: range):
    write(snapshots, "before", {f"i_{number:02}": f"u-{number}" for number in range(50)})
    write(snapshots, "after", {f"i_{number:02}": f"u-{number}" for number in range(27, 97)})
    snapshots.keep_difference("difference", "after", "before")
    stored = snapshots.stored("difference", "added" if change == "added" else "removed")

    found = all_chunks(stored, chunk=2)

    members = [Member(f"i_{number:02}", f"u-{number}") for number in numbers]
    assert [chunk.text for chunk in found] == [
        as_json(members[start : start + 2], **KEYS) for start in range(0, len(members), 2)
    ]


def test_of_no_members_there_is_no_chunk(snapshots: Snapshots):
    write(snapshots, "none", {})
    snapshots.keep_difference("no-difference", "none", "none")

    assert all_chunks(snapshots.stored("none")) == []
    assert all_chunks(snapshots.stored("no-difference", "added")) == []


def test_long_ids_are_written_in_the_least_memory_too(snapshots: Snapshots):
    write(snapshots, "long", {f"i_{number:0254}": f"\x1b{number:02500}" for number in range(4000)})
    stored = Snapshots(snapshots.folder, scratch=snapshots.scratch, memory_mb=40).stored("long")

    found = hashlib.sha256()
    for chunk in stored.json_chunks(**KEYS, chunk=1000):
        found.update(b"%d %b" % (chunk.members, chunk.text))

    expected = hashlib.sha256()
    for members in stored.chunks(chunk=1000):
        expected.update(b"%d %b" % (len(members), as_json(members, **KEYS)))
    assert found.digest() == expected.digest()
