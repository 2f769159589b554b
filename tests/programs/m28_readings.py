"""Readings with dates, gaps and text: structured arrays, datetime64, rolling windows, nan functions."""
from dataclasses import dataclass, field

import numpy as np

KIND = np.dtype([("day", "M8[D]"), ("station", "U3"), ("value", "f8"), ("flag", "i1")])


@dataclass
class Summary:
    name: str
    mean: float
    worst: object
    curve: object = field(default_factory=list)

    @property
    def label(self):
        return f"{self.name}: {self.mean:.3f} ({self.worst})"


def readings(n):
    rng = np.random.default_rng(17)
    out = np.zeros(n, dtype=KIND)
    out["day"] = np.datetime64("2023-01-30") + np.arange(n) // 3
    out["station"] = np.array(["abc", "de", "f"])[np.arange(n) % 3]
    out["value"] = 10 + 5 * np.sin(np.arange(n) / 20) + rng.normal(size=n)
    out["value"][rng.integers(0, n, n // 9)] = np.nan
    out["flag"] = rng.integers(-1, 2, n)
    return out


def rolling(x, width):
    windows = np.lib.stride_tricks.sliding_window_view(x, width)
    return np.nanmean(windows, axis=1), np.nanmax(windows, axis=1)


def fill(x):
    bad = np.isnan(x)
    place = np.arange(len(x))
    y = x.copy()
    y[bad] = np.interp(place[bad], place[~bad], x[~bad])
    return y


def main():
    data = readings(180)
    data = data[data["flag"] >= 0]
    out, summaries = {}, []
    for name in np.unique(data["station"]):
        part = data[data["station"] == name]
        x = part["value"]
        mean, top = rolling(fill(x), 5)
        z = (x - np.nanmean(x)) / np.nanstd(x)
        worst = part["day"][np.nanargmax(np.abs(z))]
        summaries.append(Summary(str(name), float(np.nanmedian(x)), worst, mean - top))
        out["curve_" + str(name)] = summaries[-1].curve
        out["z_" + str(name)] = z
    months = data["day"].astype("M8[M]")
    names, where = np.unique(months, return_inverse=True)
    sums = np.zeros(len(names))
    np.add.at(sums, where, np.nan_to_num(data["value"]))
    gaps = np.diff(data["day"])
    out["months"], out["sums"] = names, sums
    out["gap"] = gaps.max()
    out["weekend"] = np.asarray((data["day"].astype(int) % 7 >= 5).mean())
    out["labels"] = np.array([s.label for s in summaries])
    out["order"] = np.argsort(data, order=("station", "day"))[:10]
    out["late"] = data["day"][np.searchsorted(data["day"], np.datetime64("2023-02-15")):][:4]
    return out
