"""Commands are played one after the other, and each ends, and prints, as it did when it was recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.emulator.record_contract import play, recorded
from tests.stage import databases
from tests.stage.home import Home
from tests.stage.sandbox import Sandbox


def differing(kept: list[dict[str, Any]], played: list[dict[str, Any]]) -> list[str]:
    """List every command that did not end, or print, as it was recorded."""
    pairs = [(old, new) for old, new in zip(kept, played, strict=True) if old != new]
    return [f"{old['command']}\n  recorded: {shown(old)}\n  now:      {shown(new)}" for old, new in pairs]


def without_gaps(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Number the groups from 1, in their order: a server skips a number where a group was refused after it had one."""
    fields = list(fields_of_groups(steps))
    numbers = sorted({holder[name] for holder, name in fields})
    for holder, name in fields:
        holder[name] = numbers.index(holder[name]) + 1
    return steps


def fields_of_groups(value: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """Find every field that is the number of a group."""
    if isinstance(value, dict):
        name = "id" if "last_run_id" in value else "group_id"
        if isinstance(value.get(name), int):
            yield value, name
        for compared in value.get("pairs", ()):  # of two groups each
            yield from ((compared, "first"), (compared, "second"))
        if "pairs" in value:
            yield from ((group, "id") for group in value["groups"])
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from fields_of_groups(item)


def shown(step: dict[str, Any]) -> str:
    return json.dumps(step, ensure_ascii=False)


@pytest.mark.slow
def test_every_command_ends_with_the_status_and_the_json_that_were_recorded(sandbox: Sandbox, empty_home: Home):
    # As JSON, like the recording: what was played holds counters beside plain values.
    kept, played = recorded(), json.loads(json.dumps(play(sandbox, empty_home)))
    if databases.SERVER:
        kept, played = without_gaps(kept), without_gaps(played)

    assert [step["command"] for step in played] == [step["command"] for step in kept]
    assert not (told := differing(kept, played)), "\n".join(["what scripts rely on is another:", *told])


def test_an_exit_status_and_a_value_that_are_others_are_told():
    kept, changed = recorded(), recorded()
    assert differing(kept, changed) == []

    changed[0]["exit"] = 70
    next(step for step in changed if isinstance(step.get("json"), dict))["json"]["status"] = "other"

    assert len(differing(kept, changed)) == 2
