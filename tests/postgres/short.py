"""What is tried on PostgreSQL whenever anything is changed: of the tests, those that rest most on the database."""

from __future__ import annotations

_KILLED = "tests/faults/test_killed.py"
_PAGES = "tests/pages/test_every_page.py"

# What is covered, and by which tests, as pytest names them.
COVERED = {
    "the schema, transactions, the server's failures and its clock": (
        "tests/postgres/test_schema.py",
        "tests/postgres/test_transactions.py",
        "tests/postgres/test_failures.py",
        "tests/postgres/test_lost_transactions.py",
        "tests/postgres/test_clocks.py",
        "tests/postgres/test_locks.py",
    ),
    "the run queue, and who holds a run": (
        "tests/unit/test_runs.py",
        "tests/unit/test_leases.py",
        "tests/unit/test_run_deaths.py",
        "tests/unit/test_dead_holders.py",
    ),
    "the budget of queries": ("tests/unit/test_quota.py",),
    "the audit log and its chain": ("tests/unit/test_audit.py",),
    "workers that are killed, or share the work": (
        f"{_KILLED}::test_a_worker_that_is_killed_at_a_step_leaves_nothing_that_the_next_does_not_make_good",
        f"{_KILLED}::test_a_worker_that_is_killed_around_any_commit_and_again_while_it_makes_that_good_loses_nothing",
        "tests/faults/test_workers.py::test_workers_on_one_database_run_each_slot_once_and_keep_the_groups_right",
        "tests/faults/test_state_machine.py",
    ),
    "every page": (
        f"{_PAGES}::test_practice_mode_and_a_missing_worker_are_said_on_every_page",
        f"{_PAGES}::test_pages_with_much_to_show_are_drawn",
    ),
}


def list_tests() -> list[str]:
    """List what pytest is told to run."""
    return [test for tests in COVERED.values() for test in tests]


def describe() -> str:
    """Say what is covered, a line each."""
    return "\n".join(
        [
            "On PostgreSQL, in short:",
            *(f"  {what}: {', '.join(tests)}" for what, tests in COVERED.items()),
        ]
    )
