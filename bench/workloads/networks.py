"""An autoencoder and a classifier of two layers, trained in batches."""

import numpy as np


def data(rows, cols, hidden, classes, batch, epochs):
    """Images of so many pixels between 0 and 1, their classes, and weights to begin with."""
    rng = np.random.default_rng(16)
    label = rng.integers(classes, size=rows)
    X = rng.random((classes, cols))[label] * 0.7 + 0.3 * rng.random((rows, cols))
    first = rng.standard_normal((cols, hidden)) / np.sqrt(cols)
    back = rng.standard_normal((hidden, cols)) / np.sqrt(hidden)
    second = rng.standard_normal((hidden, classes)) / np.sqrt(hidden)
    return X, label, first, back, second, batch, epochs


def softmax(scores):
    """Rows of positive numbers that sum to one."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def autoencoder(X, W, V, batch, epochs, rate):
    """Weights of an encoder and a decoder, by gradients with momentum, and the last losses."""
    a, b = np.zeros(W.shape[1]), np.zeros(V.shape[1])
    dW, dV = np.zeros_like(W), np.zeros_like(V)
    losses = []
    for _ in range(epochs):
        total = 0.0
        for start in range(0, len(X), batch):
            x = X[start : start + batch]
            h = np.tanh(x @ W + a)
            out = 1.0 / (1.0 + np.exp(-(h @ V + b)))
            error = out - x
            total += (error**2).mean()
            d_out = error * out * (1.0 - out) / len(x)
            d_h = (d_out @ V.T) * (1.0 - h**2)
            dV = 0.9 * dV + h.T @ d_out
            dW = 0.9 * dW + x.T @ d_h
            V = V - rate * dV
            W = W - rate * dW
            b = b - rate * d_out.sum(axis=0)
            a = a - rate * d_h.sum(axis=0)
        losses.append(total)
    return W, V, losses


def classifier(X, label, W, V, batch, epochs, rate):
    """Weights of a network with one hidden layer, by gradients, and the loss of each epoch."""
    a, b = np.zeros(W.shape[1]), np.zeros(V.shape[1])
    target = np.eye(V.shape[1])[label]
    losses = []
    for _ in range(epochs):
        total = 0.0
        for start in range(0, len(X), batch):
            x, t = X[start : start + batch], target[start : start + batch]
            h = np.maximum(x @ W + a, 0.0)
            p = softmax(h @ V + b)
            total -= np.log(p[t == 1.0]).mean()
            d_out = (p - t) / len(x)
            d_h = (d_out @ V.T) * (h > 0)
            V = V - rate * (h.T @ d_out)
            W = W - rate * (x.T @ d_h)
            b = b - rate * d_out.sum(axis=0)
            a = a - rate * d_h.sum(axis=0)
        losses.append(total)
    return W, V, losses


def plain(X, label, first, back, second, batch, epochs):
    """Both, on the same images."""
    return (
        autoencoder(X, first, back, batch, epochs, 0.5),
        classifier(X, label, first, second, batch, epochs, 0.1),
    )


hand = None
