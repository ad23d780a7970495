"""Mixpanel's own Python client reads a cohort whole from the sandbox."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.sandbox import people

POWER, EXACT = 5167402, 5167403


@pytest.fixture
def workspace(client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name, value in {
        "MP_API_BASE_URL": str(client.base_url),
        "MP_USERNAME": people.ADMIN_USERNAME,
        "MP_SECRET": people.ADMIN_SECRET,
        "MP_PROJECT_ID": str(people.PROJECT_ID),
        "MP_REGION": "us",
        "MP_CONFIG_PATH": str(tmp_path / "config.toml"),
        "MP_STORAGE_DIR": str(tmp_path),
        "HOME": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)
    import mixpanel_headless

    with mixpanel_headless.Workspace() as workspace:
        yield workspace


@pytest.mark.parametrize("cohort", [POWER, EXACT])
def test_headless_pages_through_a_cohort_and_gets_the_oracles_profiles(workspace: Any, client: Any, cohort: int):
    rows = list(workspace.stream_profiles(cohort_id=str(cohort), raw=True, include_all_users=False))

    assert rows == client.oracle(cohort)


@pytest.mark.parametrize("cohort", [POWER, EXACT])
def test_headless_reads_a_cohort_in_parallel_and_gets_the_oracles_profiles(workspace: Any, client: Any, cohort: int):
    frame = workspace.query_user(cohort=cohort, limit=None, parallel=True, workers=5, mode="profiles")

    assert sorted(str(row["distinct_id"]) for row in frame.profiles) == sorted(
        str(row["$distinct_id"]) for row in client.oracle(cohort)
    )
    assert frame.total == len(client.oracle(cohort))


def test_headless_lists_the_cohorts(workspace: Any, client: Any):
    assert {cohort.id for cohort in workspace.cohorts()} >= {POWER, EXACT}
