"""`python -m core`."""

import gc

from core.encoding import start_in_utf8

start_in_utf8()
# Nothing that imports leave behind is garbage: looking through it again and again takes a tenth of the start.
gc.disable()

from core.cli.app import main  # noqa: E402

gc.enable()
gc.freeze()

main()
