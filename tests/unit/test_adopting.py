"""What a process does that tells the database what is its own while another process tells it something else."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event

from core.access.roles import LOCAL
from core.bridge import Bridge, open_bridge
from core.connections.adopting import adopt
from core.installation import require_own
from data import installation
from data.engine import StorageError


def test_a_key_that_is_changed_as_a_storage_is_adopted_stays_changed(bridge: Bridge):
    other = open_bridge(bridge.settings, clock=bridge.clock)
    known = installation.find(bridge.engine)
    assert known is not None
    rotated = known._replace(keys=("a" * 32,))
    looks = list[int]()

    def rotate(*_: Any) -> None:
        looks.append(len(looks))
        if len(looks) == 2:  # after it looked what there is, before it writes
            assert installation.bind(other.engine, known, rotated)

    event.listen(bridge.engine, "checkout", rotate)
    try:
        adopt(bridge, LOCAL, key=False, storage=True)
    finally:
        event.remove(bridge.engine, "checkout", rotate)
        other.engine.dispose()

    adopted = installation.find(bridge.engine)
    assert adopted is not None
    assert adopted.keys == rotated.keys
    assert adopted.storage_id == installation.read_storage_id(bridge.storage)


def test_a_process_that_cannot_tell_what_is_the_databases_own_does_not_go_on(bridge: Bridge):
    other = open_bridge(bridge.settings, clock=bridge.clock)
    looks = list[int]()

    def unbind(*_: Any) -> None:
        looks.append(len(looks))  # each time that it looks at the database, or is about to write
        before = installation.find(other.engine)
        assert before is not None
        changed = before._replace(storage_id=None, storage_address=f"elsewhere {len(looks)}")
        assert installation.bind(other.engine, before, changed)

    event.listen(bridge.engine, "checkout", unbind)
    try:
        with pytest.raises(StorageError, match="changes the keys or the storage of this installation at this moment"):
            require_own(bridge)
    finally:
        event.remove(bridge.engine, "checkout", unbind)
        other.engine.dispose()

    require_own(bridge)
    known = installation.find(bridge.engine)
    assert known is not None
    assert known.storage_id == installation.read_storage_id(bridge.storage)
