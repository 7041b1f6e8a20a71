"""Zachary's karate club: after a quarrel its 34 members split into two clubs.  Who goes where is known of two of them,
the instructor (0) and the officer (33); a graph convolution finds the others from who meets whom.

Source: Zachary 1977; Kipf and Welling 2017.
"""

from pathlib import Path

import numpy as np

import symnet as sn

network = sn.Network.from_toml(Path(__file__).with_name("karate.toml"))
officers = [9, 14, 15, 18, 20, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33]
club = np.isin(np.arange(34), officers).astype(int)

# One sample: the whole graph.  All members but two count for nothing in the loss.
weights = np.zeros((1, 34))
weights[0, [0, 33]] = 1
known = np.where(weights > 0, club, 0)

model = network.compile({"name": "adam", "learning_rate": 0.01}, seed=0)
print(network.gradient("graph_conv1.W"))
model.fit(None, known, epochs=200, sample_weight=weights)
found = model.predict(None)[0]
wrong = np.flatnonzero(found != club)
print(f"placed wrong: {wrong.tolist() or 'none'}")
assert len(wrong) <= 2
