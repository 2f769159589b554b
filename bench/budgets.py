"""The budgets lima is held to, as data, and the verdict on each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.paper import RATIOS


@dataclass(frozen=True)
class Budget:
    """An upper limit for one figure.

    ``figure`` is the path to it in the JSON report; ``must`` tells a condition of acceptance from a
    goal. A budget with no path has no measurement here and is reported as such.
    """

    what: str
    figure: tuple[str, ...]
    limit: float
    unit: str = "x"
    must: bool = True


def _over_hand(workload: str, limit: float, must: bool = False) -> Budget:
    path = ("workloads", workload, "ratios", "lima/hand")
    return Budget(f"{workload}: lima over hand-hoisted", path, limit, must=must)


def _over_plain(workload: str, variant: str, limit: float, must: bool = True) -> Budget:
    label = {"trace": "tracing only", "lima": "default session"}[variant]
    path = ("workloads", workload, "ratios", f"{variant}/plain")
    return Budget(f"{workload}: {label} over plain", path, limit, must=must)


def _over_trace(workload: str, ratio: float) -> Budget:
    what = f"{workload}: with reuse over without (reference: {ratio:g} times as fast)"
    return Budget(what, ("workloads", workload, "ratios", "lima/trace"), round(1 / ratio, 4))


def _micro(what: str, name: str, figure: str, limit: float, unit: str) -> Budget:
    return Budget(what, ("micro", name, figure), limit, unit)


BUDGETS = [
    _over_hand("hlm", 1.1, must=True),
    _over_hand("ens", 1.1, must=True),
    _over_hand("hcv", 1.2),
    _over_hand("steplm", 1.5),
    _over_hand("pcalm", 1.2),
    _over_hand("subsets", 1.2),
    _over_hand("epochs", 1.1),
    _over_plain("hl2svm", "lima", 1.03, must=False),
    *[_over_trace(name, ratio) for name, ratio in RATIOS.items()],
    _over_plain("nothing", "trace", 1.03),
    _over_plain("nothing", "lima", 1.03),
    _over_plain("minibatch-32", "trace", 1.15),
    *[_over_plain(name, "lima", 1.2) for name in ("kalman", "metropolis", "lorenz", "learning")],
    _micro("light operator added, 10 elements", "operator", "light_10_us", 1.5, "us"),
    _micro("light operator added, 1000 elements", "operator", "light_1000_us", 1.5, "us"),
    _micro("heavy operator added, probe misses", "operator", "heavy_miss_us", 4.0, "us"),
    _micro("probe of a cached result, 8 B", "probe", "hit_8B_us", 5.0, "us"),
    _micro("probe of a cached result, 1 MB", "probe", "hit_1MB_us", 5.0, "us"),
    _micro("probe of a cached result, 100 MB", "probe", "hit_100MB_us", 5.0, "us"),
    _micro("import of lima over importing NumPy", "startup", "import_s", 0.25, "s"),
    _micro("import of lima loads numba or scipy", "startup", "heavy_modules", 0, "modules"),
    _micro("lineage memory, plain, per operation", "memory", "lineage_bytes", 400, "bytes"),
    _micro("chain of 1e6 operations: wrong results", "chain", "wrong_results", 0, "results"),
    _micro(
        "lineage memory, loop of one patch, per iteration",
        "loop",
        "traced_bytes_per_round",
        64,
        "bytes",
    ),
    _micro(
        "lineage read from a log, one patch, per iteration",
        "loop",
        "read_bytes_per_round",
        64,
        "bytes",
    ),
    _micro("log of a loop of 100,000 rounds", "loop", "log_bytes", 65536, "bytes"),
    _micro("store hit, 100 MB, over np.load", "store", "hit_over_load", 1.3, "x"),
]


def judge(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One record per budget: its figure in this report (or None) and the verdict."""
    return [_judged(budget, _lookup(report, budget.figure)) for budget in BUDGETS]


def _judged(budget: Budget, value: float | None) -> dict[str, Any]:
    return {
        "what": budget.what,
        "value": value,
        "limit": budget.limit,
        "unit": budget.unit,
        "kind": "must" if budget.must else "goal",
        "verdict": _verdict(value, budget.limit),
    }


def _verdict(value: float | None, limit: float) -> str:
    if value is None:
        return "not measured"
    return "met" if value <= limit else "not met"


def _lookup(report: Mapping[str, Any], path: tuple[str, ...]) -> float | None:
    if not path:
        return None
    found: Any = report
    for key in path:
        if not isinstance(found, Mapping) or key not in found:
            return None
        found = found[key]
    return float(found)
