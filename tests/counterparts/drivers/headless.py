"""Read cohorts with mixpanel-headless: `headless.py FILE COHORT...`, in an environment where it is installed."""

import json
import os
import sys
import tempfile

with open(sys.argv[1], "w") as file, tempfile.TemporaryDirectory() as folder:
    os.environ |= {
        "MP_API_BASE_URL": os.environ["COUNTERPART_URL"],
        "MP_USERNAME": os.environ["COUNTERPART_USERNAME"],
        "MP_SECRET": os.environ["COUNTERPART_SECRET"],
        "MP_PROJECT_ID": os.environ["COUNTERPART_PROJECT"],
        "MP_REGION": "us",
        "MP_CONFIG_PATH": f"{folder}/config.toml",
        "MP_STORAGE_DIR": folder,
        "HOME": folder,
    }
    import mixpanel_headless

    with mixpanel_headless.Workspace() as workspace:
        for cohort in map(int, sys.argv[2:]):
            for row in workspace.stream_profiles(cohort_id=str(cohort), raw=True, include_all_users=False):
                row = {"cohort": cohort, "distinct_id": row["$distinct_id"], "properties": row["$properties"]}
                print(json.dumps(row), file=file)
            print(json.dumps({"cohort": cohort, "read": True}), file=file)
