"""The layers whose values and gradients are stored in recurrent.npz: name -> (kind, options, what masks the steps)."""

from __future__ import annotations

from typing import Any

SAMPLES, TIME, FEATURES, UNITS = 3, 5, 2, 4
CASES: dict[str, tuple[str, dict[str, Any], str]] = {
    "elman": ("elman", {}, ""),
    "elman_relu_all": ("elman", {"activation": "relu", "returns": "all"}, ""),
    "elman_backward": ("elman", {"direction": "backward", "initial": "learned"}, ""),
    "elman_both": ("elman", {"direction": "both", "returns": "all"}, ""),
    "elman_given": ("elman", {"direction": "both", "initial": "given"}, "length"),
    "gru": ("gru", {}, ""),
    "gru_all": ("gru", {"returns": "all", "initial": "learned"}, ""),
    "gru_both": ("gru", {"direction": "both", "initial": "learned"}, "mask"),
    "gru_without_bias": ("gru", {"direction": "backward", "bias": False, "initial": "given"}, ""),
    "lstm": ("lstm", {}, ""),
    "lstm_all": ("lstm", {"returns": "all", "initial": "learned"}, ""),
    "lstm_both": ("lstm", {"direction": "both", "initial": "given"}, "length"),
    "lstm_backward": ("lstm", {"direction": "backward", "returns": "all"}, ""),
    "lstm_masked": ("lstm", {"direction": "both", "initial": "learned"}, "mask"),
}
LENGTHS = (5, 2, 3)
