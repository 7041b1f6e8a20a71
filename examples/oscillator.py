"""A differential equation solved by a network: u'' + u = 0 with two boundary values, whose solution is sin x.

The loss holds the second derivative of the network by its input.  It is derived as everything else is: the forward
equations are differentiated twice by x, which gives equations for u', u'' in every layer, and the sweep over the
parameters then differentiates these.  The network and the loss are declared in oscillator.toml.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import symnet as sn

net = sn.Network.from_toml(Path(__file__).with_suffix(".toml"))
print(net.gradient("dense3.W"))

X = np.linspace(0, 5, 64)[:, None]
Y = np.zeros((64, 2))
Y[0], Y[-1] = (np.sin(0), 1), (np.sin(5), 1)
STEPS = 20_000
schedule = {"name": "cosine", "steps": STEPS}
model = net.compile({"name": "adam", "learning_rate": 5e-3, "schedule": schedule}, dtype="float64")
history = model.fit(X, Y, epochs=STEPS, batch_size=64)

between = np.linspace(0, 5, 1000)[:, None]
error = np.abs(model.predict(between) - np.sin(between)).max()
print(f"{STEPS} steps in {history.seconds:.1f} s: loss {history[-1].loss:.1e}, largest error {error:.1e}")
assert error < 1e-3
