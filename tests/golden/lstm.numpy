import numpy as np


def logistic(x):
    """1/(1 + exp(-x)), without overflow"""
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e/(1 + e), 1/(1 + e))


def read(array, *subscripts):
    """array[subscripts], and 0 where they are outside"""
    inside = True
    for s, size in zip(subscripts, array.shape):
        inside = inside & (0 <= s) & (s < size)
    within = tuple(np.clip(s, 0, size - 1) for s, size in zip(subscripts, array.shape))
    return np.where(inside, array[within], array.dtype.type(0))


@np.errstate(all="ignore")
def value_and_gradient(parameters, X, y):
    """R and its gradients by the names of the parameters; X: inputs, a row for each sample; y: targets."""
    W1 = np.asarray(parameters['memory.W'], float)
    U1 = np.asarray(parameters['memory.U'], float)
    b1 = np.asarray(parameters['memory.b'], float)
    W2 = np.asarray(parameters['out.W'], float)
    b2 = np.asarray(parameters['out.b'], float)
    N = len(X)
    x = np.asarray(X, float).reshape(N, 5, 3)
    y = np.asarray(y, float).reshape(N, 2)
    # z1_{t,q} = W1_q xₜ + b1_q + U1_q h1ₜ₋₁
    # i1ₜ = σ(z1_{t,0})
    # f1ₜ = σ(z1_{t,1})
    # g1ₜ = tanh(z1_{t,2})
    # o1ₜ = σ(z1_{t,3})
    # c1ₜ = i1ₜ ⊙ g1ₜ + f1ₜ ⊙ c1ₜ₋₁
    # h1ₜ = o1ₜ ⊙ tanh(c1ₜ)
    z1 = np.zeros((N, 5, 4, 4))
    i1 = np.zeros((N, 5, 4))
    f1 = np.zeros((N, 5, 4))
    g1 = np.zeros((N, 5, 4))
    o1 = np.zeros((N, 5, 4))
    c1 = np.zeros((N, 5, 4))
    h1 = np.zeros((N, 5, 4))
    z1[:, :, :, :] += np.einsum("quj,ntj->ntqu", W1, x, optimize=True)
    z1[:, :, :, :] += b1
    for t in range(5):
        z1[:, t, :, :] += np.einsum("quk,nk->nqu", U1, (h1[:, t - 1, :] if t >= 1 else np.zeros((N, 4))), optimize=True)
        i1[:, t, :] += logistic(z1[:, t, 0, :])
        f1[:, t, :] += logistic(z1[:, t, 1, :])
        g1[:, t, :] += np.tanh(z1[:, t, 2, :])
        o1[:, t, :] += logistic(z1[:, t, 3, :])
        c1[:, t, :] += (c1[:, t - 1, :] if t >= 1 else np.zeros((N, 4)))*f1[:, t, :] + g1[:, t, :]*i1[:, t, :]
        h1[:, t, :] += o1[:, t, :]*np.tanh(c1[:, t, :])
    # z2 = W2 h1₄ + b2
    z2 = h1[:, 4, :] @ W2.T + b2
    # ℓ = (1/2) ‖z2 - y‖²
    ell = ((z2 - y)**2).sum(axis=1)/2
    # loss = (1/N) Σ ℓ
    loss = ell.sum()/N
    # R = (1/N) Σ ℓ
    R = loss
    # δ2 = z2 - y
    delta2 = z2 - y
    # d_y1 = W2ᵀ δ2
    d_y1 = delta2 @ W2
    # ∂ℓ/∂o1ₜ = tanh(c1ₜ) ⊙ ∂ℓ/∂h1ₜ
    # ∂ℓ/∂c1ₜ = o1ₜ ⊙ (1 - tanh(c1ₜ)²) ⊙ ∂ℓ/∂h1ₜ + f1ₜ₊₁ ⊙ ∂ℓ/∂c1ₜ₊₁
    # ∂ℓ/∂f1ₜ = c1ₜ₋₁ ⊙ ∂ℓ/∂c1ₜ
    # ∂ℓ/∂g1ₜ = i1ₜ ⊙ ∂ℓ/∂c1ₜ
    # ∂ℓ/∂i1ₜ = g1ₜ ⊙ ∂ℓ/∂c1ₜ
    # ∂ℓ/∂h1ₜ = [t = 4] W2ᵀ δ2 + Σ_q U1_qᵀ δ1_{t+1,q}
    d_h1 = np.zeros((N, 5, 4))
    d_o1 = np.zeros((N, 5, 4))
    d_c1 = np.zeros((N, 5, 4))
    d_f1 = np.zeros((N, 5, 4))
    d_g1 = np.zeros((N, 5, 4))
    d_i1 = np.zeros((N, 5, 4))
    delta1 = np.zeros((N, 5, 4, 4))
    d_h1[:, 4, :] += d_y1
    for t in reversed(range(5)):
        if t < 4:
            d_h1[:, t, :] += np.einsum("quk,nqu->nk", U1, delta1[:, t + 1, :, :], optimize=True)
        d_o1[:, t, :] += d_h1[:, t, :]*np.tanh(c1[:, t, :])
        d_c1[:, t, :] += (1 - np.tanh(c1[:, t, :])**2)*d_h1[:, t, :]*o1[:, t, :]
        if t < 4:
            d_c1[:, t, :] += d_c1[:, t + 1, :]*f1[:, t + 1, :]
        d_f1[:, t, :] += (c1[:, t - 1, :] if t >= 1 else np.zeros((N, 4)))*d_c1[:, t, :]
        d_g1[:, t, :] += d_c1[:, t, :]*i1[:, t, :]
        d_i1[:, t, :] += d_c1[:, t, :]*g1[:, t, :]
        delta1[:, t, 3, :] += (1 - o1[:, t, :])*d_o1[:, t, :]*o1[:, t, :]
        delta1[:, t, 2, :] += (1 - g1[:, t, :]**2)*d_g1[:, t, :]
        delta1[:, t, 1, :] += (1 - f1[:, t, :])*d_f1[:, t, :]*f1[:, t, :]
        delta1[:, t, 0, :] += (1 - i1[:, t, :])*d_i1[:, t, :]*i1[:, t, :]
    # ∂R/∂W1_q = (1/N) Σ_t Σ δ1_{t,q} xₜᵀ
    d_W1 = np.einsum("ntqu,ntj->quj", delta1, x, optimize=True)/N
    # ∂R/∂U1_q = (1/N) Σ_t Σ δ1_{t,q} h1ₜ₋₁ᵀ
    d_U1 = np.einsum("ntqu,ntk->quk", delta1, read(h1, np.arange(N)[:, None, None], np.arange(5)[:, None] - 1, np.arange(4)), optimize=True)/N
    # ∂R/∂b1_q = (1/N) Σ_t Σ δ1_{t,q}
    d_b1 = delta1.transpose(2, 3, 0, 1).sum(axis=(-2, -1))/N
    # ∂R/∂W2 = (1/N) Σ δ2 h1₄ᵀ
    d_W2 = delta2.T @ h1[:, 4, :]/N
    # ∂R/∂b2 = (1/N) Σ δ2
    d_b2 = delta2.sum(axis=0)/N
    return R, {'memory.W': d_W1, 'memory.U': d_U1, 'memory.b': d_b1, 'out.W': d_W2, 'out.b': d_b2}
