"""net.explain: the chain of reasoning from the loss to a gradient, each step of it evaluated on both sides."""

from dataclasses import replace

import pytest

import symnet as sn
from symnet.cli import main
from symnet.look.sampling import sample

NETWORKS = {
    "softmax": ({"input": 4, "layers": [sn.dense(5, "tanh"), sn.dense(3)], "loss": "softmax_cross_entropy"}, 1e-3),
    "squared": ({"input": 3, "layers": [sn.dense(4, "relu"), sn.dense(2, "logistic")], "loss": "squared_error"}, 0.0),
    "binary": ({"input": 3, "layers": [sn.dense(4, "swish"), sn.dense(1)], "loss": "binary_cross_entropy"}, 1e-2),
    "maxout": ({"input": 3, "layers": [sn.maxout(4), sn.dense(2)], "loss": "huber"}, 0.0),
    "batch norm": ({"input": 3, "layers": [sn.dense(4), sn.batch_norm(), sn.dense(2)], "loss": "squared_error"}, 0.0),
    "windows": ({"input": [5, 2], "layers": [sn.conv1d(2, 3), sn.flatten(), sn.dense(2)], "loss": "huber"}, 0.0),
    "repeated": ({"input": 3, "layers": [sn.dense(3, "tanh", repeat=3), sn.dense(2)], "loss": "squared_error"}, 0.0),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_both_sides_of_each_step_are_equal_on_random_numbers_and_the_last_line_is_the_gradient(name: str) -> None:
    declared, l2 = NETWORKS[name]
    network = sn.Network(**declared, l2=l2)
    for parameter in network.parameters:
        for target in network.targets:
            explanation = network.explain(parameter, target)
            assert explanation.check() < 1e-13, parameter
            assert (
                str(explanation).splitlines()[-1].strip() == str(network.gradient(parameter, target)).splitlines()[-1]
            )


def test_the_steps_name_the_reader_the_local_derivative_the_fact_and_what_it_made_of_the_delta() -> None:
    declared, l2 = NETWORKS["softmax"]
    text = str(sn.Network(**declared, l2=l2).explain("dense1.W", "distribution"))
    for line in (
        "δ2: z2 is read by lse, ℓ",
        "∂a1[n,i]/∂z1[n,i] = 1 - tanh(z1[n,i])²",
        "δ1 = (1 - a1²) ⊙ ∂ℓ/∂a1",
        "∂ℓ/∂lse = 1",
        "δ2 = softmax(z2) - y",
    ):
        assert line in text, line
    assert text.index("∂ℓ/∂lse = 1") < text.index("δ2: z2 is read by") < text.index("δ1: z1 is read by")


def test_a_wrong_step_would_be_found() -> None:
    declared, _ = NETWORKS["softmax"]
    network = sn.Network(**declared)
    steps = network.explain("dense1.W").steps
    (step,) = [s for s in steps if s.tensor.name == "delta1" and s.before is s.after]
    program = step.after
    wrong = program.with_equations(
        replace(e, rhs=1.001 * e.rhs) if e.tensor.name == "delta1" else e for e in program.equations
    )
    assert replace(step, after=wrong).check(sample(network, "labels", 5), 5) > 1e-4


def test_the_command_line_explains_the_parameter_that_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "examples/xor.toml", "out.b"]) == 0
    assert capsys.readouterr().out.startswith("How ∂R/∂out.b is derived")
