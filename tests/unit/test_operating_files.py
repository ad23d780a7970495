"""The files of docs/operate: they load, and ask for numbers that there are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from core.api.metrics import CurrentState, RunCounts
from core.bridge import Bridge
from data.models import Run
from tests.stage.processes import ROOT

OPERATE = ROOT / "docs" / "operate"
RULES, DASHBOARD = OPERATE / "prometheus-rules.yml", OPERATE / "grafana-dashboard.json"
_NAME = re.compile(r"cohort_bridge_\w+")


def expressions() -> list[str]:
    rules = [rule["expr"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    panels: list[Any] = json.loads(DASHBOARD.read_text())["panels"]
    return rules + [target["expr"] for panel in panels for target in panel["targets"]]


def names_of(bridge: Bridge) -> set[str]:
    registry = CollectorRegistry()
    RunCounts(registry)
    registry.register(CurrentState(bridge))
    names = set[str]()
    for family in registry.collect():
        ends = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "info": ("_info",)}
        names |= {family.name + end for end in ends.get(family.type, ("",))}
    # Without a worker there is no heartbeat to tell the age of, without a server no clock but the machine's.
    return names | {"cohort_bridge_worker_heartbeat_age_seconds", "cohort_bridge_clock_ahead_seconds"}


def test_rules_and_dashboard_ask_for_numbers_that_there_are(bridge: Bridge):
    asked = {name for expression in expressions() for name in _NAME.findall(expression)}

    assert asked
    assert asked - names_of(bridge) == set()


@pytest.mark.parametrize(("status", "step"), [("held", "done"), ("superseded", "done"), ("cancelled", "applied")])
def test_a_run_that_was_held_is_counted_as_held_whatever_became_of_it_before(status: str, step: str):
    registry = CollectorRegistry()

    RunCounts(registry).add(Run(status=status, step=step, error_code="held_shrink", dry_run=False))

    labels = {"status": "held", "cause": "held_shrink", "dry_run": "false"}
    assert registry.get_sample_value("cohort_bridge_runs_total", labels) == 1


def test_each_number_is_explained(bridge: Bridge):
    text = (
        (OPERATE / "monitoring.md")
        .read_text()
        .replace("`_used`, `_left{", "`cohort_bridge_queries_used`, `cohort_bridge_queries_left{")
    )
    explained = set(_NAME.findall(text))

    stems = {re.sub(r"_(bucket|count|sum)$", "", name) for name in names_of(bridge)}
    assert stems - explained == set()


def test_each_rule_says_what_happened_and_what_to_do():
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in ("critical", "warning")
            assert rule["annotations"].keys() == {"summary", "description"}


def test_panels_have_numbers_and_places_of_their_own():
    panels: list[Any] = json.loads(DASHBOARD.read_text())["panels"]

    assert len({panel["id"] for panel in panels}) == len(panels)
    places = {
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    }
    assert len(places) == sum(panel["gridPos"]["w"] * panel["gridPos"]["h"] for panel in panels)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_takes_the_rules():
    checked = subprocess.run(["promtool", "check", "rules", str(RULES)], capture_output=True, text=True, check=False)

    assert checked.returncode == 0, checked.stdout + checked.stderr
