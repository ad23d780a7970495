"""The same read done with Mixpanel's own Python clients, each in a process of its own: `python -m bench.others`.

All read one property of the cohort's profiles, without people who have no profile, whole, into memory. Neither
client sorts, compares or finds duplicates; the export does. httpx alone decodes nothing but page 0, and keeps nothing:
what the library that fetches the pages takes alone.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from bench.names import PROJECT_ID, PROPERTY, SECRET, USERNAME


def read_with_utils(url: str, cohort_id: int, connections: int | None) -> int:
    """Read with mixpanel-utils, `connections` at a time (None: its own default)."""
    from mixpanel_utils import MixpanelUtils

    own: dict[str, Any] = {} if connections is None else {"read_pool_size": connections}
    client = MixpanelUtils(SECRET, service_account_username=USERNAME, project_id=PROJECT_ID, **own)
    client.formatted_api = f"{url}/api"
    profiles = client.query_engage(
        {
            "filter_by_cohort": json.dumps({"id": cohort_id}),
            "include_all_users": "false",
            "output_properties": json.dumps([PROPERTY]),
        }
    )
    return len(profiles)


def read_with_headless(url: str, cohort_id: int, connections: int | None) -> int:
    """Read with mixpanel-headless, which finds the server by MP_API_BASE_URL; five workers are its own limit."""
    import mixpanel_headless

    with mixpanel_headless.Workspace() as workspace:
        result = workspace.query_user(
            cohort=cohort_id,
            properties=[PROPERTY],
            limit=None,
            mode="profiles",
            parallel=True,
            workers=connections or 5,
        )
        return len(result.profiles)


def fetch_with_httpx(url: str, cohort_id: int, connections: int | None) -> int:
    """Fetch all pages with httpx, and count the profiles that they should hold."""
    import httpx

    form = {
        "filter_by_cohort": json.dumps({"id": cohort_id}),
        "include_all_users": "false",
        "output_properties": json.dumps([PROPERTY]),
    }

    async def main() -> int:
        address = f"{url}/api/query/engage?project_id={PROJECT_ID}"
        async with httpx.AsyncClient(auth=(USERNAME, SECRET), timeout=60) as http:
            first = (await http.post(address, data=form)).json()
            further = form | {"session_id": first["session_id"]}
            numbers = iter(range(1, -(-first["total"] // first["page_size"])))

            async def fetch_on() -> int:
                pages = 0
                for number in numbers:
                    answer = await http.post(address, data=further | {"page": str(number)})
                    pages += answer.is_success
                return pages

            fetched = await asyncio.gather(*(fetch_on() for _ in range(connections or 5)))
        return (1 + sum(fetched)) * first["page_size"]

    return asyncio.run(main())


if __name__ == "__main__":
    read = {"utils": read_with_utils, "headless": read_with_headless, "httpx": fetch_with_httpx}[sys.argv[1]]
    print(read(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]) or None))
