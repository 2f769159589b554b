"""A decision tree and a small forest: recursion, masks, dictionaries and scalar comparisons."""


class Tree:
    def __init__(self, np, depth=4, least=5):
        self.np, self.depth, self.least = np, depth, least

    def fit(self, X, y):
        self.classes = self.np.unique(y)
        self.root = self.grow(X, y, 0)
        return self

    def gini(self, y):
        np = self.np
        _, counts = np.unique(y, return_counts=True)
        p = counts / counts.sum()
        return 1.0 - (p**2).sum()

    def grow(self, X, y, depth):
        np = self.np
        if depth == self.depth or len(y) < self.least or (y == y[0]).all():
            values, counts = np.unique(y, return_counts=True)
            return {"leaf": True, "value": values[counts.argmax()], "n": len(y)}
        best = (np.inf, None, None)
        for j in range(X.shape[1]):
            cuts = np.unique(np.quantile(X[:, j], [0.2, 0.4, 0.6, 0.8]))
            for cut in cuts:
                left = X[:, j] <= cut
                n = left.sum()
                if n == 0 or n == len(y):
                    continue
                score = n * self.gini(y[left]) + (len(y) - n) * self.gini(y[~left])
                if score < best[0] - 1e-12:
                    best = (score, j, cut)
        if best[1] is None:
            return {"leaf": True, "value": y[0], "n": len(y)}
        _, j, cut = best
        left = X[:, j] <= cut
        return {
            "leaf": False, "feature": j, "cut": cut,
            "left": self.grow(X[left], y[left], depth + 1),
            "right": self.grow(X[~left], y[~left], depth + 1),
        }

    def predict(self, X):
        out = self.np.empty(len(X), dtype=self.classes.dtype)
        for i, row in enumerate(X):
            node = self.root
            while not node["leaf"]:
                node = node["left"] if row[node["feature"]] <= node["cut"] else node["right"]
            out[i] = node["value"]
        return out

    def leaves(self, node=None):
        node = node or self.root
        if node["leaf"]:
            return [node["n"]]
        return self.leaves(node["left"]) + self.leaves(node["right"])


def main(np, scale=1.0):
    n = max(int(150 * scale), 40)
    rng = np.random.default_rng(8)
    X = rng.normal(size=(n, 4))
    y = ((X[:, 0] > 0) ^ (X[:, 1] > 0.3)).astype(int) + 2 * (X[:, 2] > 1)
    votes = np.zeros((n, 4), dtype=int)
    sizes = []
    for seed in range(3):
        pick = np.random.default_rng(seed).integers(0, n, n)
        tree = Tree(np, depth=3).fit(X[pick], y[pick])
        found = tree.predict(X)
        votes[np.arange(n), found] += 1
        sizes.append(sorted(tree.leaves()))
    winner = votes.argmax(axis=1)
    confusion = np.zeros((4, 4), dtype=int)
    np.add.at(confusion, (y, winner), 1)
    longest = max(map(len, sizes))
    return {
        "winner": winner, "confusion": confusion, "accuracy": np.asarray((winner == y).mean()),
        "sizes": np.array([s + [0] * (longest - len(s)) for s in sizes]),
    }
