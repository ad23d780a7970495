"""`python -m core`."""

import gc

# Nothing that imports leave behind is garbage: looking through it again and again takes a tenth of the start.
gc.disable()

from core.cli.app import main  # noqa: E402

gc.enable()
gc.freeze()

main()
