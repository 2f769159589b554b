"""Naive Bayes on made-up words: dictionaries, counting, logarithms, sorting by array scalars."""
import itertools

import numpy as np

WORDS = ["spam", "offer", "money", "dear", "meeting", "report", "lunch", "cheap"]


class Bayes:
    alpha = 1.0

    def __init__(self, words):
        self.index = {w: i for i, w in enumerate(words)}

    def counts(self, texts):
        X = np.zeros((len(texts), len(self.index)))
        for row, text in zip(X, texts):
            for word in text.split():
                row[self.index[word]] += 1
        return X

    def fit(self, texts, y):
        X = self.counts(texts)
        self.classes_, which = np.unique(y, return_inverse=True)
        one_hot = np.eye(len(self.classes_))[which]
        self.prior_ = np.log(one_hot.mean(axis=0))
        totals = one_hot.T @ X + self.alpha
        self.table_ = np.log(totals) - np.log(totals.sum(axis=1, keepdims=True))
        return self

    def scores(self, texts):
        s = self.counts(texts) @ self.table_.T + self.prior_
        s -= s.max(axis=1, keepdims=True)
        p = np.exp(s)
        p /= p.sum(axis=1, keepdims=True)
        return p

    def predict(self, texts):
        return self.classes_[self.scores(texts).argmax(axis=1)]

    def telling(self, k):
        ratio = self.table_[1] - self.table_[0]
        words = list(self.index)
        return sorted(words, key=lambda w: -ratio[self.index[w]])[:k]


def main():
    rng = np.random.default_rng(4)
    texts, y = [], []
    for _ in range(60):
        label = int(rng.random() < 0.4)
        p = np.r_[np.full(4, 4.0 if label else 1.0), np.ones(4)]
        p /= p.sum()
        texts.append(" ".join(rng.choice(WORDS, size=rng.integers(3, 9), p=p)))
        y.append(label)
    y = np.array(y)
    accuracy, models = {}, {}
    for alpha, part in itertools.product((0.1, 1.0, 10.0), (slice(0, 40), slice(20, 60))):
        model = Bayes(WORDS)
        model.alpha = alpha
        model.fit(texts[part], y[part])
        accuracy[alpha, part.start] = (model.predict(texts) == y).mean()
        models[accuracy[alpha, part.start]] = model
    best = models[max(models)]
    n = np.bincount(y, minlength=2)
    return {"accuracy": np.array(list(accuracy.values())), "table": best.table_, "telling": np.array(best.telling(3)),
            "p": best.scores(texts[:5]), "n": n, "mean": np.asarray(sum(y) / len(y)), "kinds": best.classes_}
