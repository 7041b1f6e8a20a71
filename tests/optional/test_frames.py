"""Data frames of pandas: what works has the bits of a plain array; what holds no numbers is refused by its place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import symnet as sn

X = np.arange(15.0).reshape(5, 3) / 4
LABELS = np.array([0, 1, 2, 1, 0])


@pytest.fixture(scope="module")
def model() -> Any:
    network = sn.Network(input=3, layers=[sn.dense(3)], loss="softmax_cross_entropy")
    return network.compile("adam", "float64", seed=1)


def test_frames_and_series_give_the_bits_of_a_plain_array(model: Any) -> None:
    frame = pd.DataFrame(X, columns=list("abc"))
    mixed = frame.assign(a=frame.a.astype("float32"))
    plain = model.predict_proba(X).tobytes(), model.evaluate(X, LABELS)
    for x in (frame, mixed, frame[::-1].iloc[::-1], frame.set_index(LABELS)):
        for y in (LABELS, pd.Series(LABELS), pd.Series(LABELS, dtype="uint8"), pd.DataFrame(LABELS)):
            assert (model.predict_proba(x).tobytes(), model.evaluate(x, y)) == plain


@pytest.mark.parametrize("dtype", ["Int64", "boolean", "Float64"])
def test_nullable_columns_work_or_are_refused_by_their_place(model: Any, dtype: str) -> None:
    whole = pd.DataFrame(np.arange(15).reshape(5, 3) % 2).astype(dtype)
    holed = whole.copy()
    holed.iloc[3, 1] = pd.NA
    with pytest.raises(sn.SymnetError, match=r"X\[3, 1\]: found "):
        model.predict(holed)
    expected = model.predict_proba(np.arange(15.0).reshape(5, 3) % 2)
    try:
        assert model.predict_proba(whole).tobytes() == expected.tobytes()
    except sn.SymnetError as error:
        assert "an array of object" in str(error) and "astype(float)" in str(error)


def test_columns_without_numbers_are_refused(model: Any) -> None:
    frame = pd.DataFrame(X, columns=list("abc"))
    for column, says in (
        (list("vwxyz"), r"X\[0, 1\]: found 'v'"),
        (pd.Categorical(list("vwxyz")), r"X\[0, 1\]: found 'v'"),
        (pd.date_range("2020", periods=5), "X"),
    ):
        with pytest.raises(sn.SymnetError, match=says):
            model.predict(frame.assign(b=column))
    with pytest.raises(sn.SymnetError, match=r"y\[0\]: found 'v'"):
        model.evaluate(frame, pd.Series(list("vwxyz")))
