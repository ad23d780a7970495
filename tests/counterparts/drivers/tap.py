"""Read cohorts with tap-mixpanel: `tap.py FILE COHORT...`, in an environment where it is installed.

What is run is its own discovery and its own stream of cohort members, cohort by cohort: run whole, it stops at the
first cohort that is refused (a group cohort), and the others are never read.
"""

import contextlib
import io
import json
import os
import sys

from tap_mixpanel.client import MixpanelClient
from tap_mixpanel.discover import discover
from tap_mixpanel.streams import CohortMembers

MEMBERS = CohortMembers.tap_stream_id
CONFIG = {"project_timezone": "UTC", "start_date": "2026-11-22T00:00:00Z", "attribution_window": "5"}


def read(client, catalog, cohort):
    """Return the messages that the stream writes for one cohort."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        CohortMembers(client).sync({}, catalog, CONFIG, CONFIG["start_date"], [MEMBERS], parent_data=[{"id": cohort}])
    return [json.loads(line) for line in said.getvalue().splitlines()]


client = MixpanelClient(os.environ["COUNTERPART_PROJECT_SECRET"], "mixpanel.com", 60, "counterparts")
client.__api_domain = "mixpanel.com"  # as its own main() does
with open(sys.argv[1], "w") as file, client:
    catalog = discover(client, "false")
    for stream in catalog.streams:
        for entry in stream.metadata:
            entry["metadata"]["selected"] = True
    for cohort in map(int, sys.argv[2:]):
        for message in read(client, catalog, cohort):
            if message["type"] == "RECORD":
                row = message["record"]
                print(json.dumps({"cohort": row["cohort_id"], "distinct_id": row["distinct_id"]}), file=file)
        print(json.dumps({"cohort": cohort, "read": True}), file=file)
