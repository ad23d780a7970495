"""`python -m core`."""

import gc
import os

from core.encoding import start_in_utf8

start_in_utf8()
# There are none, and looking for them reads the metadata of all that is installed.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
# Nothing that imports leave behind is garbage: looking through it again and again takes a sixth of the start.
gc.disable()

from core.cli.app import main  # noqa: E402


def look_for_garbage() -> None:
    """Begin with it, for all that comes into being from now on."""
    gc.freeze()
    gc.enable()


main(when_loaded=look_for_garbage)
