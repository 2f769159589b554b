"""The operation table: one row per operation, grouped by what the operations do."""

from lima.ops import (
    callbacks,
    creation,
    elementwise,
    empty,
    index,
    itself,
    linalg,
    mutation,
    parts,
    random,
    reduction,
    solutions,
    sorting,
    structure,
)
from lima.ops.methods import METHODS
from lima.ops.spelling import METADATA, SPELLINGS, spell

__all__ = [
    "METADATA", "METHODS", "SPELLINGS", "spell",
    "callbacks", "creation", "elementwise", "empty", "index", "itself", "linalg", "mutation",
    "parts", "random", "reduction", "solutions", "sorting", "structure",
]  # fmt: skip
