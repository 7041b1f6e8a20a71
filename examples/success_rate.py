"""How often a 2-2-1 network learns XOR, by its activation: 1,000 networks of each, trained in one native call.

A network learned it if its loss is below 0.01 after 1,000 steps on all four corners.  Two ReLU units often die or
settle where only three corners fit; a sine, which is not monotone, can do it with one unit.  What decides is
where a network starts: the seed.  With a file's name, `python examples/success_rate.py rates.png`, the rates are drawn
(needs `pip install ".[plots]"`).
"""

import sys

import numpy as np

import symnet as sn

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1.0]])
y = np.array([0, 1, 1, 0.0])
ACTIVATIONS = ("relu", "leaky_relu", "logistic", "tanh", "sine")
networks = {name: sn.Network(2, [sn.dense(2, name), sn.dense(1)], "squared_error") for name in ACTIVATIONS}

optimizer = {"name": "adam", "learning_rate": 0.02}
found = sn.train_many(networks, X, y, seeds=1000, optimizer=optimizer, dtype="float64", epochs=1000, batch_size=4)
print(found)

solved = found.columns["loss"] < 0.01
rates = {name: np.mean(solved[found.columns["network"] == name]) for name in ACTIVATIONS}
for name, rate in sorted(rates.items(), key=lambda item: item[1]):
    print(f"{name:>10} {100 * rate:5.1f} % {'#' * round(40 * rate)}")

seed = int(found.best()["seed"])
best = found.model(int(np.argmin(found.columns["loss"])))
print(f"the best, {found.best()['network']} from seed {seed}: {np.round(best.predict(X).ravel(), 3)}")

if len(sys.argv) > 1:
    import matplotlib.pyplot as plt

    _, axes = plt.subplots(figsize=(5, 3), layout="constrained")
    axes.barh(list(rates), [100 * rate for rate in rates.values()])
    axes.set_xlabel("networks that learned XOR, %")
    plt.savefig(sys.argv[1])

assert rates["relu"] < rates["tanh"] < rates["sine"]
