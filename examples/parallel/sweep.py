"""Widths, activations and learning rates compared on the digits, by processes side by side; then an ensemble.

Needs `pip install ".[sweeps]"`.  Two processes train at a time; of each kind of network one compiles, the others find
its kernels in the cache.  `joblib.parallel_config("dask")` or `("ray")` around the calls runs the same on a cluster.
"""

from pathlib import Path

import numpy as np

import symnet as sn

table = np.loadtxt(Path(__file__).parent.parent / "digits.csv.gz", delimiter=",")
X, y = table[:, :-1] / 16, table[:, -1].astype(int)
train, test = slice(0, 1300), slice(1300, None)


def network(units: int, activation: str) -> sn.Network:
    return sn.Network(64, [sn.dense(units, activation), sn.dense(10)], "softmax_cross_entropy", l2=1e-4)


if __name__ == "__main__":  # processes that are started anew import this file
    grid = {"units": [16, 48], "activation": ["tanh", "swish"], "learning_rate": [1e-3, 1e-2]}
    found = sn.sweep(network, X[train], y[train], grid, seeds=2, folds=2, epochs=15, n_jobs=2)
    print(found)
    for units in grid["units"]:
        accuracies = [row["accuracy"] for row in found if row["units"] == units]
        print(f"{units} units: accuracy {np.mean(accuracies):.3f}, from {min(accuracies):.3f} to {max(accuracies):.3f}")
    best = found.best("accuracy")
    print({name: best[name] for name in ("units", "activation", "learning_rate", "accuracy")})

    chosen = network(best["units"], best["activation"])
    optimizer = {"name": "adam", "learning_rate": best["learning_rate"]}
    several = sn.ensemble(chosen, X[train], y[train], members=5, optimizer=optimizer, epochs=30, n_jobs=2)
    each = [np.mean(model.predict(X[test]) == y[test]) for model in several.models]
    together = np.mean(several.predict(X[test]) == y[test])
    print(f"members: accuracy {np.mean(each):.3f}; together: {together:.3f}")
    assert together >= np.mean(each) > 0.8
