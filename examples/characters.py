"""A model of characters: two transformer blocks predict the next character of a book better than a table of pairs does.

The text is the first half of Alice in Wonderland, its last tenth held out.  The table that the model must beat has the
smoothing that is best for the held-out text itself.
"""

from pathlib import Path

import numpy as np

import symnet as sn

TIME, WIDTH, STEPS = 32, 32, 600

lines = (Path(__file__).parent / "alice.txt").read_text().splitlines()
text = "\n".join(line for line in lines if not line.startswith("#")).lower()
alphabet = sorted(set(text))
K = len(alphabet)
ids = np.array([alphabet.index(c) for c in text])
cut = len(ids) * 9 // 10
train, held_out = ids[:cut], ids[cut:]


def windows(part, stride):
    """Characters, and the ones that follow them."""
    starts = range(0, len(part) - TIME, stride)
    return np.array([part[s : s + TIME] for s in starts]), np.array([part[s + 1 : s + TIME + 1] for s in starts])


def bigram(smoothing):
    """The loss of the table p(next | character), counted in the training part."""
    counts = np.full((K, K), smoothing)
    np.add.at(counts, (train[:-1], train[1:]), 1)
    p = counts / counts.sum(1, keepdims=True)
    return -np.log(p[held_out[:-1], held_out[1:]]).mean()


net = sn.Network(
    input={"shape": [TIME], "below": K},
    layers=[
        sn.embedding(K, WIDTH),
        sn.positions("learned"),
        sn.transformer(heads=2, causal=True),
        sn.transformer(heads=2, causal=True),
        sn.layer_norm(),
        sn.dense(K, name="out"),
    ],
    loss="softmax_cross_entropy",
)
optimizer = {"name": "adamw", "learning_rate": 3e-3, "schedule": {"name": "cosine", "steps": STEPS, "warmup": 50}}
model = net.compile(optimizer, seed=1)
X, y = windows(train, 1)
model.prepare(X, y, batch_size=32).run(STEPS)

table = min(bigram(10.0**power) for power in (-3, -2, -1, 0))
loss = model.evaluate(*windows(held_out, TIME))["loss"]

seen = list(held_out[:TIME])
rng = np.random.default_rng(0)
for _ in range(200):
    p = model.predict_proba(np.array([seen[-TIME:]]))[0, -1].astype(float)
    seen.append(rng.choice(K, p=p / p.sum()))
print("".join(alphabet[i] for i in seen[:TIME]), "|", "".join(alphabet[i] for i in seen[TIME:]).replace("\n", " / "))
print(f"held-out text, nats a character: {loss:.3f}")
print(f"the best table of pairs:         {table:.3f}")
assert loss < table
