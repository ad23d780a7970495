"""The page that was asked for before signing in."""

from __future__ import annotations

from pages.shell.return_to import ReturnTargets


def test_a_browser_is_led_on_once_and_to_its_own_page():
    targets = ReturnTargets()
    targets.remember("a", ("history", {"run": "7"}))
    targets.remember("b", ("groups", {}))

    assert targets.take("a") == ("history", {"run": "7"})
    assert targets.take("a") is None
    assert targets.take("b") == ("groups", {})


def test_those_who_never_sign_in_do_not_fill_the_memory():
    targets = ReturnTargets()
    for number in range(1500):
        targets.remember(str(number), ("groups", {}))

    assert targets.take("499") is None
    assert targets.take("500") == ("groups", {})
