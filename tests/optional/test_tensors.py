"""Tensors of PyTorch as data: those of the processor's memory work, the others are refused with the reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import symnet as sn

X = np.arange(15.0).reshape(5, 3) / 4
LABELS = np.array([0, 1, 2, 1, 0])


@pytest.fixture(scope="module")
def model() -> Any:
    network = sn.Network(input=3, layers=[sn.dense(3)], loss="softmax_cross_entropy")
    return network.compile("adam", "float64", seed=1)


class OnlyDLPack:
    """What any library gives that speaks DLPack alone."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.__dlpack__, self.__dlpack_device__ = tensor.__dlpack__, tensor.__dlpack_device__


def test_tensors_give_the_bits_of_a_plain_array(model: Any) -> None:
    plain = model.predict_proba(X).tobytes(), model.evaluate(X, LABELS)
    x, y = torch.from_numpy(X.copy()), torch.from_numpy(LABELS.copy())
    for given in (x, x.float(), x.half(), x.t().contiguous().t(), torch.stack([x, x], 1)[:, 0], OnlyDLPack(x)):
        for labels in (y, y.to(torch.uint8), OnlyDLPack(y)):
            assert (model.predict_proba(given).tobytes(), model.evaluate(given, labels)) == plain


@pytest.mark.parametrize(
    "tensor",
    [
        torch.ones(5, 3, requires_grad=True),
        torch.ones(5, 3, dtype=torch.bfloat16),
        torch.ones(5, 3, dtype=torch.complex64),
        torch.ones(5, 3).to_sparse(),
        torch.ones(5, 3, device="meta"),
        OnlyDLPack(torch.ones(5, 3, device="meta")),
    ],
)
def test_tensors_that_are_no_arrays_are_refused_with_the_reason(model: Any, tensor: Any) -> None:
    with pytest.raises(sn.SymnetError, match=r"^X: found "):
        model.predict(tensor)
