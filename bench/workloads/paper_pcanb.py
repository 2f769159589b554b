"""PCANB: principal components, then naive Bayes on the first K of them, for penalties of Laplace."""

import numpy as np


def data(rows, cols, classes, first, last, laplaces):
    """Correlated columns with a decaying spectrum, labels, the range of K, and the penalties."""
    rng = np.random.default_rng(25)
    spectrum = 0.97 ** np.arange(cols)
    scores = rng.standard_normal((rows, cols)) * spectrum
    labels = (scores[:, :classes] + rng.gumbel(size=(rows, classes))).argmax(axis=1)
    X = scores @ rng.standard_normal((cols, cols))
    return X, labels, classes, first, last, np.logspace(-2, 2, laplaces).tolist()


def pca(X, k):
    """The scores of the rows of X on its first k principal components."""
    centred = X - X.mean(axis=0)
    covariance = centred.T @ centred / (X.shape[0] - 1)
    _, vectors = np.linalg.eigh(covariance)
    return centred @ vectors[:, ::-1][:, :k]


def naive_bayes(P, labels, classes, laplace):
    """Logarithms of the chances of the classes, and of the features within each."""
    members = (labels[:, None] == np.arange(classes)).astype(float)
    sums = members.T @ P + laplace
    counts = members.sum(axis=0)
    return np.log(counts / counts.sum()), np.log(sums / sums.sum(axis=1, keepdims=True))


def accuracy(X, labels, classes, k, laplace):
    """The share of rows that a model on k components assigns to their class."""
    P = pca(X, k)
    P = P - P.min(axis=0)  # naive Bayes of counts takes no negative ones
    prior, chances = naive_bayes(P, labels, classes, laplace)
    return np.mean((P @ chances.T + prior).argmax(axis=1) == labels)


def plain(X, labels, classes, first, last, laplaces):
    """The accuracy for each K of first..last and each penalty."""
    return np.array(
        [
            [accuracy(X, labels, classes, k, laplace) for laplace in laplaces]
            for k in range(first, last + 1)
        ]
    )


def hand(X, labels, classes, first, last, laplaces):
    """As plain; one eigensystem, one projection on the largest K, its sums by class cut to size."""
    centred = X - X.mean(axis=0)
    _, vectors = np.linalg.eigh(centred.T @ centred / (len(X) - 1))
    P = centred @ vectors[:, ::-1][:, :last]
    P -= P.min(axis=0)
    members = (labels[:, None] == np.arange(classes)).astype(float)
    all_sums, counts = members.T @ P, members.sum(axis=0)
    prior = np.log(counts / counts.sum())
    found = np.zeros((last - first + 1, len(laplaces)))
    for row, k in enumerate(range(first, last + 1)):
        part = np.ascontiguousarray(P[:, :k])
        for column, laplace in enumerate(laplaces):
            sums = all_sums[:, :k] + laplace
            chances = np.log(sums / sums.sum(axis=1, keepdims=True))
            found[row, column] = np.mean((part @ chances.T + prior).argmax(axis=1) == labels)
    return found
