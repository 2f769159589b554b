"""ENS: random weights for an ensemble of three SVMs and three multinomial regressions, scored."""

import numpy as np


def data(rows, cols, classes, draws):
    """A multi-class problem and six fitted models: noisy copies of the true coefficients.

    An SVM has a column of coefficients per class; a multinomial regression has one less, its last
    class being the reference. The last row of each holds the intercepts.
    """
    rng = np.random.default_rng(6)
    X = rng.standard_normal((rows, cols))
    true = rng.standard_normal((cols + 1, classes)) / np.sqrt(cols)
    scores = X @ true[:-1] + true[-1] + 0.3 * rng.standard_normal((rows, classes))
    noisy = [true + 0.06 * rng.standard_normal(true.shape) for _ in range(6)]
    svms = noisy[:3]
    multinomials = [3.0 * (B[:, :-1] - B[:, -1:]) for B in noisy[3:]]
    return X, scores.argmax(axis=1), svms, multinomials, draws, 7


def softmax(scores):
    """Rows of positive numbers that sum to one."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def svm_probabilities(X, W):
    """Class probabilities from one-against-rest margins."""
    return softmax(X @ W[:-1] + W[-1])


def multinomial_probabilities(X, B):
    """Class probabilities from log-odds against the last class."""
    odds = X @ B[:-1] + B[-1]
    return softmax(np.hstack([odds, np.zeros((X.shape[0], 1))]))


def plain(X, labels, svms, multinomials, draws, seed):
    """The accuracy of each draw of weights, and the best weights."""
    rng = np.random.default_rng(seed)
    accuracies = np.zeros(draws)
    best = np.zeros(len(svms) + len(multinomials))
    for d in range(draws):
        weights = rng.random(len(svms) + len(multinomials))
        weights = weights / weights.sum()
        votes = 0.0
        for i, W in enumerate(svms):
            votes = votes + weights[i] * svm_probabilities(X, W)
        for i, B in enumerate(multinomials):
            votes = votes + weights[len(svms) + i] * multinomial_probabilities(X, B)
        accuracies[d] = np.mean(votes.argmax(axis=1) == labels)
        if accuracies[d] == accuracies[: d + 1].max():
            best = weights
    return accuracies, best


def hand(X, labels, svms, multinomials, draws, seed):
    """As plain; the six matrices of probabilities are computed once."""
    rng = np.random.default_rng(seed)
    models = [svm_probabilities(X, W) for W in svms]
    models += [multinomial_probabilities(X, B) for B in multinomials]
    accuracies, best = np.zeros(draws), np.zeros(len(models))
    for d in range(draws):
        weights = rng.random(len(models))
        weights = weights / weights.sum()
        votes = weights[0] * models[0]
        for weight, probabilities in zip(weights[1:], models[1:], strict=True):
            votes += weight * probabilities
        accuracies[d] = np.mean(votes.argmax(axis=1) == labels)
        if accuracies[d] == accuracies[: d + 1].max():
            best = weights
    return accuracies, best
