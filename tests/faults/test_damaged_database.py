"""A database with a damaged page, each in turn: every command ends in order, or in a sentence that says what to do."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.connections import destinations
from tests.faults.conftest import Tally
from tests.faults.population import ONE, TWO, Population
from tests.stage.home import Home, export
from tests.stage.seeds import SEEDS, few
from tests.stage.terminal import Terminal

pytestmark = pytest.mark.sqlite_file

PAGE = 4096
COMMANDS = [
    "runs", "run show 1", "groups", f"groups members {ONE}", "syncs list", "people list", "who i_1", "audit verify",
    "audit download", f"match {ONE} --last", "people add someone@example.com", "rotate-key",
]  # fmt: skip
# A command that finds nothing to do on what is left of a page says so; it may not be surprised.
DAMAGE: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "zeros": lambda page, _: bytes(len(page)),
    "noise": lambda page, chance: chance.randbytes(len(page)),
    "half": lambda page, chance: page[: len(page) // 2] + chance.randbytes(len(page) - len(page) // 2),
    "letters": lambda page, _: bytes(byte ^ 1 if 32 <= byte < 127 else byte for byte in page),
}


@few(1)
@pytest.mark.parametrize("damage", DAMAGE)
def test_whichever_page_is_damaged_each_command_ends_in_a_sentence(
    bridge: Bridge, population: Population, home: Home, monkeypatch: pytest.MonkeyPatch, ran: Tally, damage: str
):
    for cohort in (ONE, TWO):
        population.set(cohort, range(20))
        export(bridge, cohort)
    destinations.connect_csv(bridge, LOCAL, folder=str(home.path / "csv"))
    bridge.engine.dispose()
    with closing(sqlite3.connect(home.path / "cohort_bridge.db")) as opened:
        opened.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    whole = (home.path / "cohort_bridge.db").read_bytes()
    terminal, chance = Terminal(monkeypatch, Home(home.path.parent / "damaged"), "utf-8"), random.Random(damage)
    pages = range(len(whole) // PAGE)

    told = 0
    for page in pages if SEEDS else chance.sample(pages, 2):
        put_down(home.path, home.path.parent / "damaged", whole, page, damage, chance)
        for line in COMMANDS if SEEDS else chance.sample(COMMANDS, 4):
            code, _, err = terminal.run(*line.split(" "))

            assert code in (0, 1, 2), (page, line)
            assert "unexpected" not in err, (page, line, err)
            told += "is damaged" in err
            ran("commands on a damaged page")
    assert told or not SEEDS


def put_down(home: Path, copy: Path, whole: bytes, page: int, damage: str, chance: random.Random) -> None:
    """Put down a home of which one page is damaged."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(home, copy)
    start, end = page * PAGE, (page + 1) * PAGE
    (copy / "cohort_bridge.db").write_bytes(whole[:start] + DAMAGE[damage](whole[start:end], chance) + whole[end:])
