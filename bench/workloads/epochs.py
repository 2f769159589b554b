"""Epochs: mini-batch gradient descent that prepares the features of each batch inside of the loop."""

import numpy as np


def data(rows, numeric, categories, bins, batch, epochs):
    """Numbers of uneven scale, one category for each row, a target, and how to go through them."""
    rng = np.random.default_rng(10)
    X = rng.standard_normal((rows, numeric)) * np.linspace(0.5, 20.0, numeric) + 3.0
    group = rng.integers(0, categories, rows)
    y = np.tanh(X[:, 0]) + 0.1 * group + 0.1 * rng.standard_normal(rows)
    return X, group, y, categories, bins, batch, epochs


def binned(X, edges):
    """The number of the bin of each element; `edges` holds the inner ones of each column."""
    return np.sum(X[:, :, np.newaxis] >= edges, axis=2)


def one_hot(codes, size):
    """A column for each of so many codes, one in it where the code stands."""
    return (codes[:, np.newaxis] == np.arange(size)).astype(float)


def prepare(X, group, edges, mean, sd, categories, bins):
    """The features of a batch: scaled numbers, one column per bin and per category, a constant."""
    codes = binned(X, edges)
    blocks = [(X - mean) / sd]
    for k in range(X.shape[1]):
        blocks.append(one_hot(codes[:, k], bins))
    blocks.append(one_hot(group, categories))
    blocks.append(np.ones((X.shape[0], 1)))
    return np.hstack(blocks)


def plain(X, group, y, categories, bins, batch, epochs):
    """The weights of a least-squares model after so many epochs, and the loss of each epoch."""
    mean, sd = X.mean(axis=0), X.std(axis=0)
    edges = np.quantile(X, np.linspace(0, 1, bins + 1)[1:-1], axis=0).T
    w = np.zeros(X.shape[1] * (bins + 1) + categories + 1)
    losses = []
    for epoch in range(epochs):
        loss = 0.0
        for start in range(0, X.shape[0], batch):
            stop = start + batch
            F = prepare(X[start:stop], group[start:stop], edges, mean, sd, categories, bins)
            error = F @ w - y[start:stop]
            loss = loss + error @ error
            w = w - 0.05 / (1 + epoch) * (F.T @ error) / batch
        losses.append(loss / X.shape[0])
    return w, np.array(losses)


def hand(X, group, y, categories, bins, batch, epochs):
    """As plain; the features of each batch are prepared once, in the first epoch."""
    mean, sd = X.mean(axis=0), X.std(axis=0)
    edges = np.quantile(X, np.linspace(0, 1, bins + 1)[1:-1], axis=0).T
    w = np.zeros(X.shape[1] * (bins + 1) + categories + 1)
    batches = []
    for start in range(0, X.shape[0], batch):
        stop = start + batch
        F = prepare(X[start:stop], group[start:stop], edges, mean, sd, categories, bins)
        batches.append((F, y[start:stop]))
    losses = []
    for epoch in range(epochs):
        loss = 0.0
        for F, target in batches:
            error = F @ w - target
            loss += error @ error
            w = w - 0.05 / (1 + epoch) * (F.T @ error) / batch
        losses.append(loss / X.shape[0])
    return w, np.array(losses)
