"""The only room that speaks HTTP."""

import sys

# httpx loads the command line client that it brings, and rich and click for it, unless that is not there to be
# imported: a fifteenth of the start of a command.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
