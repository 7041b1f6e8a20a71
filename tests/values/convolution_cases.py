"""The layers whose values and gradients are stored in convolution.npz: name -> (shape of the input, kind, options)."""

from __future__ import annotations

from typing import Any

CASES: dict[str, tuple[tuple[int, ...], str, dict[str, Any]]] = {
    "plain": ((6, 7, 3), "conv2d", {"units": 4, "size": 3}),
    "padded": ((5, 6, 2), "conv2d", {"units": 3, "size": 3, "padding": 1}),
    "strided": ((7, 6, 2), "conv2d", {"units": 3, "size": [3, 2], "stride": 2, "padding": [1, 1]}),
    "dilated": ((8, 9, 2), "conv2d", {"units": 3, "size": [3, 2], "dilation": [2, 3], "padding": [2, 1]}),
    "grouped": ((5, 5, 4), "conv2d", {"units": 6, "size": 3, "groups": 2, "padding": 1}),
    "depthwise": ((5, 6, 3), "conv2d", {"units": 3, "size": 3, "groups": 3, "padding": 1, "stride": [1, 2]}),
    "multiplied": ((5, 5, 2), "conv2d", {"units": 6, "size": 2, "groups": 2}),
    "everything": (
        (9, 8, 4),
        "conv2d",
        {"units": 4, "size": [3, 2], "stride": [2, 3], "padding": [2, 1], "dilation": [2, 1], "groups": 2},
    ),
    "pointwise": ((4, 5, 3), "conv2d", {"units": 5, "size": 1}),
    "without_bias": ((5, 5, 2), "conv2d", {"units": 3, "size": 3, "bias": False}),
    "whole": ((4, 5, 2), "conv2d", {"units": 3, "size": [4, 5]}),
    "sequence": ((11, 3), "conv1d", {"units": 4, "size": 5, "padding": 2}),
    "sequence_strided": ((13, 4), "conv1d", {"units": 6, "size": 3, "stride": 2, "dilation": 2, "groups": 2}),
    "max": ((6, 6, 3), "max_pool2d", {"size": 2}),
    "max_overlapping": ((7, 6, 2), "max_pool2d", {"size": 3, "stride": 2, "padding": 1}),
    "max_sequence": ((9, 3), "max_pool1d", {"size": 3, "stride": 1, "padding": 1}),
    "average": ((6, 4, 3), "average_pool2d", {"size": 2}),
    "average_overlapping": ((7, 6, 2), "average_pool2d", {"size": 3, "stride": 2, "padding": 1}),
    "average_sequence": ((9, 3), "average_pool1d", {"size": 3, "stride": 2, "padding": 1}),
    "average_global": ((4, 3, 5), "average_pool2d", {"size": "global"}),
}
SAMPLES = 2
