"""`python -m lima` is the `lima` command."""

from __future__ import annotations

import sys

from lima.cli import main

sys.exit(main())
