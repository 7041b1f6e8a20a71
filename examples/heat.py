"""The heat equation u_t = c u_xx on a rod, by a network u(t, x) that never sees the solution inside.

It is told the temperature at the beginning, u(0, x) = sin(pi x), and at both ends, 0; inside, its loss is the squared
residual of the equation, whose partial derivatives are derived, not approximated.  The solution is known:
u(t, x) = exp(-c pi**2 t) sin(pi x).
"""

from __future__ import annotations

import numpy as np

import symnet as sn
from symnet.notation.pages import show

C, STEPS = 0.3, 12_000
net = sn.Network(
    inputs={"t": 1, "x": 1},
    layers=[sn.concat("t", "x"), sn.dense(24, "tanh"), sn.dense(24, "tanh"), sn.dense(1)],
    loss={
        "equations": [
            "u[n] = prediction[n,0]",
            f"residual[n] = d(u[n], t[n,0]) - {C}*d(u[n], x[n,0], x[n,0])",
            "ell[n] = where(target[n,1] > 0, 10*(u[n] - target[n,0])**2, residual[n]**2)",
        ],
        "columns": 2,  # the temperature where it is known, and 1 there
    },
)
print(show(net))

grid = np.linspace(0, 1, 21)
t, x = (a.reshape(-1, 1) for a in np.meshgrid(grid, grid))
solution = np.exp(-C * np.pi**2 * t) * np.sin(np.pi * x)
known = (t == 0) | (x == 0) | (x == 1)
schedule = {"name": "cosine", "steps": STEPS}
model = net.compile({"name": "adam", "learning_rate": 5e-3, "schedule": schedule}, dtype="float64")
history = model.fit({"t": t, "x": x}, np.hstack([known * solution, known]), epochs=STEPS, batch_size=len(t))

error = np.abs(model.predict({"t": t, "x": x}) - solution)[~known].max()
print(f"{STEPS} steps in {history.seconds:.1f} s: loss {history[-1].loss:.1e}, largest error inside {error:.1e}")
assert error < 5e-3
