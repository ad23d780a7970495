"""`python -m core`."""

import gc

# noqa: E402
from core.cli.app import main

# Nothing that imports leave behind is garbage: looking through it again and again takes a tenth of the start.
gc.disable()

gc.enable()
gc.freeze()

main()
