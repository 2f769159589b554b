"""The `lima` command. It knows of lima what a user knows: the public names.

The modules beside this one add their commands to `base.app` when they are imported.
"""

from lima.cli import asking, logs, run, stores
from lima.cli.base import main

__all__ = ["asking", "logs", "main", "run", "stores"]
