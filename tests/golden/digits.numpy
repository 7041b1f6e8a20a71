import numpy as np


def read(array, *subscripts):
    """array[subscripts], and 0 where they are outside"""
    inside = True
    for s, size in zip(subscripts, array.shape):
        inside = inside & (0 <= s) & (s < size)
    within = tuple(np.clip(s, 0, size - 1) for s, size in zip(subscripts, array.shape))
    return np.where(inside, array[within], array.dtype.type(0))


def add(array, subscripts, values):
    """array[subscripts] += values, element by element; what is outside is dropped"""
    *subscripts, values = np.broadcast_arrays(*subscripts, values)
    inside = np.ones(values.shape, bool)
    for s, size in zip(subscripts, array.shape):
        inside &= (0 <= s) & (s < size)
    np.add.at(array, tuple(s[inside] for s in subscripts), values[inside])


@np.errstate(all="ignore")
def value_and_gradient(parameters, X, y, lambda_=0.0001):
    """R and its gradients by the names of the parameters; X: inputs, a row for each sample; y: labels."""
    W1 = np.asarray(parameters['hidden1.W'], float)
    b1 = np.asarray(parameters['hidden1.b'], float)
    W2 = np.asarray(parameters['out.W'], float)
    b2 = np.asarray(parameters['out.b'], float)
    N = len(X)
    x = np.asarray(X, float).reshape(N, 64)
    y = np.asarray(y, np.int64).reshape(N)
    # z1 = W1 x + b1
    z1 = x @ W1.T + b1
    # a1 = max(0, z1)
    a1 = np.where(z1 <= 0, 0, z1)
    # z2 = W2 a1 + b2
    z2 = a1 @ W2.T + b2
    # z2_max = max(z2)
    z2_max = z2.max(axis=-1, initial=-np.inf)
    # z2_exp = exp(z2 - z2_max)
    z2_exp = np.exp(z2 - z2_max[:, None])
    # z2_sum = sum(z2_exp)
    z2_sum = z2_exp.sum(axis=1)
    # lse = z2_max + log(z2_sum)
    lse = np.log(z2_sum) + z2_max
    # ℓ = lse - z2[y]
    ell = lse - read(z2, np.arange(N), y)
    # loss = (1/N) Σ ℓ
    loss = ell.sum()/N
    # penalty = (λ/2) (‖W1‖² + ‖W2‖²)
    penalty = lambda_*(W1**2).sum()/2 + lambda_*(W2**2).sum()/2
    # R = (1/N) Σ ℓ + (λ/2) (‖W1‖² + ‖W2‖²)
    R = loss + penalty
    # δ2 = (1/z2_sum) z2_exp - onehot(y)
    delta2 = z2_exp/z2_sum[:, None]
    add(delta2, (np.arange(N), y), -1)
    # ∂ℓ/∂a1 = W2ᵀ δ2
    d_a1 = delta2 @ W2
    # δ1 = [z1 > 0] ⊙ W2ᵀ δ2
    delta1 = np.where(z1 <= 0, 0, d_a1)
    # ∂R/∂W1 = (1/N) Σ δ1 xᵀ + λ W1
    d_W1 = delta1.T @ x/N + W1*lambda_
    # ∂R/∂b1 = (1/N) Σ δ1
    d_b1 = delta1.sum(axis=0)/N
    # ∂R/∂W2 = (1/N) Σ δ2 a1ᵀ + λ W2
    d_W2 = delta2.T @ a1/N + W2*lambda_
    # ∂R/∂b2 = (1/N) Σ δ2
    d_b2 = delta2.sum(axis=0)/N
    return R, {'hidden1.W': d_W1, 'hidden1.b': d_b1, 'out.W': d_W2, 'out.b': d_b2}
