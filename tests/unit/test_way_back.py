"""Where somebody was going before they signed in."""

from __future__ import annotations

from pages.shell.return_to import Ways


def test_a_browser_is_led_on_once_and_by_its_own_way():
    ways = Ways()
    ways.remember("a", ("history", {"run": "7"}))
    ways.remember("b", ("groups", {}))

    assert ways.take("a") == ("history", {"run": "7"})
    assert ways.take("a") is None
    assert ways.take("b") == ("groups", {})


def test_those_who_never_sign_in_do_not_fill_the_memory():
    ways = Ways()
    for number in range(1500):
        ways.remember(str(number), ("groups", {}))

    assert ways.take("499") is None
    assert ways.take("500") == ("groups", {})
