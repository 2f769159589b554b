"""Set-up of the whole test suite: the import path and the Hypothesis profiles."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Last on the path: the installed lima wins over the checkout's, while `bench` and `examples`,
# which are no part of the installed package, can be imported by the tests.
sys.path.append(str(Path(__file__).parents[1]))

# Nearly every test compares bits with plain NumPy, which is what "bitwise" promises; rules that round
# are tested in `test_rules.py`. A rule that fails falls back to the plain operation, except here.
os.environ.setdefault("LIMA_EXACTNESS", "bitwise")
os.environ.setdefault("LIMA_STRICT", "1")

from lima import histories, tasks

# The time of one example says nothing on a shared machine, so no profile has a deadline.
_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("default", max_examples=50, **_COMMON)
settings.register_profile("ci", max_examples=50, derandomize=True, print_blob=True, **_COMMON)
settings.register_profile("thorough", max_examples=2000, **_COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(autouse=True)
def strangers():
    """No test knows by content what another one has made: `np.ones(3)` is a leaf in each."""
    tasks.forget()
    histories.forget()
