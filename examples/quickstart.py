"""Ridge regression over 50 penalties: the plain loop, the traced loop, and what lima knows after.

Run it as `python examples/quickstart.py`.
"""

import time

import numpy as np

import lima


@lima.traced
def lm(X, y, reg):
    A = X.T @ X + reg * np.eye(X.shape[1])
    return np.linalg.solve(A, X.T @ y)


def main() -> None:
    rng = np.random.default_rng(7)
    X = rng.normal(size=(100_000, 100))
    y = X @ rng.normal(size=100) + rng.normal(size=100_000)
    regs = np.logspace(-6, 3, 50)

    start = time.perf_counter()
    plain = [lm.__wrapped__(X, y, reg) for reg in regs]
    plain_seconds = time.perf_counter() - start

    start = time.perf_counter()
    traced = [lm(X, y, reg) for reg in regs]  # X'X and X'y are computed once
    traced_seconds = time.perf_counter() - start

    difference = max(float(np.max(np.abs(a - b))) for a, b in zip(plain, traced))
    print(f"plain {plain_seconds:.2f} s, traced {traced_seconds:.2f} s, difference {difference:g}")

    beta = traced[-1]
    print("\nHow beta was made, as a lineage log:\n")
    print(lima.lineage(beta).log())
    print("\nThe same as a NumPy program:\n")
    print(lima.to_python(beta))
    print("\nWhat was reused, and why:\n")
    print(lima.explain(beta))


if __name__ == "__main__":
    main()
