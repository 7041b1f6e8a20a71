import numpy as np


@np.errstate(all="ignore")
def value_and_gradient(parameters, X, y, lambda_=0.01):
    """R and its gradients by the names of the parameters; X: inputs, a row for each sample; y: targets."""
    W1 = np.asarray(parameters['dense1.W'], float)
    b1 = np.asarray(parameters['dense1.b'], float)
    W2 = np.asarray(parameters['dense2.W'], float)
    b2 = np.asarray(parameters['dense2.b'], float)
    W3 = np.asarray(parameters['dense3.W'], float)
    b3 = np.asarray(parameters['dense3.b'], float)
    W4 = np.asarray(parameters['dense4.W'], float)
    b4 = np.asarray(parameters['dense4.b'], float)
    W5 = np.asarray(parameters['dense5.W'], float)
    b5 = np.asarray(parameters['dense5.b'], float)
    W6 = np.asarray(parameters['dense6.W'], float)
    b6 = np.asarray(parameters['dense6.b'], float)
    W7 = np.asarray(parameters['dense7.W'], float)
    b7 = np.asarray(parameters['dense7.b'], float)
    W8 = np.asarray(parameters['dense8.W'], float)
    b8 = np.asarray(parameters['dense8.b'], float)
    W9 = np.asarray(parameters['dense9.W'], float)
    b9 = np.asarray(parameters['dense9.b'], float)
    W10 = np.asarray(parameters['dense10.W'], float)
    b10 = np.asarray(parameters['dense10.b'], float)
    W11 = np.asarray(parameters['dense11.W'], float)
    b11 = np.asarray(parameters['dense11.b'], float)
    N = len(X)
    x = np.asarray(X, float).reshape(N, 8)
    y = np.asarray(y, float).reshape(N, 1)
    # z1 = W1 x + b1
    z1 = x @ W1.T + b1
    # a1 = tanh(z1)
    a1 = np.tanh(z1)
    # z2 = W2 a1 + b2
    z2 = a1 @ W2.T + b2
    # a2 = tanh(z2)
    a2 = np.tanh(z2)
    # z3 = W3 a2 + b3
    z3 = a2 @ W3.T + b3
    # a3 = tanh(z3)
    a3 = np.tanh(z3)
    # z4 = W4 a3 + b4
    z4 = a3 @ W4.T + b4
    # a4 = tanh(z4)
    a4 = np.tanh(z4)
    # z5 = W5 a4 + b5
    z5 = a4 @ W5.T + b5
    # a5 = tanh(z5)
    a5 = np.tanh(z5)
    # z6 = W6 a5 + b6
    z6 = a5 @ W6.T + b6
    # a6 = tanh(z6)
    a6 = np.tanh(z6)
    # z7 = W7 a6 + b7
    z7 = a6 @ W7.T + b7
    # a7 = tanh(z7)
    a7 = np.tanh(z7)
    # z8 = W8 a7 + b8
    z8 = a7 @ W8.T + b8
    # a8 = tanh(z8)
    a8 = np.tanh(z8)
    # z9 = W9 a8 + b9
    z9 = a8 @ W9.T + b9
    # a9 = tanh(z9)
    a9 = np.tanh(z9)
    # z10 = W10 a9 + b10
    z10 = a9 @ W10.T + b10
    # a10 = tanh(z10)
    a10 = np.tanh(z10)
    # z11 = W11 a10 + b11
    z11 = a10 @ W11.T + b11
    # ℓ = ‖z11 - y‖²
    ell = ((z11 - y)**2).sum(axis=1)
    # loss = (1/N) Σ ℓ
    loss = ell.sum()/N
    penalty = lambda_*(W1**2).sum()/2 + lambda_*(W2**2).sum()/2 + lambda_*(W3**2).sum()/2 + lambda_*(W4**2).sum()/2 + lambda_*(W5**2).sum()/2 + lambda_*(W6**2).sum()/2 + lambda_*(W7**2).sum()/2 + lambda_*(W8**2).sum()/2 + lambda_*(W9**2).sum()/2 + lambda_*(W10**2).sum()/2 + lambda_*(W11**2).sum()/2
    R = loss + penalty
    # δ11 = 2 (z11 - y)
    delta11 = 2*z11 - 2*y
    # ∂ℓ/∂a10 = W11ᵀ δ11
    d_a10 = delta11 @ W11
    # δ10 = (1 - a10²) ⊙ W11ᵀ δ11
    delta10 = (1 - a10**2)*d_a10
    # ∂ℓ/∂a9 = W10ᵀ δ10
    d_a9 = delta10 @ W10
    # δ9 = (1 - a9²) ⊙ W10ᵀ δ10
    delta9 = (1 - a9**2)*d_a9
    # ∂ℓ/∂a8 = W9ᵀ δ9
    d_a8 = delta9 @ W9
    # δ8 = (1 - a8²) ⊙ W9ᵀ δ9
    delta8 = (1 - a8**2)*d_a8
    # ∂ℓ/∂a7 = W8ᵀ δ8
    d_a7 = delta8 @ W8
    # δ7 = (1 - a7²) ⊙ W8ᵀ δ8
    delta7 = (1 - a7**2)*d_a7
    # ∂ℓ/∂a6 = W7ᵀ δ7
    d_a6 = delta7 @ W7
    # δ6 = (1 - a6²) ⊙ W7ᵀ δ7
    delta6 = (1 - a6**2)*d_a6
    # ∂ℓ/∂a5 = W6ᵀ δ6
    d_a5 = delta6 @ W6
    # δ5 = (1 - a5²) ⊙ W6ᵀ δ6
    delta5 = (1 - a5**2)*d_a5
    # ∂ℓ/∂a4 = W5ᵀ δ5
    d_a4 = delta5 @ W5
    # δ4 = (1 - a4²) ⊙ W5ᵀ δ5
    delta4 = (1 - a4**2)*d_a4
    # ∂ℓ/∂a3 = W4ᵀ δ4
    d_a3 = delta4 @ W4
    # δ3 = (1 - a3²) ⊙ W4ᵀ δ4
    delta3 = (1 - a3**2)*d_a3
    # ∂ℓ/∂a2 = W3ᵀ δ3
    d_a2 = delta3 @ W3
    # δ2 = (1 - a2²) ⊙ W3ᵀ δ3
    delta2 = (1 - a2**2)*d_a2
    # ∂ℓ/∂a1 = W2ᵀ δ2
    d_a1 = delta2 @ W2
    # δ1 = (1 - a1²) ⊙ W2ᵀ δ2
    delta1 = (1 - a1**2)*d_a1
    # ∂R/∂W1 = (1/N) Σ δ1 xᵀ + λ W1
    d_W1 = delta1.T @ x/N + W1*lambda_
    # ∂R/∂b1 = (1/N) Σ δ1
    d_b1 = delta1.sum(axis=0)/N
    # ∂R/∂W2 = (1/N) Σ δ2 a1ᵀ + λ W2
    d_W2 = delta2.T @ a1/N + W2*lambda_
    # ∂R/∂b2 = (1/N) Σ δ2
    d_b2 = delta2.sum(axis=0)/N
    # ∂R/∂W3 = (1/N) Σ δ3 a2ᵀ + λ W3
    d_W3 = delta3.T @ a2/N + W3*lambda_
    # ∂R/∂b3 = (1/N) Σ δ3
    d_b3 = delta3.sum(axis=0)/N
    # ∂R/∂W4 = (1/N) Σ δ4 a3ᵀ + λ W4
    d_W4 = delta4.T @ a3/N + W4*lambda_
    # ∂R/∂b4 = (1/N) Σ δ4
    d_b4 = delta4.sum(axis=0)/N
    # ∂R/∂W5 = (1/N) Σ δ5 a4ᵀ + λ W5
    d_W5 = delta5.T @ a4/N + W5*lambda_
    # ∂R/∂b5 = (1/N) Σ δ5
    d_b5 = delta5.sum(axis=0)/N
    # ∂R/∂W6 = (1/N) Σ δ6 a5ᵀ + λ W6
    d_W6 = delta6.T @ a5/N + W6*lambda_
    # ∂R/∂b6 = (1/N) Σ δ6
    d_b6 = delta6.sum(axis=0)/N
    # ∂R/∂W7 = (1/N) Σ δ7 a6ᵀ + λ W7
    d_W7 = delta7.T @ a6/N + W7*lambda_
    # ∂R/∂b7 = (1/N) Σ δ7
    d_b7 = delta7.sum(axis=0)/N
    # ∂R/∂W8 = (1/N) Σ δ8 a7ᵀ + λ W8
    d_W8 = delta8.T @ a7/N + W8*lambda_
    # ∂R/∂b8 = (1/N) Σ δ8
    d_b8 = delta8.sum(axis=0)/N
    # ∂R/∂W9 = (1/N) Σ δ9 a8ᵀ + λ W9
    d_W9 = delta9.T @ a8/N + W9*lambda_
    # ∂R/∂b9 = (1/N) Σ δ9
    d_b9 = delta9.sum(axis=0)/N
    # ∂R/∂W10 = (1/N) Σ δ10 a9ᵀ + λ W10
    d_W10 = delta10.T @ a9/N + W10*lambda_
    # ∂R/∂b10 = (1/N) Σ δ10
    d_b10 = delta10.sum(axis=0)/N
    # ∂R/∂W11 = (1/N) Σ δ11 a10ᵀ + λ W11
    d_W11 = delta11.T @ a10/N + W11*lambda_
    # ∂R/∂b11 = (1/N) Σ δ11
    d_b11 = delta11.sum(axis=0)/N
    return R, {'dense1.W': d_W1, 'dense1.b': d_b1, 'dense2.W': d_W2, 'dense2.b': d_b2, 'dense3.W': d_W3, 'dense3.b': d_b3, 'dense4.W': d_W4, 'dense4.b': d_b4, 'dense5.W': d_W5, 'dense5.b': d_b5, 'dense6.W': d_W6, 'dense6.b': d_b6, 'dense7.W': d_W7, 'dense7.b': d_b7, 'dense8.W': d_W8, 'dense8.b': d_b8, 'dense9.W': d_W9, 'dense9.b': d_b9, 'dense10.W': d_W10, 'dense10.b': d_b10, 'dense11.W': d_W11, 'dense11.b': d_b11}
