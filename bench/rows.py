"""What is measured, as data: one row per workload and one per micro-measurement."""

from collections.abc import Mapping
from dataclasses import dataclass, field

Shape = Mapping[str, int]
Options = Mapping[str, object]

DEFAULT: Mapping[str, Options] = {"lima": {}}
"""The default session, under the name its variant has in every table."""

TRACE_AND_DEFAULT: Mapping[str, Options] = {"trace": {"reuse": "none"}, "lima": {}}
"""Tracing alone beside the default session: what a program pays that has nothing to reuse."""


@dataclass(frozen=True)
class Workload:
    """One program at three sizes, and how often to run it.

    ``rounds`` is how often every variant runs, ``plain_rounds`` how often the plain program does:
    fewer where it is so much slower that its ratio is clear. ``sessions`` names the lima variants
    and the options of their sessions.
    """

    name: str
    module: str
    full: Shape
    quick: Shape
    tiny: Shape
    rounds: int = 5
    plain_rounds: int = 3
    sessions: Mapping[str, Options] = field(default_factory=lambda: DEFAULT)


WORKLOADS = [
    Workload(
        "hlm",
        "hlm",
        full={"rows": 100_000, "cols": 60, "regs": 8, "tols": 3},
        quick={"rows": 20_000, "cols": 60, "regs": 8, "tols": 3},
        tiny={"rows": 400, "cols": 6, "regs": 3, "tols": 2},
    ),
    Workload(
        "hcv",
        "hcv",
        full={"rows": 100_000, "cols": 100, "folds": 8, "regs": 10},
        quick={"rows": 20_000, "cols": 60, "folds": 8, "regs": 10},
        tiny={"rows": 320, "cols": 8, "folds": 4, "regs": 3},
    ),
    Workload(
        "steplm",
        "steplm",
        full={"rows": 50_000, "cols": 60, "steps": 10},
        quick={"rows": 10_000, "cols": 40, "steps": 10},
        tiny={"rows": 300, "cols": 8, "steps": 4},
    ),
    Workload(
        "pcalm",
        "pcalm",
        full={"rows": 50_000, "cols": 200, "first": 21, "last": 30},
        quick={"rows": 10_000, "cols": 100, "first": 11, "last": 20},
        tiny={"rows": 300, "cols": 12, "first": 2, "last": 5},
    ),
    Workload(
        "hl2svm",
        "hl2svm",
        full={"rows": 50_000, "cols": 100, "regs": 5, "iterations": 20},
        quick={"rows": 10_000, "cols": 50, "regs": 5, "iterations": 20},
        tiny={"rows": 300, "cols": 6, "regs": 2, "iterations": 5},
    ),
    Workload(
        "ens",
        "ens",
        full={"rows": 20_000, "cols": 100, "classes": 5, "draws": 200},
        quick={"rows": 5_000, "cols": 100, "classes": 5, "draws": 100},
        tiny={"rows": 200, "cols": 8, "classes": 3, "draws": 6},
        plain_rounds=2,
    ),
    Workload(
        "subsets",
        "subsets",
        full={"rows": 100_000, "cols": 100, "width": 15, "subsets": 15, "regs": 10, "tols": 3},
        quick={"rows": 20_000, "cols": 100, "width": 15, "subsets": 5, "regs": 5, "tols": 2},
        tiny={"rows": 300, "cols": 12, "width": 4, "subsets": 3, "regs": 2, "tols": 2},
        plain_rounds=1,
    ),
    Workload(
        "epochs",
        "epochs",
        full={
            "rows": 100_000,
            "numeric": 20,
            "categories": 50,
            "bins": 10,
            "batch": 5000,
            "epochs": 20,
        },
        quick={
            "rows": 10_000,
            "numeric": 10,
            "categories": 20,
            "bins": 10,
            "batch": 1000,
            "epochs": 10,
        },
        tiny={"rows": 120, "numeric": 3, "categories": 4, "bins": 3, "batch": 40, "epochs": 3},
    ),
    Workload(
        "minibatch-8",
        "minibatch",
        full={"batch": 8, "cols": 784, "batches": 2000},
        quick={"batch": 8, "cols": 784, "batches": 400},
        tiny={"batch": 8, "cols": 28, "batches": 5},
        rounds=7,
        plain_rounds=7,
        sessions=TRACE_AND_DEFAULT,
    ),
    Workload(
        "minibatch-32",
        "minibatch",
        full={"batch": 32, "cols": 784, "batches": 1000},
        quick={"batch": 32, "cols": 784, "batches": 200},
        tiny={"batch": 32, "cols": 28, "batches": 5},
        rounds=7,
        plain_rounds=7,
        sessions=TRACE_AND_DEFAULT,
    ),
    Workload(
        "minibatch-128",
        "minibatch",
        full={"batch": 128, "cols": 784, "batches": 250},
        quick={"batch": 128, "cols": 784, "batches": 50},
        tiny={"batch": 128, "cols": 28, "batches": 5},
        rounds=7,
        plain_rounds=7,
        sessions=TRACE_AND_DEFAULT,
    ),
    Workload(
        "chain",
        "elementwise",
        full={"size": 5_000_000},
        quick={"size": 1_000_000},
        tiny={"size": 20_000},
        sessions=TRACE_AND_DEFAULT,
    ),
    Workload(
        "nothing",
        "nothing_to_reuse",
        full={"rows": 5000, "cols": 100, "blocks": 40},
        quick={"rows": 5000, "cols": 100, "blocks": 8},
        tiny={"rows": 40, "cols": 6, "blocks": 3},
        rounds=7,
        plain_rounds=7,
        sessions=TRACE_AND_DEFAULT,
    ),
    Workload(
        "kalman",
        "kalman",
        full={"steps": 5000},
        quick={"steps": 1000},
        tiny={"steps": 20},
        plain_rounds=5,
    ),
    Workload(
        "metropolis",
        "metropolis",
        full={"steps": 10000},
        quick={"steps": 2000},
        tiny={"steps": 30},
        plain_rounds=5,
    ),
    Workload(
        "lorenz",
        "lorenz",
        full={"steps": 3000},
        quick={"steps": 600},
        tiny={"steps": 20},
        plain_rounds=5,
    ),
    Workload(
        "learning",
        "learning",
        full={"steps": 50000},
        quick={"steps": 10000},
        tiny={"steps": 50},
        plain_rounds=5,
    ),
    Workload(
        "svm",
        "hl2svm",
        full={"rows": 50_000, "cols": 200, "regs": 5, "iterations": 20},
        quick={"rows": 10_000, "cols": 100, "regs": 3, "iterations": 10},
        tiny={"rows": 300, "cols": 6, "regs": 2, "iterations": 5},
    ),
    Workload(
        "logistic",
        "logistic",
        full={"rows": 100_000, "cols": 100, "iterations": 8},
        quick={"rows": 40_000, "cols": 60, "iterations": 4},
        tiny={"rows": 300, "cols": 6, "iterations": 3},
    ),
    Workload(
        "irls",
        "irls",
        full={"rows": 100_000, "cols": 50, "iterations": 8},
        quick={"rows": 40_000, "cols": 40, "iterations": 4},
        tiny={"rows": 300, "cols": 6, "iterations": 3},
    ),
    Workload(
        "lasso",
        "lasso",
        full={"rows": 50_000, "cols": 200, "regs": 5, "iterations": 30},
        quick={"rows": 20_000, "cols": 100, "regs": 3, "iterations": 10},
        tiny={"rows": 300, "cols": 20, "regs": 2, "iterations": 5},
    ),
    Workload(
        "kmeans",
        "kmeans",
        full={"rows": 200_000, "cols": 20, "k": 20, "iterations": 10},
        quick={"rows": 50_000, "cols": 20, "k": 20, "iterations": 4},
        tiny={"rows": 300, "cols": 4, "k": 3, "iterations": 3},
    ),
    Workload(
        "kmeans-direct",
        "kmeans_direct",
        full={"rows": 200_000, "cols": 20, "k": 20, "iterations": 3},
        quick={"rows": 50_000, "cols": 20, "k": 20, "iterations": 2},
        tiny={"rows": 300, "cols": 4, "k": 3, "iterations": 3},
    ),
    Workload(
        "gmm",
        "gmm",
        full={"rows": 100_000, "cols": 10, "k": 8, "iterations": 10},
        quick={"rows": 40_000, "cols": 10, "k": 8, "iterations": 4},
        tiny={"rows": 300, "cols": 3, "k": 2, "iterations": 3},
    ),
    Workload(
        "networks",
        "networks",
        full={
            "rows": 10_240,
            "cols": 784,
            "hidden": 128,
            "classes": 10,
            "batch": 256,
            "epochs": 2,
        },
        quick={
            "rows": 2_560,
            "cols": 784,
            "hidden": 64,
            "classes": 10,
            "batch": 256,
            "epochs": 2,
        },
        tiny={"rows": 96, "cols": 20, "hidden": 6, "classes": 3, "batch": 32, "epochs": 2},
    ),
    *[
        Workload(
            f"chain-{length}",
            "chains",
            full={"size": 10_000_000, "length": length},
            quick={"size": 1_000_000, "length": length},
            tiny={"size": 20_000, "length": length},
        )
        for length in (5, 10, 15)
    ],
]


@dataclass(frozen=True)
class Micro:
    """One function of ``bench.micro`` that returns figures by name, and its sizes."""

    name: str
    full: Shape
    quick: Shape


MICROS = [
    Micro("operator", {"loops": 2000, "rounds": 9}, {"loops": 500, "rounds": 5}),
    Micro("probe", {"loops": 500, "rounds": 9}, {"loops": 100, "rounds": 5}),
    Micro("store", {"rows": 3540, "rounds": 9}, {"rows": 1120, "rounds": 3}),
    Micro("startup", {"runs": 9}, {"runs": 3}),
    Micro("memory", {"operations": 100_000}, {"operations": 20_000}),
    Micro("loop", {"rounds": 100_000}, {"rounds": 2_000}),
    Micro("chain", {"operations": 1_000_000}, {"operations": 50_000}),
]
