"""Read cohorts with mixpanel-utils: `utils.py FILE COHORT...`, in an environment where it is installed."""

import json
import os
import sys

from mixpanel_utils import MixpanelUtils

client = MixpanelUtils(
    os.environ["COUNTERPART_SECRET"],
    service_account_username=os.environ["COUNTERPART_USERNAME"],
    project_id=os.environ["COUNTERPART_PROJECT"],
)
with open(sys.argv[1], "w") as file:
    for cohort in map(int, sys.argv[2:]):
        asked = {"filter_by_cohort": json.dumps({"id": cohort}), "include_all_users": "false"}
        for row in client.query_engage(asked):
            row = {"cohort": cohort, "distinct_id": row["$distinct_id"], "properties": row["$properties"]}
            print(json.dumps(row), file=file)
        print(json.dumps({"cohort": cohort, "read": True}), file=file)
