"""Values of embedding, attention and a transformer block from PyTorch: makes attention.npz, where torch is installed.

Each case has the data, the parameters by symnet's names, the loss, and the gradients; squared error unless said.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

torch.set_default_dtype(torch.float64)
ROWS, TIME, WIDTH, HEADS = 4, 5, 6, 2


def attention_names(module: nn.MultiheadAttention) -> dict[str, tuple]:
    """symnet's name -> how it is taken out of PyTorch's parameters, and its shape."""
    head = (HEADS, WIDTH // HEADS)
    names = {"Wo": ("out_proj.weight", slice(None), (WIDTH, *head)), "bo": ("out_proj.bias", slice(None), (WIDTH,))}
    for place, letter in enumerate("qkv"):
        part = slice(place * WIDTH, (place + 1) * WIDTH)
        names[f"W{letter}"] = ("in_proj_weight", part, (*head, WIDTH))
        names[f"b{letter}"] = ("in_proj_bias", part, head)
    return names


def attention_case(rng, causal, length):
    module = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    names = {f"attention.{k}": v for k, v in attention_names(module).items()}
    x, y = rng.normal(size=(ROWS, TIME, WIDTH)), rng.normal(size=(ROWS, TIME, WIDTH))
    hidden = torch.triu(torch.ones(TIME, TIME, dtype=torch.bool), 1) if causal else None
    padding = None if length is None else torch.arange(TIME) >= torch.tensor(length)[:, None]

    def loss():
        t = torch.tensor(x)
        out, _ = module(t, t, t, attn_mask=hidden, key_padding_mask=padding, need_weights=False)
        return ((out - torch.tensor(y)) ** 2).mean()

    return module, names, loss, {"X": x, "y": y} | ({} if length is None else {"length": length})


def cross_case(rng):
    module = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    names = {f"attention.{k}": v for k, v in attention_names(module).items()}
    x, m, y = (rng.normal(size=(ROWS, n, WIDTH)) for n in (TIME, 3, TIME))

    def loss():
        t = torch.tensor(m)
        return ((module(torch.tensor(x), t, t, need_weights=False)[0] - torch.tensor(y)) ** 2).mean()

    return module, names, loss, {"X": x, "m": m, "y": y}


def transformer_case(rng):
    symbols = 7
    block = nn.TransformerEncoderLayer(
        WIDTH, HEADS, 9, dropout=0.0, activation="gelu", batch_first=True, norm_first=True, layer_norm_eps=1e-5
    )
    module = nn.ModuleDict({"embed": nn.Embedding(symbols, WIDTH), "block": block, "out": nn.Linear(WIDTH, symbols)})
    names = {f"block.{k}": (f"block.self_attn.{p}", s, n) for k, (p, s, n) in attention_names(block.self_attn).items()}
    every = slice(None)
    names |= {
        "embed.E": ("embed.weight", every, (symbols, WIDTH)),
        "block.gamma1": ("block.norm1.weight", every, (WIDTH,)), "block.beta1": ("block.norm1.bias", every, (WIDTH,)),
        "block.gamma2": ("block.norm2.weight", every, (WIDTH,)), "block.beta2": ("block.norm2.bias", every, (WIDTH,)),
        "block.W1": ("block.linear1.weight", every, (9, WIDTH)), "block.b1": ("block.linear1.bias", every, (9,)),
        "block.W2": ("block.linear2.weight", every, (WIDTH, 9)), "block.b2": ("block.linear2.bias", every, (WIDTH,)),
        "out.W": ("out.weight", every, (symbols, WIDTH)), "out.b": ("out.bias", every, (symbols,)),
    }  # fmt: skip
    x, y = rng.integers(0, symbols, (ROWS, TIME)), rng.integers(0, symbols, (ROWS, TIME))

    def loss():
        mask = torch.triu(torch.ones(TIME, TIME, dtype=torch.bool), 1)
        z = module["out"](block(module["embed"](torch.tensor(x)), src_mask=mask))
        return functional.cross_entropy(z.reshape(-1, symbols), torch.tensor(y).reshape(-1))

    return module, names, loss, {"X": x, "y": y}


def main() -> None:
    rng, out = np.random.default_rng(11), {}
    torch.manual_seed(0)
    cases = {
        "attention": attention_case(rng, False, None),
        "causal": attention_case(rng, True, None),
        "length": attention_case(rng, False, np.array([5, 1, 3, 2])),
        "cross": cross_case(rng),
        "transformer": transformer_case(rng),
    }
    for case, (module, names, loss, data) in cases.items():
        for parameter in module.parameters():
            parameter.data = torch.tensor(rng.normal(0.2, 0.6, parameter.shape))
        value = loss()
        value.backward()
        found = dict(module.named_parameters())
        for name, (path, part, shape) in names.items():
            out[f"{case}/start/{name}"] = found[path].detach().numpy()[part].reshape(shape)
            out[f"{case}/gradient/{name}"] = found[path].grad.numpy()[part].reshape(shape)
        out |= {f"{case}/{name}": array for name, array in data.items()}
        out[f"{case}/loss"] = value.detach().numpy()
    np.savez_compressed(Path(__file__).parent / "attention.npz", **out)


if __name__ == "__main__":
    main()
