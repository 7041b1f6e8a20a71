import numpy as np


@np.errstate(all="ignore")
def value_and_gradient(parameters, X, y):
    """R and its gradients by the names of the parameters; X: inputs, a row for each sample; y: targets."""
    W1 = np.asarray(parameters['first.W'], float)
    b1 = np.asarray(parameters['first.b'], float)
    W2 = np.asarray(parameters['second.W'], float)
    b2 = np.asarray(parameters['second.b'], float)
    W4 = np.asarray(parameters['out.W'], float)
    b4 = np.asarray(parameters['out.b'], float)
    N = len(X)
    x = np.asarray(X, float).reshape(N, 4)
    y = np.asarray(y, float).reshape(N, 2)
    # z1 = W1 x + b1
    z1 = x @ W1.T + b1
    # a1 = [z1 > 0] ⊙ z1 + [z1 ≤ 0] ⊙ (exp(z1) - 1)
    a1 = np.where(z1 <= 0, np.expm1(z1), z1)
    # z2 = W2 a1 + b2
    z2 = a1 @ W2.T + b2
    # a2 = [z2 > 0] ⊙ z2 + [z2 ≤ 0] ⊙ (exp(z2) - 1)
    a2 = np.where(z2 <= 0, np.expm1(z2), z2)
    # a3 = a1 + a2
    a3 = a1 + a2
    # z4 = W4 a3 + b4
    z4 = a3 @ W4.T + b4
    # ℓ = (1/2) ‖z4 - y‖²
    ell = ((z4 - y)**2).sum(axis=1)/2
    # loss = (1/N) Σ ℓ
    loss = ell.sum()/N
    # R = (1/N) Σ ℓ
    R = loss
    # δ4 = z4 - y
    delta4 = z4 - y
    # ∂ℓ/∂a3 = W4ᵀ δ4
    d_a3 = delta4 @ W4
    # δ2 = ([z2 > 0] + [z2 ≤ 0] ⊙ exp(z2)) ⊙ W4ᵀ δ4
    delta2 = np.where(z2 <= 0, np.exp(z2), 1)*d_a3
    # ∂ℓ/∂a1 = W4ᵀ δ4 + W2ᵀ δ2
    d_a1 = d_a3 + delta2 @ W2
    # δ1 = ([z1 > 0] + [z1 ≤ 0] ⊙ exp(z1)) ⊙ (W4ᵀ δ4 + W2ᵀ δ2)
    delta1 = np.where(z1 <= 0, np.exp(z1), 1)*d_a1
    # ∂R/∂W1 = (1/N) Σ δ1 xᵀ
    d_W1 = delta1.T @ x/N
    # ∂R/∂b1 = (1/N) Σ δ1
    d_b1 = delta1.sum(axis=0)/N
    # ∂R/∂W2 = (1/N) Σ δ2 a1ᵀ
    d_W2 = delta2.T @ a1/N
    # ∂R/∂b2 = (1/N) Σ δ2
    d_b2 = delta2.sum(axis=0)/N
    # ∂R/∂W4 = (1/N) Σ δ4 a3ᵀ
    d_W4 = delta4.T @ a3/N
    # ∂R/∂b4 = (1/N) Σ δ4
    d_b4 = delta4.sum(axis=0)/N
    return R, {'first.W': d_W1, 'first.b': d_b1, 'second.W': d_W2, 'second.b': d_b2, 'out.W': d_W4, 'out.b': d_b4}
