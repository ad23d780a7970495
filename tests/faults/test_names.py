"""A cohort with a hostile name: it is exported as any other, and steers no terminal and no log that it is shown in."""

from __future__ import annotations

import pytest

from core.bridge import Bridge
from tests.faults.population import ONE, Population
from tests.stage.home import Home
from tests.stage.seeds import LONG

NAME = "Buyers\x1b[31mred\x1b]0;title\x07\x9b2J\u202e\r\nRun 9: succeeded.\u2028\x7f"
COMMANDS = [
    ("cohorts",),
    ("export", str(ONE)),
    ("export", str(ONE), "--dry-run"),
    ("match", str(ONE)),
    ("runs",),
    ("run", "show", "1"),
    ("groups",),
    ("groups", "members", str(ONE)),
    ("who", "i_1"),
    ("syncs", "add", str(ONE)),
    ("syncs", "list"),
    ("worker", "--once"),
    ("audit", "download"),
]
WITH_JSON = ("cohorts", "export", "match", "runs", "run", "groups", "who", "syncs")


@LONG
@pytest.mark.usefixtures("fork_server", "bridge")
def test_the_name_of_a_cohort_steers_no_terminal_in_any_command(population: Population, home: Home):
    population.set(ONE, range(20))
    population.name(ONE, NAME)
    as_json = [(*command, "--json") for command in COMMANDS if command[0] in WITH_JSON and "members" not in command]

    for command in COMMANDS + as_json:
        done = home.run(*command, env={"COHORT_BRIDGE_LOG_LEVEL": "DEBUG"})

        said = (done.out + done.err).removeprefix("\ufeff")
        assert done.code == 0 or "up to date already" in done.err, command
        assert [sign for sign in said if sign not in "\n\r" and not sign.isprintable()] == [], command
        assert "Run 9: succeeded." not in {line.strip() for line in said.splitlines()}, command


def test_the_name_arrives_whole(bridge: Bridge, population: Population, home: Home, fork_server: None):
    population.set(ONE, range(20))
    population.name(ONE, NAME)

    done = home.run("export", str(ONE), "--json")

    assert done.json["cohort_name"] == population.group_name(ONE) == NAME
    assert population.members(ONE) == population.expected_members(ONE)
