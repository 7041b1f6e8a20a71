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
def value_and_gradient(parameters, X, y):
    """R and its gradients by the names of the parameters; X: inputs, a row for each sample; y: labels."""
    W1 = np.asarray(parameters['hidden.W'], float)
    b1 = np.asarray(parameters['hidden.b'], float)
    W2 = np.asarray(parameters['out.W'], float)
    b2 = np.asarray(parameters['out.b'], float)
    N = len(X)
    x = np.asarray(X, float).reshape(N, 4)
    y = np.asarray(y, np.int64).reshape(N)
    # s1[n,i,j] = Σ_k W1[i,j,k] x[n,k] + b1[i,j]
    s1 = np.einsum("ijk,nk->nij", W1, x, optimize=True) + b1
    # z1[n,i] = max_j s1[n,i,j]
    z1 = s1.max(axis=-1, initial=-np.inf)
    # z2 = W2 z1 + b2
    z2 = z1 @ W2.T + b2
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
    # R = (1/N) Σ ℓ
    R = loss
    # δ2 = (1/z2_sum) z2_exp - onehot(y)
    delta2 = z2_exp/z2_sum[:, None]
    add(delta2, (np.arange(N), y), -1)
    # δ1 = W2ᵀ δ2
    delta1 = delta2 @ W2
    # z1_argmax[n,i] = argmax_j s1[n,i,j]
    z1_argmax = s1.argmax(axis=-1)
    # ∂ℓ/∂s1[n,i,j] = [j = z1_argmax[n,i]] δ1[n,i]
    d_s1 = np.zeros((N, 3, 2))
    add(d_s1, (np.arange(N)[:, None], np.arange(3), z1_argmax), delta1)
    # ∂R/∂W1[i,j,k] = (1/N) Σ_n [j = z1_argmax[n,i]] δ1[n,i] x[n,k]
    d_W1 = np.einsum("nij,nk->ijk", d_s1, x, optimize=True)/N
    # ∂R/∂b1 = (1/N) Σ ∂ℓ/∂s1
    d_b1 = d_s1.sum(axis=0)/N
    # ∂R/∂W2 = (1/N) Σ δ2 z1ᵀ
    d_W2 = delta2.T @ z1/N
    # ∂R/∂b2 = (1/N) Σ δ2
    d_b2 = delta2.sum(axis=0)/N
    return R, {'hidden.W': d_W1, 'hidden.b': d_b1, 'out.W': d_W2, 'out.b': d_b2}
