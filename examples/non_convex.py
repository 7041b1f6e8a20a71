"""Optimization of a network is not convex (Qiu, ch. 4.6), shown on the smallest networks.

A saddle point: for  y = w2 tanh(w1 x)  Newton's method on the gradient finds a point where it is 0 and the Hessian has
eigenvalues of both signs.  The Hessian is the one rule applied to its own result: the derived gradient is a set of
equations, and its pullback, carrying along an index for each element of the gradient, is a Hessian.

Minima in several places: exchanging two hidden neurons (and, for an odd function, flipping the signs of one) gives
other parameters with the same risk, while the risk half-way between them is higher.
"""

from __future__ import annotations

import numpy as np

import symnet as sn
from symnet import Index, Program, Tensor

rng = np.random.default_rng(0)
X = rng.uniform(-2, 2, (40, 1))


def network(hidden: int) -> sn.Network:
    layers = [
        sn.dense(hidden, activation="tanh", name="hidden", bias=False),
        sn.dense(1, name="out", bias=False),
    ]
    return sn.Network(input=1, layers=layers, loss="squared_error")


def hessian_program(net: sn.Network) -> Program:
    """Outputs d2R / dv dw for every pair of parameters (v, w), of shape v's shape + w's."""
    first = net.gradients()
    forward_and_backward = (*net.forward, *net.loss().equations, *first.equations)
    equations, outputs = list(forward_and_backward), []
    for name, tensor in net.tensors.items():
        # one unit vector for each element of the gradient: seed[i,j,k,l] = [i = k][j = l]
        seed = Tensor(f"unit_{tensor.name}", (*tensor.shape, *tensor.shape), "constant")
        carry = [Index(letter, extent) for letter, extent in zip("pq", tensor.shape)]
        second = sn.pullback(
            forward_and_backward,
            {first.by_name[name]: seed},
            tuple(net.tensors.values()),
            name=lambda t, tensor=tensor: f"h_{tensor.name}_{t.name}",
            carry=carry,
        )
        equations += second.equations
        outputs += [second.adjoints[other] for other in net.tensors.values()]
    return Program(equations, outputs)


def hessian(net: sn.Network, parameters: dict[str, np.ndarray], Y: np.ndarray) -> np.ndarray:
    """The Hessian of R as a matrix, parameters in the order of the network."""
    program = hessian_program(net)
    values = {tensor.name: parameters[name] for name, tensor in net.tensors.items()}
    units = {
        f"unit_{tensor.name}": np.eye(int(np.prod(tensor.shape))).reshape(*map(int, tensor.shape * 2))
        for tensor in net.tensors.values()
    }
    found = iter(sn.evaluate(program, {**values, **units, "x": X, "y": Y}).values())
    sizes = [value.size for value in parameters.values()]
    return np.block([[next(found).reshape(m, n) for n in sizes] for m in sizes])


def flat(values: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([v.ravel() for v in values.values()])


def unflat(net: sn.Network, vector: np.ndarray) -> dict[str, np.ndarray]:
    found, start = {}, 0
    for name, shape in net.parameters.items():
        found[name] = vector[start : start + int(np.prod(shape))].reshape(shape)
        start += int(np.prod(shape))
    return found


def descend(net: sn.Network, parameters: dict[str, np.ndarray], Y: np.ndarray) -> dict[str, np.ndarray]:
    model = net.compile({"name": "adam", "learning_rate": 0.02}, dtype="float64")
    model.parameters = parameters
    model.prepare(X, Y, batch_size=len(X)).run(5000)
    return dict(model.parameters)


# ------------------------------------------------------------------------------------------ a saddle point
net = network(1)
Y = 1.5 * np.tanh(X)
point = np.array([0.3, 0.2])
for _ in range(20):  # Newton's steps
    gradient = flat(net.value_and_gradient(unflat(net, point), X, Y)[1])
    if abs(gradient).max() < 1e-14:
        break
    point = point - np.linalg.solve(hessian(net, unflat(net, point), Y), gradient)
saddle, at = hessian(net, unflat(net, point), Y), unflat(net, point)
risk, _ = net.value_and_gradient(at, X, Y)
eigenvalues, directions = np.linalg.eigh(saddle)
print(
    f"stationary point w1 = {point[0]:.1e}, w2 = {point[1]:.1e}: |gradient| {abs(gradient).max():.1e}, "
    f"risk {risk:.4f}, eigenvalues of the Hessian {eigenvalues.round(4)}"
)
numerical = sn.numerical_gradient(lambda v: net.value_and_gradient(unflat(net, v), X, Y)[1]["hidden.W"].sum(), point)
assert np.allclose(saddle, saddle.T, atol=1e-14) and np.allclose(saddle[0], numerical.value, atol=1e-8)
assert abs(gradient).max() < 1e-14 and eigenvalues[0] < -0.1 and eigenvalues[1] > 0.1

# down either side of it, to two minima
for sign in (1, -1):
    bottom = flat(descend(net, unflat(net, point + sign * 0.1 * directions[:, 0]), Y))
    print(f"    descent on the one side and the other: w1 = {bottom[0]:+.4f}, w2 = {bottom[1]:+.4f}")
    assert np.allclose(bottom * np.sign(bottom[0]), [1, 1.5], atol=1e-6)
    assert np.linalg.eigvalsh(hessian(net, unflat(net, bottom), Y)).min() > 0

# ------------------------------------------------------------------------------------------ symmetric minima
net = network(2)
Y = 1.5 * np.tanh(2 * X) - np.tanh(0.5 * X)
first = descend(net, net.initial_parameters(seed=3), Y)
exchanged = {"hidden.W": first["hidden.W"][::-1], "out.W": first["out.W"][:, ::-1]}
between = {name: (first[name] + exchanged[name]) / 2 for name in first}
risks = [net.value_and_gradient(p, X, Y)[0] for p in (first, exchanged, between)]
print(f"risk at a minimum {risks[0]:.2e}, with its neurons exchanged {risks[1]:.2e}, half-way {risks[2]:.2e}")
assert not np.allclose(flat(first), flat(exchanged), atol=0.1) and np.isclose(risks[0], risks[1], rtol=1e-9, atol=1e-20)
assert risks[2] > risks[0] + 0.01  # a convex function would be at most the mean of both
