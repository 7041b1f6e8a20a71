"""symnet's estimators beside scikit-learn's own: scores and seconds of `fit`, on the data that come with scikit-learn.

    python -m tests.scores [--seeds 10] [--solver adam] [--cold]

For each data set and seed a quarter of the rows is kept for the score (accuracy, R²), columns are scaled, and both fit
with the same parameters, in turn: ours first for even seeds.  A fit is timed whole; kernels come from the disk cache,
or with --cold, where the cache is empty at first, are compiled in it: `first` is the first fit of a data set, its
compilation included, in milliseconds of the processor; `epochs` and `first` are ours, theirs.  BLAS has one thread, or
as many as it likes with --threads.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import warnings
from contextlib import nullcontext
from typing import Any

import numpy as np
import sklearn
from sklearn import datasets
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import symnet
from symnet.sklearn import SymnetClassifier, SymnetRegressor

# the parameters that are not scikit-learn's defaults: with those a regression on 331 rows is far from done
DATA: dict[str, dict[str, Any]] = {
    "digits": {},
    "iris": {},
    "wine": {},
    "breast_cancer": {},
    "diabetes": {"learning_rate_init": 0.02, "alpha": 1.0},
}
REGRESSION = ("diabetes",)


def measure(name: str, seeds: int, options: dict[str, Any]) -> dict[str, Any]:
    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    ours, theirs = (SymnetRegressor, MLPRegressor) if name in REGRESSION else (SymnetClassifier, MLPClassifier)
    scores: dict[Any, list[float]] = {ours: [], theirs: []}
    seconds: dict[Any, list[float]] = {ours: [], theirs: []}
    processor: dict[Any, list[float]] = {ours: [], theirs: []}
    epochs: dict[Any, list[int]] = {ours: [], theirs: []}
    for seed in range(seeds):
        stratify = None if name in REGRESSION else y
        X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=seed, stratify=stratify)
        scaler = StandardScaler().fit(X_train)
        for kind in (ours, theirs) if seed % 2 == 0 else (theirs, ours):
            estimator = kind(random_state=seed, **options)
            scaled, began, cpu = scaler.transform(X_train), time.perf_counter(), time.process_time()
            estimator.fit(scaled, y_train)
            seconds[kind].append(time.perf_counter() - began)
            processor[kind].append(time.process_time() - cpu)
            epochs[kind].append(estimator.n_iter_)
            scores[kind].append(estimator.score(scaler.transform(X_test), y_test))
    one, other = (np.array(scores[kind]) for kind in (ours, theirs))
    # the first of ours compiles, or loads modules and kernels: apart
    ratios = np.array(seconds[theirs][1:]) / np.array(seconds[ours][1:])
    return {
        "data": name,
        "ours": f"{one.mean():.4f} ± {one.std(ddof=1):.4f}",
        "theirs": f"{other.mean():.4f} ± {other.std(ddof=1):.4f}",
        "difference": f"{(one - other).mean():+.4f} ± {(one - other).std(ddof=1) / np.sqrt(seeds):.4f}",
        "epochs": f"{np.median(epochs[ours]):.0f}, {np.median(epochs[theirs]):.0f}",
        "milliseconds": f"{1e3 * np.median(seconds[ours][1:]):.1f}",
        "times": f"{np.median(ratios):.1f} ({ratios.min():.1f} to {ratios.max():.1f})",
        "first": f"{1e3 * processor[ours][0]:.0f}, {1e3 * processor[theirs][0]:.0f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--solver", default="adam")
    parser.add_argument("--max-iter", type=int, default=200)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--threads", action="store_true")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() if given.cold else nullcontext() as folder:
        if folder:
            os.environ["SYMNET_CACHE"] = folder
        columns = None
        with nullcontext() if given.threads else threadpool_limits(1):
            for name, more in DATA.items():
                row = measure(name, given.seeds, {"solver": given.solver, "max_iter": given.max_iter, **more})
                if columns is None:
                    columns = list(row)
                    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
                print("| " + " | ".join(row.values()) + " |", flush=True)
    print(f"symnet {symnet.__version__}, scikit-learn {sklearn.__version__}, NumPy {np.__version__}")


if __name__ == "__main__":
    main()
