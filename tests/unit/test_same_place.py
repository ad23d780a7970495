"""Where a destination leads: two that lead to one place are found out, however they are spelled."""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.models import Connection, ConnectionKind
from data.same_place import is_same_place, normal_address

NOW = datetime(2026, 11, 23, tzinfo=UTC)
ADDRESS = "https://hooks.example.com/cohort-sync?b=2&a=1"


def endpoint(url: str) -> Connection:
    return Connection(created_at=NOW, side="destination", kind=ConnectionKind.ENDPOINT, name="x", url=url)


def folder(path: Path | str) -> Connection:
    return Connection(created_at=NOW, side="destination", kind=ConnectionKind.CSV, name="x", folder=os.fspath(path))


@pytest.mark.parametrize(
    "other",
    [
        "https://HOOKS.Example.COM/cohort-sync?b=2&a=1", "HTTPS://hooks.example.com:443/cohort-sync?b=2&a=1",
        "https://hooks.example.com/cohort-sync/?b=2&a=1", "https://hooks.example.com/cohort-sync?a=1&b=2",
        "https://hooks.example.com./cohort-sync?a=1&b=2", "https://hooks.example.com/cohort-sync?a=1&b=2#part",
        " https://hooks.example.com/./x/../cohort-sync?a=1&b=2 ", "https://hooks.example.com/cohort%2dsync?%61=1&b=2",
        "https://hooks.example.com/%2e/x/%2E%2e/cohort-sync?a=1&b=2",
        "https://ｈooks.example。com/cohort-sync?a=1&b=2",
    ],
)  # fmt: skip
def test_spellings_of_one_address_are_one_place(other: str):
    assert is_same_place(endpoint(ADDRESS), endpoint(other))


@pytest.mark.parametrize(
    "other",
    [
        "http://hooks.example.com/cohort-sync?b=2&a=1", "https://hooks.example.com:8443/cohort-sync?b=2&a=1",
        "https://other.example.com/cohort-sync?b=2&a=1", "https://hooks.example.com/Cohort-Sync?b=2&a=1",
        "https://hooks.example.com/cohort-sync?b=2&a=2", "https://hooks.example.com/cohort-sync",
        "https://hooks.example.com/cohort-sync?b=2&a=1&a=1", "https://hooks.example.com/cohort%2Fsync?b=2&a=1",
    ],
)  # fmt: skip
def test_other_addresses_are_other_places(other: str):
    assert not is_same_place(endpoint(ADDRESS), endpoint(other))


@pytest.mark.parametrize(
    ("address", "other"),
    [
        ("https://h.example", "https://h.example/"), ("https://h.example/x", "https://h.example/x?"),
        ("https://bücher.example/", "https://xn--bcher-kva.example"), ("http://localhost:1/", "http://127.0.0.1:1"),
        ("http://127.1:1", "http://[::1]:1"), ("http://10.0.0.1", "http://0xa000001"),
        ("http://[2001:DB8::0:1]/", "http://[2001:db8::1]:80/"), ("http://[::ffff:10.0.0.1]/", "http://10.0.0.1/"),
    ],
)  # fmt: skip
def test_hosts_are_compared_as_they_are_looked_up(address: str, other: str):
    assert normal_address(address) == normal_address(other)


@given(st.text(max_size=60) | st.from_regex(r"https?://[a-z.\[\]:0-9%]{0,20}(/[ -~]{0,20})?", fullmatch=True))
def test_whatever_is_entered_has_one_form_which_stays(text: str):
    once = normal_address(text)

    assert normal_address(once) == once


def test_links_and_other_spellings_of_a_folder_are_one_place(tmp_path: Path):
    real, other = tmp_path / "groups", tmp_path / "other"
    real.mkdir()
    other.mkdir()
    (tmp_path / "link").symlink_to(real)
    (other / "inside").symlink_to(tmp_path)

    for spelled in (tmp_path / "link", other / ".." / "groups", other / "inside" / "link", f"{real}/"):
        assert is_same_place(folder(real), folder(spelled))
    assert not is_same_place(folder(real), folder(other))
    assert not is_same_place(folder(real), endpoint(real.as_uri()))


def test_a_folder_that_is_not_there_at_the_moment_is_compared_by_its_path(tmp_path: Path):
    assert is_same_place(folder(tmp_path / "gone"), folder(tmp_path / "x" / ".." / "gone"))
    assert not is_same_place(folder(tmp_path / "gone"), folder(tmp_path / "gone-2"))


def test_a_folder_that_hangs_is_compared_by_its_path_and_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    hung, other, asked, wakes = tmp_path / "hung", tmp_path / "other", list[str](), threading.Event()
    stat = os.stat

    def hang(path: str, **options: bool) -> os.stat_result:
        if os.fspath(path) == os.fspath(hung):
            asked.append(path)
            wakes.wait()
        return stat(path, **options)

    hung.mkdir()
    other.mkdir()
    monkeypatch.setattr(os, "stat", hang)
    try:
        assert not is_same_place(folder(hung), folder(other))
        assert is_same_place(folder(hung), folder(f"{hung}/"))
        assert not is_same_place(folder(hung), folder(other))
        assert len(asked) == 2  # once for each spelling
    finally:
        wakes.set()
