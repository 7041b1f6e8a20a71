import numpy as np


@np.errstate(all="ignore")
def value_and_gradient(parameters, X, y):
    """R and its gradients by the names of the parameters; X: inputs, a row for each sample; y: targets."""
    W1 = np.asarray(parameters['hidden1.W'], float)
    b1 = np.asarray(parameters['hidden1.b'], float)
    W2 = np.asarray(parameters['out.W'], float)
    b2 = np.asarray(parameters['out.b'], float)
    N = len(X)
    x = np.asarray(X, float).reshape(N, 2)
    y = np.asarray(y, float).reshape(N, 1)
    # z1 = W1 x + b1
    z1 = x @ W1.T + b1
    # a1 = max(0, z1)
    a1 = np.where(z1 <= 0, 0, z1)
    # z2 = W2 a1 + b2
    z2 = a1 @ W2.T + b2
    # ℓ = ‖z2 - y‖²
    ell = ((z2 - y)**2).sum(axis=1)
    # loss = (1/N) Σ ℓ
    loss = ell.sum()/N
    # R = (1/N) Σ ℓ
    R = loss
    # δ2 = 2 (z2 - y)
    delta2 = 2*z2 - 2*y
    # ∂ℓ/∂a1 = W2ᵀ δ2
    d_a1 = delta2 @ W2
    # δ1 = [z1 > 0] ⊙ W2ᵀ δ2
    delta1 = np.where(z1 <= 0, 0, d_a1)
    # ∂R/∂W1 = (1/N) Σ δ1 xᵀ
    d_W1 = delta1.T @ x/N
    # ∂R/∂b1 = (1/N) Σ δ1
    d_b1 = delta1.sum(axis=0)/N
    # ∂R/∂W2 = (1/N) Σ δ2 a1ᵀ
    d_W2 = delta2.T @ a1/N
    # ∂R/∂b2 = (1/N) Σ δ2
    d_b2 = delta2.sum(axis=0)/N
    return R, {'hidden1.W': d_W1, 'hidden1.b': d_b1, 'out.W': d_W2, 'out.b': d_b2}
