"""The experiments of the reference's paper, scaled to a machine of two cores, as rows of programs.

``python -m bench --paper`` runs them: the plain program, the same under lima without reuse
("trace") and with it, and the hand-tuned version. The paper's own ratios over no reuse stand in
`RATIOS`; shapes and numbers are those of its figures 7 and 9.
"""

from bench.rows import TRACE_AND_DEFAULT, Workload

WIDE = {"rows": 100_000, "cols": 100, "width": 15}
SMALL = {"rows": 4_000, "cols": 30, "width": 8}
TINY = {"rows": 320, "cols": 12, "width": 4, "subsets": 2, "regs": 2, "tols": 2}

PAPER = [
    Workload(
        "paper-hlm",  # 10 sets x 6 penalties x 3 intercepts x 5 tolerances of 100K-1M x 100
        "paper_hlm",
        full={**WIDE, "subsets": 10, "regs": 6, "tols": 5},
        quick={**SMALL, "subsets": 4, "regs": 4, "tols": 3},
        tiny=TINY,
        rounds=3,
        plain_rounds=1,
        sessions=TRACE_AND_DEFAULT,
    ),
    Workload(
        "paper-steplm",  # 1,000 candidates, 10K-100K x 500
        "paper_steplm",
        full={"rows": 10_000, "cols": 500, "candidates": 300},
        quick={"rows": 4_000, "cols": 100, "candidates": 20},
        tiny={"rows": 300, "cols": 8, "candidates": 4},
        rounds=2,
        plain_rounds=1,
        sessions=TRACE_AND_DEFAULT,
    ),
    Workload(
        "paper-mlogreg",  # 40 penalties, up to 20 times, 50K x 1K, 6 classes
        "paper_mlogreg",
        full={
            "rows": 5_000,
            "cols": 100,
            "classes": 6,
            "regs": 40,
            "repeats": 20,
            "iterations": 10,
        },
        quick={"rows": 1_000, "cols": 40, "classes": 6, "regs": 8, "repeats": 5, "iterations": 5},
        tiny={"rows": 300, "cols": 6, "classes": 3, "regs": 2, "repeats": 2, "iterations": 3},
        rounds=2,
        plain_rounds=1,
        sessions=TRACE_AND_DEFAULT,
    ),
    Workload(
        "paper-hcv",  # the grid of HLM, in 4 folds
        "paper_hcv",
        full={**WIDE, "subsets": 3, "regs": 6, "tols": 2, "folds": 4},
        quick={**SMALL, "subsets": 2, "regs": 3, "tols": 2, "folds": 4},
        tiny={**TINY, "folds": 4},
        rounds=3,
        plain_rounds=1,
        sessions=TRACE_AND_DEFAULT,
    ),
    Workload(
        "paper-ens",  # six models of 1K columns and 20 classes, 10K rows, 1K-5K draws
        "ens",
        full={"rows": 10_000, "cols": 1_000, "classes": 20, "draws": 60},
        quick={"rows": 2_000, "cols": 200, "classes": 20, "draws": 20},
        tiny={"rows": 200, "cols": 8, "classes": 3, "draws": 6},
        rounds=3,
        plain_rounds=1,
        sessions=TRACE_AND_DEFAULT,
    ),
    Workload(
        "paper-pcalm",  # a tenth of the columns and 1 to 10 more, 10K-100K x 1K
        "pcalm",
        full={"rows": 50_000, "cols": 200, "first": 21, "last": 30},
        quick={"rows": 10_000, "cols": 100, "first": 11, "last": 20},
        tiny={"rows": 300, "cols": 12, "first": 2, "last": 5},
        rounds=3,
        plain_rounds=2,
        sessions=TRACE_AND_DEFAULT,
    ),
    Workload(
        "paper-pcanb",  # 10 numbers of components x 10 penalties, 50K-400K x 1K, 20 classes
        "paper_pcanb",
        full={
            "rows": 50_000,
            "cols": 200,
            "classes": 20,
            "first": 21,
            "last": 30,
            "laplaces": 10,
        },
        quick={
            "rows": 4_000,
            "cols": 60,
            "classes": 8,
            "first": 11,
            "last": 15,
            "laplaces": 4,
        },
        tiny={"rows": 300, "cols": 12, "classes": 3, "first": 2, "last": 4, "laplaces": 2},
        rounds=3,
        plain_rounds=1,
        sessions=TRACE_AND_DEFAULT,
    ),
]

RATIOS = {
    "paper-hlm": 12.4,
    "paper-steplm": 41.0,
    "paper-mlogreg": 24.6,
    "paper-hcv": 5.1,
    "paper-ens": 4.2,
    "paper-pcalm": 5.0,
    "paper-pcanb": 10.0,
}
"""How many times as fast with reuse as without the paper has each of them."""
