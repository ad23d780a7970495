"""Tasks of one process take in turn what there is too little of, and are woken when some is given back."""

from __future__ import annotations

import asyncio

from core.turns import Turns

LONG_S = 30.0  # nothing here waits for so long


def test_the_first_to_come_is_the_first_to_take_and_the_others_do_not_even_try():
    async def main() -> list[str]:
        turns, left, tries = Turns(), [1], list[str]()

        async def take(name: str) -> None:
            turn = turns.of("slots")
            async with turn.taken():
                tries.append(name)
                while not left:
                    await turn.wait(within_s=LONG_S)
                    tries.append(name)
                left.pop()

        tasks = [asyncio.create_task(take(name)) for name in ("first", "second", "third")]
        await tasks[0]
        for task in tasks[1:]:
            left.append(1)
            turns.wake("slots")
            await task
        return tries

    assert asyncio.run(main()) == ["first", "second", "second", "third", "third"]


def test_what_is_given_back_between_a_try_and_the_wait_after_it_is_not_missed():
    async def main() -> None:
        turns = Turns()
        turn = turns.of("slots")
        async with asyncio.timeout(LONG_S / 2), turn.taken():
            await asyncio.to_thread(turns.wake, "slots")
            await turn.wait(within_s=LONG_S)

    asyncio.run(main())


def test_who_is_stopped_while_it_has_the_turn_leaves_it_to_the_next():
    async def main() -> bool:
        turn = Turns().of("slots")

        async def wait_for_ever() -> None:
            async with turn.taken():
                await turn.wait(within_s=LONG_S)

        waiting = asyncio.create_task(wait_for_ever())
        await asyncio.sleep(0)
        was_wanted = turn.is_wanted
        waiting.cancel()
        async with asyncio.timeout(LONG_S / 2), turn.taken():
            return was_wanted

    assert asyncio.run(main())


def test_turns_of_other_names_and_of_loops_that_have_ended_are_others():
    turns = Turns()

    async def main() -> bool:
        async with turns.of("slots/1").taken():
            turns.wake("slots/2")
            return turns.of("slots/2").is_wanted

    assert [asyncio.run(main()), asyncio.run(main())] == [False, False]
    turns.wake("slots/1")
