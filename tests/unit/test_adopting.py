"""To adopt a storage keeps what another process told the database of its keys at the same moment."""

from __future__ import annotations

from typing import Any

from sqlalchemy import event

from core.access.roles import LOCAL
from core.bridge import Bridge, open_bridge
from core.connections.adopting import adopt
from data import installation


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
