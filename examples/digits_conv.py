"""A convolutional network on the 8x8 digits, as digits_conv.toml declares it, over several splits of the data.

    z[n,p,q,o] = sum_uvc W[o,u,v,c] x[n,p+u-1,q+v-1,c] + b[o]

Convolution is an equation with an affine index; its gradients are the same rule's.  Each split keeps 15 % of the
samples for the test alone.  The median accuracy of the test parts is 98 % or more.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import symnet as sn

here = Path(__file__).parent
net = sn.Network.from_toml(here / "digits_conv.toml")
print(net)
print(*str(net.gradient("conv1.W")).splitlines()[-4:], sep="\n")

table = np.loadtxt(here / "digits.csv.gz", delimiter=",")
X, y = table[:, :64] / 16, table[:, 64].astype(int)
accuracies = []
for seed in range(5):
    order = np.random.default_rng(seed).permutation(len(X))
    test, train = order[:270], order[270:]
    model = net.compile(optimizer={"name": "adam", "learning_rate": 2e-3}, seed=seed)
    model.fit(X[train], y[train], epochs=15, batch_size=32)
    accuracies.append(model.evaluate(X[test], y[test])["accuracy"])
    print(f"split {seed}: {100 * accuracies[-1]:.2f} % of the test part")

assert np.median(accuracies) >= 0.98 and min(accuracies) >= 0.97
