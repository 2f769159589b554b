"""Cellular automata on integers and masks: np.roll, padding, lookup tables, histograms of patterns."""
import numpy as np


def neighbours(board):
    total = np.zeros(board.shape, dtype=np.int8)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            if dy or dx:
                total += np.roll(np.roll(board, dy, axis=0), dx, axis=1)
    return total


def life(board):
    n = neighbours(board)
    return ((n == 3) | (board.astype(bool) & (n == 2))).astype(board.dtype)


def rule(number, width, steps):
    table = np.array([number >> k & 1 for k in range(8)], dtype=np.uint8)
    rows = np.zeros((steps, width), np.uint8)
    rows[0, width // 2] = 1
    for t in range(1, steps):
        p = np.pad(rows[t - 1], 1, mode="wrap")
        rows[t] = table[p[:-2] << 2 | p[1:-1] << 1 | p[2:]]
    return rows


def components(board):
    labels = np.where(board > 0, np.arange(board.size).reshape(board.shape) + 1, 0)
    while True:
        new = labels.copy()
        for axis in (0, 1):
            for shift in (-1, 1):
                np.maximum(new, np.roll(labels, shift, axis), out=new, where=board > 0)
        if (new == labels).all():
            return labels
        labels = new


def main():
    rng = np.random.default_rng(5)
    board = (rng.random((24, 30)) < 0.35).astype(np.int8)
    board[2:5, 2:5] = [[0, 1, 0], [0, 0, 1], [1, 1, 1]]
    alive, ages = [], np.zeros(board.shape, int)
    for _ in range(30):
        board = life(board)
        ages += board
        ages[board == 0] = 0
        alive.append(int(board.sum()))
    labels = components(board)
    names, sizes = np.unique(labels[labels > 0], return_counts=True)
    blocks = np.lib.stride_tricks.sliding_window_view(board, (2, 2))
    codes = (blocks * np.array([[1, 2], [4, 8]])).sum(axis=(2, 3))
    wave = rule(110, 41, 20)
    return {"board": board, "ages": ages, "alive": np.array(alive), "sizes": np.sort(sizes)[::-1],
            "codes": np.bincount(codes.ravel(), minlength=16), "rule": wave, "packed": np.packbits(wave, axis=1),
            "rows": np.flatnonzero(board.any(axis=1)), "first": np.argwhere(board)[:3]}
