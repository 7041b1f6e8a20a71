"""The generated source of a few training steps, line by line, as it was last looked at.

A change of what is derived, of a pass or of the lowering shows here as a difference to read: is it meant, and is it
better?  Then `python -m tests.test_generated` writes the files of tests/golden/generated again.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from compiler.executable import generate
from symnet import Network, dense
from symnet.declare.constructors import (
    attention,
    average_pool1d,
    batch_norm,
    conv1d,
    conv2d,
    dropout,
    elman,
    embedding,
    equations,
    flatten,
    gru,
    layer_norm,
    lstm,
    max_pool2d,
    maxout,
    transformer,
)
from symnet.declare.graph_constructors import graph_attention, graph_conv, message_passing

FOLDER = Path(__file__).parent / "golden" / "generated"
GRAPH = {"A": {"edges": [[0, 1], [1, 2], [2, 0], [1, 3], [3, 1]], "nodes": 4}}
TEXT = [
    "h[n,s,t] = tanh(a*h[n,s-1,t] + b*h[n,s,t+1] + x[n,s,t])",
    "m[n,t] = max(h[n,s,t], s, s <= t)",
    "y[n,i] = sum(W[i,t]*m[n,t], t) + logsumexp(h[n,s,i], s)",
]


def network(name: str) -> tuple[Network, str, str]:
    """The network, an optimizer and a dtype."""
    crossed = "softmax_cross_entropy"
    match name:
        case "dense":
            layers = [dense(64, "relu"), dense(32, "relu"), dense(10)]
            return Network(64, layers, crossed, l2=0.01), "adam", "float32"
        case "tiny":
            layers = [dense(2, "prelu"), batch_norm(), dense(1)]
            return Network(2, layers, "binary_cross_entropy", l1=0.1), "adamw", "float64"
        case "mixed":
            layers = [dense(20, "swish"), layer_norm(), maxout(12, 3), dropout(0.5), dense(5, "gelu"), dense(3)]
            return Network(16, layers, "huber"), "rmsprop", "float32"
        case "elman":
            layers = [elman(16, returns="all", direction="both"), elman(8), dense(4)]
            return Network([9, 8], layers, crossed), "momentum", "float32"
        case "gates":
            inputs = {"x": [6, 3], "m": {"shape": [], "below": 7}}
            layers = [gru(4, returns="all", inputs="x"), lstm(5, inputs=["gru1", "m"]), dense(2)]
            return Network(inputs=inputs, layers=layers), "gradient_descent", "float64"
        case "windows":
            layers = [conv2d(6, 3, "relu", padding="same"), max_pool2d(2), conv2d(4, 2, stride=2), flatten(), dense(3)]
            return Network([8, 8, 2], layers, crossed), "nesterov", "float32"
        case "strides":
            layers = [conv1d(4, 3, "tanh", dilation=2, groups=2), average_pool1d(2, stride=1), flatten(), dense(2)]
            return Network([12, 4], layers, "absolute_error"), "adagrad", "float64"
        case "attention":
            layers = [embedding(11, 8), transformer(2, causal=True, hidden=16), attention(1), dense(11)]
            return Network({"shape": [5], "below": 11}, layers, crossed), "adam", "float32"
        case "graph":
            inner = [graph_conv(6, "relu"), message_passing(4, "max"), graph_attention(3, 2)]
            return Network([4, 5], [*inner, dense(3)], crossed, constants=GRAPH), "adadelta", "float64"
        case "repeated":
            layers = [dense(16, "tanh", repeat=5), dense(3)]
            return Network(16, layers), "gradient_descent", "float32"
        case "text":
            layer = equations(TEXT, parameters={"a": [], "b": [], "W": ["i", "t"]}, sizes={"i": 4})
            return Network([3, 4], [layer]), "nadam", "float64"
    lines = ["u[n] = d(prediction[n,0], x[n,0], x[n,0])", "ell[n] = (u[n] + prediction[n,0])**2"]
    assert name == "derivative", name
    return Network(2, [dense(8, "tanh"), dense(1)], {"equations": lines}), "adam", "float64"


NAMES = (
    "repeated", "strides", "dense", "text", "derivative", "tiny", "windows", "elman", "mixed", "gates", "graph",
    "attention",
)  # fmt: skip


def generated(name: str) -> str:
    made, optimizer, dtype = network(name)
    text, *_ = generate(made.training_program(optimizer), dtype, None, {"N": 32})
    return "\n".join(line for line in text.splitlines() if "sha256" not in line) + "\n"


@pytest.mark.parametrize("name", NAMES)
def test_the_generated_source_is_the_one_that_was_looked_at(name: str) -> None:
    expected = (FOLDER / f"{name}.txt").read_text()
    assert generated(name) == expected, "`python -m tests.test_generated` writes it again: read the difference"


@pytest.mark.parametrize("name", ["windows", "elman"])
def test_what_is_computed_in_float64_at_the_start_shares_no_name_with_the_loops(name: str) -> None:
    """A name has one type: with the same numbers in both, kernels of float32 would not compile."""
    found = re.findall(r"^    (\w+) = \(+s[a-z]\d+\b", (FOLDER / f"{name}.txt").read_text(), re.MULTILINE)
    assert found and all(re.fullmatch(r"s[a-z]\d+", each) for each in found)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for each in NAMES:
        (FOLDER / f"{each}.txt").write_text(generated(each))
