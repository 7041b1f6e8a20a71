"""Values and gradients of the layers of recurrent_cases.py by PyTorch, in float64: writes recurrent.npz.

    python -m tests.values.make_recurrent          where PyTorch is installed

Each case: x A', then the layer, then the loss: the mean of the squares over outputs and samples; given initial states
are h0 A_h0' and c0 A_c0'.  PyTorch has two biases: its b_hh is 0 here, but for the candidate of a GRU, where it is c.
Sequences of different lengths are packed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from .recurrent_cases import CASES, FEATURES, LENGTHS, SAMPLES, TIME, UNITS

KINDS = {"elman": (nn.RNN, 1, ("h",)), "gru": (nn.GRU, 3, ("h",)), "lstm": (nn.LSTM, 4, ("h", "c"))}


def run(name: str, values: dict[str, torch.Tensor]) -> torch.Tensor:
    kind, options, masked = CASES[name]
    network, gates, states = KINDS[kind]
    direction = options.get("direction", "forward")
    tags = ("", "b") if direction == "both" else ("",)
    bias = options.get("bias", True)
    given = {"nonlinearity": options["activation"]} if "activation" in options else {}
    layer = network(
        FEATURES, UNITS, batch_first=True, bias=bias, bidirectional=len(tags) > 1, dtype=torch.float64, **given
    )
    for tag, suffix in zip(tags, ("", "_reverse"), strict=False):
        arrays = {"weight_ih_l0": values[f"W{tag}"], "weight_hh_l0": values[f"U{tag}"]}
        if bias:
            second = torch.zeros(gates, UNITS, dtype=torch.float64)
            if kind == "gru":
                second = torch.stack([second[0], second[1], values[f"c{tag}"]])
            arrays |= {"bias_ih_l0": values[f"b{tag}"], "bias_hh_l0": second}
        for key, value in arrays.items():
            shape = getattr(layer, key + suffix).shape
            delattr(layer, key + suffix)
            setattr(layer, key + suffix, value.reshape(shape))
    layer._flat_weights = [getattr(layer, key) for key in layer._flat_weights_names]
    x = values["x"] @ values["A"].T
    x = x.flip(1) if direction == "backward" else x
    if masked:
        x = pack_padded_sequence(x, torch.tensor(LENGTHS), batch_first=True, enforce_sorted=False)
    initial = [start(values, state, options.get("initial", "zero"), tags) for state in states]
    outputs, last = layer(x, tuple(initial) if kind == "lstm" else initial[0])
    if options.get("returns") == "all":
        return outputs.flip(1) if direction == "backward" else outputs
    last = last[0] if kind == "lstm" else last
    return last.movedim(0, 1).reshape(SAMPLES, -1)


def start(values: dict[str, torch.Tensor], state: str, initial: str, tags: tuple[str, ...]) -> torch.Tensor:
    """(directions, samples, units)"""
    if initial == "learned":
        return torch.stack([values[f"{state}0{tag}"].expand(SAMPLES, UNITS) for tag in tags])
    if initial == "given":
        given = values[f"{state}0"] @ values[f"A_{state}0"].T
        return given.reshape(SAMPLES, len(tags), UNITS).movedim(1, 0).contiguous()
    return torch.zeros(len(tags), SAMPLES, UNITS, dtype=torch.float64)


def main() -> None:
    rng = np.random.default_rng(5)
    arrays: dict[str, np.ndarray] = {}
    for name, (kind, options, _) in CASES.items():
        _, gates, states = KINDS[kind]
        lead = (gates,) if gates > 1 else ()
        tags = ("", "b") if options.get("direction") == "both" else ("",)
        values = {"x": rng.normal(size=(SAMPLES, TIME, FEATURES)), "A": rng.normal(size=(FEATURES, FEATURES))}
        for tag in tags:
            values[f"W{tag}"] = rng.normal(size=(*lead, UNITS, FEATURES))
            values[f"U{tag}"] = rng.normal(size=(*lead, UNITS, UNITS)) / 2
            if options.get("bias", True):
                values[f"b{tag}"] = rng.normal(size=(*lead, UNITS))
                values |= {f"c{tag}": rng.normal(size=UNITS)} if kind == "gru" else {}
            if options.get("initial") == "learned":
                values |= {f"{state}0{tag}": rng.normal(size=UNITS) for state in states}
        if options.get("initial") == "given":
            units = UNITS * len(tags)
            values |= {f"{state}0": rng.normal(size=(SAMPLES, units)) for state in states}
            values |= {f"A_{state}0": rng.normal(size=(units, units)) for state in states}
        data = ("x", "h0", "c0") if options.get("initial") == "given" else ("x",)
        tensors = {key: torch.tensor(value, requires_grad=key not in data) for key, value in values.items()}
        y = run(name, tensors)
        loss = (y**2).mean()
        loss.backward()
        arrays |= {f"{name}:{key}": value for key, value in values.items()}
        arrays |= {f"{name}:d_{key}": tensor.grad.numpy() for key, tensor in tensors.items() if key not in data}
        arrays |= {f"{name}:y": y.detach().numpy(), f"{name}:loss": loss.detach().numpy()}
    np.savez_compressed(Path(__file__).with_name("recurrent.npz"), **arrays)


if __name__ == "__main__":
    main()
