"""The HTTP API against its own description: what schemathesis makes of that is asked, and each answer judged by it."""

from __future__ import annotations

from collections import Counter

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks

from tests.stage.api import DESCRIPTION, Api
from tests.stage.clock import FakeClock

load_all_checks()  # statuses, schemas, content types, headers, methods, and requests without a token


def ask_all(api: Api, clock: FakeClock, *, examples: int, chosen_by: int = 0) -> Counter[int]:
    """Ask each address so often with what fits its description, and as often with what does not; count the statuses."""
    told, schema = Counter[int](), schemathesis.openapi.from_dict(DESCRIPTION)

    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
        for found in schema.get_all_operations():
            operation = found.ok()
            if mode is GenerationMode.NEGATIVE and operation.path == "/api/v1/openapi.json":
                continue  # there is nothing about it that could be wrong

            @seed(chosen_by)
            @settings(
                max_examples=examples,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def ask(case: schemathesis.Case) -> None:
                clock.ahead_s += 60  # wrong tokens are tried as well, and may not be tried this often
                if isinstance(wait_s := (case.query or {}).get("wait"), int):
                    case.query["wait"] = min(wait_s, 1)  # as much, and sooner over
                answer = case.call_and_validate(base_url=str(api.client.base_url), headers=api.analyst)
                told[answer.status_code] += 1

            ask()
    return told
