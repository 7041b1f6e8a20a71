"""Models and networks through joblib: files, and processes of loky, that give the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib
import numpy as np

import symnet as sn

X, LABELS = np.arange(30.0).reshape(10, 3) / 10, np.arange(10) % 2
NETWORK = sn.Network(input=3, layers=[sn.dense(4, "tanh"), sn.dense(2)], loss="softmax_cross_entropy")


def trained(seed: int) -> Any:
    model = NETWORK.compile("adam", "float32", seed=seed)
    model.fit(X, LABELS, epochs=2, batch_size=4)
    return model


def goes_on(model: Any) -> bytes:
    model.fit(X, LABELS, epochs=1, batch_size=4)
    return model.predict_proba(X).tobytes()


def test_a_model_in_a_file_of_joblib_comes_back_with_its_bits(tmp_path: Path) -> None:
    for compress in (0, 3):
        joblib.dump(trained(1), tmp_path / "model.joblib", compress=compress)
        assert goes_on(joblib.load(tmp_path / "model.joblib")) == goes_on(trained(1))


def test_arrays_of_a_model_may_be_memory_mapped(tmp_path: Path) -> None:
    joblib.dump(trained(1), tmp_path / "model.joblib")
    assert goes_on(joblib.load(tmp_path / "model.joblib", mmap_mode="r")) == goes_on(trained(1))


def test_processes_train_models_and_give_them_back() -> None:
    models = joblib.Parallel(n_jobs=2)(joblib.delayed(trained)(seed) for seed in range(3))
    assert [goes_on(model) for model in models] == [goes_on(trained(seed)) for seed in range(3)]
    assert joblib.Parallel(n_jobs=2)(joblib.delayed(goes_on)(trained(seed)) for seed in range(3)) == [
        goes_on(trained(seed)) for seed in range(3)
    ]
