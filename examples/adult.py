"""UCI Adult: who earns more than 50,000 dollars a year?  Parsing, one-hot and binned designs.

`load` is plain Python.  Everything after it is NumPy, and runs anew for every model of a grid.
"""

import lzma
from pathlib import Path
from typing import NamedTuple

import numpy as np

DATA = Path(__file__).parent / "data"

NUMERIC = {  # name of the attribute: its field in a line
    "age": 0,
    "fnlwgt": 2,
    "education-num": 4,
    "capital-gain": 10,
    "capital-loss": 11,
    "hours-per-week": 12,
}
CATEGORICAL = {
    "workclass": 1,
    "education": 3,
    "marital-status": 5,
    "occupation": 6,
    "relationship": 7,
    "race": 8,
    "sex": 9,
    "native-country": 13,
}
LABEL = 14
FIELDS = 15


class Table(NamedTuple):
    """One of the two files: `numeric` float64 (n, 6), `codes` int64 (n, 8), `label` int64 (n,)."""

    numeric: np.ndarray
    codes: np.ndarray
    label: np.ndarray


class Adult(NamedTuple):
    """The data set.  `categories[j][c]` is the name of code `c` in column `j` of `codes`."""

    train: Table
    test: Table
    categories: tuple[tuple[str, ...], ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of categories of each categorical column."""
        return tuple(len(names) for names in self.categories)


def load(folder: Path = DATA) -> Adult:
    """Read both files; categories are those of train and test, an unknown `?` being one of them.

    >>> data = load()
    >>> data.train.numeric.shape, data.test.codes.shape, data.sizes
    ((32561, 6), (16281, 8), (9, 16, 7, 15, 6, 5, 2, 42))
    """
    train, test = _read(folder / "adult.data.xz"), _read(folder / "adult.test.xz")
    categories = tuple(
        tuple(sorted({row[field] for row in train + test})) for field in CATEGORICAL.values()
    )
    return Adult(_table(train, categories), _table(test, categories), categories)


def _read(path: Path) -> list[list[str]]:
    with lzma.open(path, "rt", encoding="ascii") as lines:
        rows = [line.strip().split(", ") for line in lines]
    return [row for row in rows if len(row) == FIELDS]  # drops the comment and the empty last line


def _table(rows: list[list[str]], categories: tuple[tuple[str, ...], ...]) -> Table:
    codes = [{name: code for code, name in enumerate(names)} for names in categories]
    fields = list(CATEGORICAL.values())
    return Table(
        numeric=np.array([[float(row[f]) for f in NUMERIC.values()] for row in rows]),
        codes=np.array([[code[row[f]] for code, f in zip(codes, fields)] for row in rows]),
        label=np.array([int(row[LABEL].startswith(">50K")) for row in rows]),
    )


def one_hot(codes: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    """Indicator columns of integer codes: (n, len(sizes)) to float64 (n, sum(sizes)).

    >>> one_hot(np.array([[0, 1], [2, 0]]), (3, 2))
    array([[1., 0., 0., 0., 1.],
           [0., 0., 1., 1., 0.]])
    """
    return np.hstack([np.eye(size)[codes[:, j]] for j, size in enumerate(sizes)])


def bin_codes(values: np.ndarray, low: float, high: float, num_bins: int) -> np.ndarray:
    """Equi-width bins of [low, high] numbered from 0; values outside go to the nearest bin.

    >>> bin_codes(np.array([-1.0, 0.0, 4.9, 5.0, 10.0]), 0.0, 10.0, 2)
    array([0., 0., 0., 1., 1.])
    """
    return np.clip(np.floor((values - low) / (high - low) * num_bins), 0, num_bins - 1)


def binned_one_hot(
    train: np.ndarray, test: np.ndarray, num_bins: int
) -> tuple[np.ndarray, np.ndarray]:
    """Bin every column and one-hot the bins; edges and columns are learnt on `train`.

    Only bins that some training row falls into become columns, so a test row whose bin is empty
    in `train` has zeros there.

    >>> binned_one_hot(np.array([[0.0], [9.0], [1.0]]), np.array([[4.0], [8.0]]), 9)[1]
    array([[0., 0., 0.],
           [0., 0., 1.]])
    """
    blocks, test_blocks = [], []
    for j in range(train.shape[1]):
        low, high = np.min(train[:, j]), np.max(train[:, j])
        codes = bin_codes(train[:, j], low, high, num_bins)
        test_codes = bin_codes(test[:, j], low, high, num_bins)
        occupied = np.unique(codes)
        blocks.append((codes[:, None] == occupied).astype(np.float64))
        test_blocks.append((test_codes[:, None] == occupied).astype(np.float64))
    return np.hstack(blocks), np.hstack(test_blocks)


def one_hot_design(data: Adult) -> tuple[np.ndarray, np.ndarray]:
    """Variant 1, train and test: one-hot categoricals beside the raw numerics (108 columns)."""
    X = np.hstack([one_hot(data.train.codes, data.sizes), data.train.numeric])
    X_test = np.hstack([one_hot(data.test.codes, data.sizes), data.test.numeric])
    return X, X_test


def binned_design(data: Adult, num_bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Variant 2, train and test: one-hot categoricals beside one-hot bins of the numerics."""
    bins, test_bins = binned_one_hot(data.train.numeric, data.test.numeric, num_bins)
    X = np.hstack([one_hot(data.train.codes, data.sizes), bins])
    X_test = np.hstack([one_hot(data.test.codes, data.sizes), test_bins])
    return X, X_test
