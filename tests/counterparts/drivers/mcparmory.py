"""Read cohorts with mcparmory-mixpanel: `mcparmory.py FILE COHORT...`, in an environment where it is installed.

It is a server that programs start and talk to over its standard input and output; here that is done by the library that
it is made with. Its tool for profiles knows no page but the first.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

from fastmcp import Client
from fastmcp.client.transports import StdioTransport
from fastmcp.exceptions import ToolError

PROJECT = int(os.environ["COUNTERPART_PROJECT"])
SERVER = StdioTransport(
    str(Path(sys.executable).with_name("mcparmory-mixpanel")),
    [],
    env={
        **os.environ,
        "BASE_URL": os.environ["COUNTERPART_URL"] + "/api/query",
        "BASIC_AUTH_USERNAME": os.environ["COUNTERPART_USERNAME"],
        "BASIC_AUTH_PASSWORD": os.environ["COUNTERPART_SECRET"],
    },
)


async def main() -> None:
    with open(sys.argv[1], "w") as file:
        async with Client(SERVER) as client:
            for cohort in map(int, sys.argv[2:]):
                # Text that begins with a brace is made an object of, which its own check of arguments refuses then.
                by_cohort = " " + json.dumps({"id": cohort})
                asked = {"filter_by_cohort": by_cohort, "include_all_users": False}
                try:
                    answer = await client.call_tool("query_profiles", {"project_id": PROJECT, **asked})
                except ToolError as error:
                    print(json.dumps({"cohort": cohort, "failed": str(error)}), file=file)
                    continue
                for row in answer.structured_content["results"]:
                    row = {"cohort": cohort, "distinct_id": row["$distinct_id"], "properties": row["$properties"]}
                    print(json.dumps(row), file=file)
                print(json.dumps({"cohort": cohort, "read": True}), file=file)


asyncio.run(main())
