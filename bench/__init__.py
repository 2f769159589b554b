"""Measurements of lima: whole programs, single operations, and the budgets they are held to.

Run ``python -m bench`` from the root of the repository; ``bench/README.md`` says how to read it.
An installed lima is measured, since only that is compiled; without one, the checkout.
"""

import sys

if sys.path[0] == "" or __path__[0].startswith(sys.path[0]):
    sys.path.append(sys.path.pop(0))  # the current directory, where Python looks first
