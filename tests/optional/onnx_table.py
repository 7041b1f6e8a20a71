"""ONNX's operators as equations in symnet's text: data for test_onnx.py.

In: nothing.  Out: EQUATIONS, a row for each operator, and EXCLUDED, why the others have none.

A row is a signature, `outputs = Operator(inputs)`, and lines.  Capital letters are tensors, `#T` one of integers, `*X`
any number of tensors; small letters are inputs that decide shapes or axes, and so stand in the text as numbers.  `over`
says which axes are reduced, where neither `axes` nor `axis` does.  What stands in braces is put there as text: words of
onnx_words.py, or Python expressions of these, of sizes (`X1`: of axis 1 of X), and of attributes by name.  Words:

    X  X[...], broadcast against the first output     X@b,i,j  the same against these indices
    out, all  indices of the first output and input   along, rest  those of `all` that are reduced, and the others
    kept  rest, or with 0 where axes stay             count  points of `along`
    place  row-major position of `out`                position  that of `all`

A line that reads an input which is not given is left out, and so is one whose `if` does not hold; `let` names a word,
`with` gives sizes of indices; a line with {each} or {part} is repeated for each of several tensors.
"""

from __future__ import annotations

from collections.abc import Mapping

ELEMENTWISE: Mapping[str, str] = {
    "Abs(X)": "abs({X})",
    "Acos(X)": "2*atan(sqrt((1 - {X})/(1 + {X})))",
    "Acosh(X)": "log({X} + sqrt({X} - 1)*sqrt({X} + 1))",
    "Add(A, B)": "{A} + {B}",
    "And(#A, #B)": "where({A} == 1 and {B} == 1, 1, 0)",
    "Asin(X)": "atan({X}/sqrt((1 - {X})*(1 + {X})))",
    "Asinh(X)": "sign({X})*log1p(abs({X}) + {X}**2/(1 + sqrt({X}**2 + 1)))",
    "Atan(X)": "atan({X})",
    "Atanh(X)": "log1p(2*{X}/(1 - {X}))/2",
    "Celu(X)": "where({X} <= 0, {alpha}*expm1({X}/{alpha}), {X})",
    "ai.onnx.ml.Binarizer(X)": "where({X} > {threshold}, 1, 0)",
    "Cos(X)": "cos({X})",
    "Cosh(X)": "(exp({X}) + exp(-{X}))/2",
    "Div(A, B)": "{A}/{B}",
    "Elu(X)": "where({X} <= 0, {alpha}*expm1({X}), {X})",
    "Equal(A, B)": "where({A} == {B}, 1, 0)",
    "Erf(X)": "erf({X})",
    "Exp(X)": "exp({X})",
    "Expand(X, shape)": "{X}",
    "Greater(A, B)": "where({A} > {B}, 1, 0)",
    "GreaterOrEqual(A, B)": "where({A} >= {B}, 1, 0)",
    "HardSigmoid(X)": "max(0, min(1, {alpha}*{X} + {beta}))",
    "HardSwish(X)": "{X}*max(0, min(1, {X}/6 + 1/2))",
    "Identity(X)": "{X}",
    "LeakyRelu(X)": "where({X} <= 0, {alpha}*{X}, {X})",
    "Less(A, B)": "where({A} < {B}, 1, 0)",
    "LessOrEqual(A, B)": "where({A} <= {B}, 1, 0)",
    "Log(X)": "log({X})",
    "Mish(X)": "mish({X})",
    "Mul(A, B)": "{A}*{B}",
    "Neg(X)": "-{X}",
    "Not(#X)": "where({X} == 1, 0, 1)",
    "Or(#A, #B)": "where({A} == 1 or {B} == 1, 1, 0)",
    "PRelu(X, B)": "where({X} <= 0, {B}*{X}, {X})",
    "Pow(A, B)": "{A}**{B}",
    "Reciprocal(X)": "1/{X}",
    "Relu(X)": "relu({X})",
    "Selu(X)": "where({X} <= 0, {gamma}*{alpha}*expm1({X}), {gamma}*{X})",
    "Shrink(X)": "where({X} < -({lambd}), {X} + {bias}, where({X} > {lambd}, {X} - {bias}, 0))",
    "Sigmoid(X)": "logistic({X})",
    "Sign(X)": "sign({X})",
    "Sin(X)": "sin({X})",
    "Sinh(X)": "(expm1({X}) - expm1(-{X}))/2",
    "Softplus(X)": "softplus({X})",
    "Softsign(X)": "softsign({X})",
    "Sqrt(X)": "sqrt({X})",
    "Sub(A, B)": "{A} - {B}",
    "SwiGLU(A, B)": "{A}*logistic({alpha}*{A})*{B}",
    "Swish(X)": "{X}*logistic({alpha}*{X})",
    "Tan(X)": "tan({X})",
    "Tanh(X)": "tanh({X})",
    "ThresholdedRelu(X)": "where({X} > {alpha}, {X}, 0)",
    "Where(#C, A, B)": "where({C} == 1, {A}, {B})",
    "Xor(#A, #B)": "where({A} == {B}, 0, 1)",
}

# what an attention or a recurrent layer does, in pieces that operators share
_MOMENTS = (
    "m[{rest}] = sum(X[{all}], {along})/{count}",
    "v[{rest}] = sum((X[{all}] - m[{rest}])**2, {along})/{count}",
    "r[{rest}] = 1/sqrt(v[{rest}] + {epsilon})",
)
_REPLACED = (  # c counts the updates of an element; no element has more than one
    "c[{hit}] += 1",
    "c[{hit_below}] += 1",
    "w[{hit}] += U[{updates}]",
    "w[{hit_below}] += U[{updates}]",
    "c[{all}] += 0",
    "w[{all}] += 0",
    "Y[{all}] = where(c[{all}] > 0, w[{all}], X[{all}])",
)
_LABELS = (  # l: the loss at each place, w: its weight; a label outside of the classes has weight 0
    "let I = -12345 if ignore_index is None else ignore_index",
    "if not has_W: w[{places}] = where(T[{places}] == {I}, 0, 1)",
    "w[{places}] = where(T[{places}] == {I}, 0, W[T[{places}]])",
    "l[{places}] = -w[{places}]*L[i0,T[{places}],{spatial}]",
    "if reduction == 'none': Y[{places}] = l[{places}]",
    "if reduction == 'sum': Y = sum(l[{places}], {places})",
    "if reduction == 'mean': Y = sum(l[{places}], {places})/sum(w[{places}], {places})",
)
_SEQUENCE = (  # x: the steps in the order in which each direction z takes them; B in two parts
    "let S = X1 if layout else X0",
    "let H = hidden_size",
    "let F = -1 if direction == 'reverse' else 0",
    "with z = {W0}, t = {S}, i = {H}",
    "if layout: s[t,n,k] = X[n,t,k]",
    "if not layout: s[t,n,k] = X[t,n,k]",
    "x[z,t,n,k] = where(z == {F}, s[t,n,k], s[{S-1}-t,n,k])",
    "h[z,0,n,i] += {H0@z,n,i}",
    "h[z,t+1,n,i] += g[z,t,n,i]",
)
_STATES = (
    "q[z,t,n,i] = where(z == {F}, h[z,t+1,n,i], h[z,{S}-t,n,i])",
    "if layout: Y[n,t,z,i] = q[z,t,n,i]",
    "if not layout: Y[t,z,n,i] = q[z,t,n,i]",
    "if layout: Z[n,z,i] = h[z,{S},n,i]",
    "if not layout: Z[z,n,i] = h[z,{S},n,i]",
)


def _gate(number: int, state: str = "h[z,t,n,j]", bias: bool = True) -> str:
    """The net input of a gate: W x + R h + both halves of B; its rows are H*number + i."""
    at = f"{{H*{number}}}+i"
    parts = f"sum(W[z,{at},k]*x[z,t,n,k], k) + sum(R[z,{at},j]*{state}, j)"
    return parts


EQUATIONS: Mapping[str, tuple[str, ...]] = {
    **{f"Y = {signature}": (f"Y[{{out}}] = {text}",) for signature, text in ELEMENTWISE.items()},
    # -------------------------------------------------------------------------- of several tensors, by pieces
    "Y = IsInf(X)": (
        "let B = '3.4028234663852886e38'",
        "Y[{out}] = where({X} > {B}, {detect_positive}, where({X} < -{B}, {detect_negative}, 0))",
    ),
    "Y = Clip(X, A, B)": (
        "if has_A and has_B: Y[{out}] = min({B}, max({A}, {X}))",
        "if has_A and not has_B: Y[{out}] = max({A}, {X})",
        "if has_B and not has_A: Y[{out}] = min({B}, {X})",
        "if not has_A and not has_B: Y[{out}] = {X}",
    ),
    "Y = Gelu(X)": (
        "if approximate == 'tanh': Y[{out}] = gelu_tanh({X})",
        "if approximate == 'none': Y[{out}] = gelu({X})",
    ),
    "Y = Max(*X)": ("if X == 1: Y[{out}] = {X0@out}", "if X > 1: Y[{out}] = max({every})"),
    "Y = Min(*X)": ("if X == 1: Y[{out}] = {X0@out}", "if X > 1: Y[{out}] = min({every})"),
    "Y = Sum(*X)": ("Y[{out}] += {each}",),
    "Y = Mean(*X)": ("Y[{out}] += {each}/{X}",),
    # -------------------------------------------------------------------------- reductions
    "Y = ReduceSum(X, axes)": (
        "if along: Y[{kept}] = sum(X[{all}], {along})",
        "if not along: Y[{all}] = X[{all}]",
    ),
    "Y = ReduceMean(X, axes)": ("Y[{kept}] = sum(X[{all}], {along})/{count}",),
    "Y = ReduceMax(X, axes)": ("Y[{kept}] = max(X[{all}], {along})",),
    "Y = ReduceMin(X, axes)": ("m[{rest}] = max(-X[{all}], {along})", "Y[{kept}] = -m[{rest}]"),
    "Y = ReduceL1(X, axes)": ("Y[{kept}] = sum(abs(X[{all}]), {along})",),
    "Y = ReduceL2(X, axes)": ("Y[{kept}] = sqrt(sum(X[{all}]**2, {along}))",),
    "Y = ReduceSumSquare(X, axes)": ("Y[{kept}] = sum(X[{all}]**2, {along})",),
    "Y = ReduceLogSum(X, axes)": ("Y[{kept}] = log(sum(X[{all}], {along}))",),
    "Y = ReduceLogSumExp(X, axes)": ("s[{rest}] = logsumexp(X[{all}], {along})", "Y[{kept}] = s[{rest}]"),
    "Y = ReduceProd(X, axes)": (
        "if count: f[{rest},{within}] = X[{all}]",
        "if count: p[{rest},t] = where(t == 0, 1, p[{rest},t-1])*f[{rest},t]",
        "if count: Y[{kept}] = p[{rest},{count-1}]",
        "if not count: Y[{kept}] = 1",
    ),
    "Y = ArgMax(X)": (
        "if not select_last_index: t[{rest}] = argmax(X[{all}], {along})",
        "if not select_last_index: Y[{kept}] = t[{rest}]",
        "if select_last_index: t[{rest}] = argmax(X[{mirrored}], {along})",
        "if select_last_index: Y[{kept}] = {count-1} - t[{rest}]",
    ),
    "Y = ArgMin(X)": (
        "if not select_last_index: t[{rest}] = argmax(-X[{all}], {along})",
        "if not select_last_index: Y[{kept}] = t[{rest}]",
        "if select_last_index: t[{rest}] = argmax(-X[{mirrored}], {along})",
        "if select_last_index: Y[{kept}] = {count-1} - t[{rest}]",
    ),
    "Y = Hardmax(X)": ("t[{rest}] = argmax(X[{all}], {along})", "Y[{all}] = where({along} == t[{rest}], 1, 0)"),
    "Y = CumSum(X, axis)": (
        "if not exclusive: Y[{all}] = Y[{before}] + X[{all}]",
        "if exclusive: Y[{all}] = Y[{before}] + X[{before}]",
    ),
    "Y = CumProd(X, axis)": (
        "if not exclusive: Y[{all}] = where({along} == {start}, 1, Y[{before}])*X[{all}]",
        "if exclusive: Y[{all}] = where({along} == {start}, 1, Y[{before}]*X[{before}])",
    ),
    "Y = Softmax(X)": ("s[{rest}] = logsumexp(X[{all}], {along})", "Y[{all}] = exp(X[{all}] - s[{rest}])"),
    "Y = LogSoftmax(X)": ("s[{rest}] = logsumexp(X[{all}], {along})", "Y[{all}] = X[{all}] - s[{rest}]"),
    "Y = LpNormalization(X)": (
        "if p == 1: s[{rest}] = sum(abs(X[{all}]), {along})",
        "if p == 2: s[{rest}] = sqrt(sum(X[{all}]**2, {along}))",
        "Y[{all}] = where(s[{rest}] == 0, 0, X[{all}]/s[{rest}])",
    ),
    # -------------------------------------------------------------------------- products
    "Y = Gemm(A, B, C)": (
        "if transA: a[i,k] = A[k,i]",
        "if not transA: a[i,k] = A[i,k]",
        "if transB: b[k,j] = B[j,k]",
        "if not transB: b[k,j] = B[k,j]",
        "Y[i,j] = {alpha}*sum(a[i,k]*b[k,j], k)",
        "Y[{out}] += {beta}*{C}",
    ),
    "Y = MatMul(A, B)": (
        "let L = 'o%d' % (rank_Y - (rank_B > 1) - 1) if rank_A > 1 else ''",
        "let N = 'o%d' % (rank_Y - 1) if rank_B > 1 else ''",
        "let M = ','.join('o%d' % k for k in range(rank_Y - (rank_A > 1) - (rank_B > 1)))",
        "if rank_B > 1: Y[{out}] = sum({A@*M,L,k}*{B@*M,k,N}, k)",
        "if rank_B == 1: Y[{out}] = sum({A@*M,L,k}*B[k], k)",
    ),
    "Y = Einsum(*X)": ("{einsum}",),
    # -------------------------------------------------------------------------- where things stand
    "Y = Transpose(X)": ("Y[{permuted}] = X[{all}]",),
    **{
        f"Y = {name}": ("f[{position}] = X[{all}]", "Y[{out}] = f[{place}]")
        for name in ("Reshape(X, shape)", "Flatten(X)", "Squeeze(X, axes)", "Unsqueeze(X, axes)")
    },
    "Y = Concat(*X)": ("Y[{at}] += {part}",),
    "*Y = Split(X, split)": ("{part} = X[{at}]",),
    "Y = Slice(X, starts, ends, axes, steps)": ("Y[{out}] = X[{strided}]",),
    "Y = Tile(X, repeats)": ("with {repeated}", "Y[{tiled}] = X[{all}]"),
    "Y = Pad(X, pads, C, axes)": (
        "if mode != 'constant': Y[{out}] = X[{tabled}]",  # by tables of integers
        "if mode == 'constant' and not has_C: Y[{out}] = X[{padded}]",
        "if mode == 'constant': Y[{out}] = where({unpadded}, X[{padded}], C)",
    ),
    "Y = CenterCropPad(X, shape)": ("Y[{out}] = X[{centered}]",),
    "Y = Gather(X, #I)": ("Y[{out}] = X[{gathered}] + X[{gathered_below}]",),
    "Y = GatherElements(X, #I)": ("Y[{out}] = X[{chosen}] + X[{chosen_below}]",),
    "Y = GatherND(X, #I)": ("Y[{out}] = X[{listed}]",),
    "Y = Scatter(X, #I, U)": _REPLACED,
    **{
        f"Y = {name}(X, #I, U)": (
            *(f"if reduction == 'none': {line}" for line in _REPLACED),
            "if reduction == 'add': Y[{all}] += X[{all}]",
            "if reduction == 'add': Y[{hit}] += U[{updates}]",
            "if reduction == 'max': m[{all}] = max(U[{updates}], {updates}, {matching})",
            "if reduction == 'max': Y[{all}] = max(X[{all}], m[{all}])",
            "if reduction == 'min': m[{all}] = max(-U[{updates}], {updates}, {matching})",
            "if reduction == 'min': Y[{all}] = min(X[{all}], -m[{all}])",
        )
        for name in ("ScatterElements", "ScatterND")
    },
    "Y = TensorScatter(X, U, #W)": (
        "let k = 'u%d' % (rank_X - 2)",
        "let hit = updates.replace(k, 'W[u0]+' + k)",
        "let hit_below = hit.replace('W[u0]', 'W[u0]-%d' % (X3 if rank_X == 5 else X2 if rank_X == 4 else X1))",
        *_REPLACED,
    ),
    "Y = ai.onnx.ml.ArrayFeatureExtractor(X, #I)": ("Y[{out}] = X[o0,I[o1]]",),
    "Y = OneHot(#I, depth, V)": ("Y[{out}] = where({hot} == I[{cold}] or {hot} == I[{cold}] + {depth}, V[1], V[0])",),
    "Y = EyeLike(X)": ("Y[{out}] = where(o1 == o0 + {k}, 1, 0)",),
    "Y = Trilu(X, k)": (
        "let D = k or 0",
        "if upper: Y[{out}] = where({column} >= {row} + {D}, {X}, 0)",
        "if not upper: Y[{out}] = where({column} <= {row} + {D}, {X}, 0)",
    ),
    "Y = Range(start, limit, delta)": ("Y[{out}] = {start} + {delta}*o0",),
    "Y = ConstantOfShape(shape)": ("Y[{out}] = {value or 0}",),
    "Y = DepthToSpace(X)": (
        "let b = blocksize",
        "let C = X1//b//b",
        "with u = {b}, v = {b}, c = {C}",
        "if mode == 'DCR': Y[n,c,{b}*h+u,{b}*w+v] = X[n,{b*C}*u+{C}*v+c,h,w]",
        "if mode == 'CRD': Y[n,c,{b}*h+u,{b}*w+v] = X[n,{b*b}*c+{b}*u+v,h,w]",
    ),
    "Y = SpaceToDepth(X)": (
        "let b = blocksize",
        "let C = X1",
        "with u = {b}, v = {b}, h = {Y2}, w = {Y3}",
        "if mode == 'DCR': Y[n,{b*C}*u+{C}*v+c,h,w] = X[n,c,{b}*h+u,{b}*w+v]",
        "if mode == 'CRD': Y[n,{b*b}*c+{b}*u+v,h,w] = X[n,c,{b}*h+u,{b}*w+v]",
    ),
    "Y = ReverseSequence(X, #L)": (
        "let t = 'i%d' % time_axis",
        "let b = 'i%d' % batch_axis",
        "let m = all.replace(t, 'L[%s]-1-%s' % (b, t))",
        "Y[{all}] = where({t} < L[{b}], X[{m}], X[{all}])",
    ),
    "Y, M = Dropout(X, ratio, training_mode)": ("if not ratio or not training_mode: Y[{out}] = {X}", "M[{out}] = 1"),
    # -------------------------------------------------------------------------- windows of images
    "Y = Conv(X, W, B)": (
        "let O = W0//group",
        "with g = {group}, o = {O}, c = {W1}",
        "Y[n,{O}*g+o,{p}] += sum(W[{O}*g+o,c,{taps}]*X[n,{W1}*g+c,{window}], c,{taps})",
        "Y[{out}] += B[o1]",
    ),
    "Y = ConvTranspose(X, W, B)": (
        "let C = X1//group",
        "with g = {group}, o = {W1}, c = {C}",
        "z[n,{W1}*g+o,{spread}] = sum(X[n,{C}*g+c,{places_of_windows}]*W[{C}*g+c,o,{taps}], c)",
        "Y[{out}] = z[o0,o1,{cropped}]",
        "Y[{out}] += B[o1]",
    ),
    "Y, J = MaxPool(X)": (
        "Y[{out}] = max(X[o0,o1,{window}], {taps}, {inside})",
        "if has_J and storage_order: j[{out}] = argmax(X[o0,o1,{spatial}], {backwards}, {covered})",
        "if has_J and not storage_order: j[{out}] = argmax(X[o0,o1,{spatial}], {spatial}, {covered})",
        "if has_J: J[{out}] = {pixels}*({X1}*o0 + o1) + j[{out}]",
    ),
    "Y = AveragePool(X)": ("Y[{out}] = sum(X[o0,o1,{window}], {taps})/sum(1, {taps}, {counted})",),
    "Y = LpPool(X)": ("Y[{out}] = sum(abs(X[o0,o1,{window}])**{p}, {taps})**(1/{p})",),
    "Y = GlobalAveragePool(X) over spatial": ("Y[{kept}] = sum(X[{all}], {along})/{count}",),
    "Y = GlobalMaxPool(X) over spatial": ("m[{rest}] = max(X[{all}], {along})", "Y[{kept}] = m[{rest}]"),
    "Y = MaxUnpool(X, #I, size)": (  # places count in the image that windows without padding would cover
        "let A = (X2 - 1)*strides[0] + kernel_shape[0]",
        "let B = (X3 - 1)*strides[1] + kernel_shape[1]",
        "with e = {X0*X1*A*B}",
        "f[e] = 0",
        "f[I[{all}]] += X[{all}]",
        "Y[{out}] = where(o2 < {A} and o3 < {B}, f[{X1*A*B}*o0+{A*B}*o1+{B}*o2+o3], 0)",
    ),
    "Y = Col2Im(X, image, block)": (
        "with c = {Y1}",
        "z[n,c,{spread}] = X[n,{tap},{block_place}]",
        "Y[{out}] = z[o0,o1,{cropped}]",
    ),
    "Y, P = CausalConvWithState(X, W, B, S)": (
        "let K = W2 - 1",
        "x[b,c,t+{K}] += X[b,c,t]",
        "x[b,c,s] += S[b,c,s]",
        "with t = {X2}, s = {K}",
        "z[b,c,t] = sum(W[c,0,u]*x[b,c,t+u], u)",
        "z[b,c,t] += B[c]",
        "if activation == 'none': Y[b,c,t] = z[b,c,t]",
        "if activation != 'none': Y[b,c,t] = swish(z[b,c,t])",
        "P[b,c,s] = x[b,c,{X2}+s]",
    ),
    # -------------------------------------------------------------------------- normalization
    "Y, A, D = BatchNormalization(X, W, B, M, V) over others": (
        "if not training_mode: Y[{all}] = (X[{all}] - M[i1])/sqrt(V[i1] + {epsilon})*W[i1] + B[i1]",
        *(f"if training_mode: {line}" for line in _MOMENTS),
        "if training_mode: Y[{all}] = (X[{all}] - m[i1])*r[i1]*W[i1] + B[i1]",
        "if training_mode: A[i1] = {momentum}*M[i1] + {1 - momentum}*m[i1]",
        "if training_mode: D[i1] = {momentum}*V[i1] + {1 - momentum}*v[i1]",
    ),
    "Y = InstanceNormalization(X, W, B) over spatial": (
        *_MOMENTS,
        "Y[{all}] = (X[{all}] - m[{rest}])*r[{rest}]*W[i1] + B[i1]",
    ),
    "Y = GroupNormalization(X, W, B)": (
        "let C = X1//num_groups",
        "with g = {num_groups}, c = {C}",
        "m[i0,g] = sum(X[i0,{C}*g+c,{spatial}], c,{spatial})/{C*pixels}",
        "v[i0,g] = sum((X[i0,{C}*g+c,{spatial}] - m[i0,g])**2, c,{spatial})/{C*pixels}",
        "z[i0,{C}*g+c,{spatial}] = (X[i0,{C}*g+c,{spatial}] - m[i0,g])/sqrt(v[i0,g] + {epsilon})",
        "Y[{all}] = z[{all}]*W[i1] + B[i1]",
    ),
    "Y, M, R = LayerNormalization(X, W, B) over tail": (
        *_MOMENTS,
        "Y[{all}] += (X[{all}] - m[{rest}])*r[{rest}]*W[{along}]",
        "Y[{all}] += B[{along}]",
        "M[{kept}] = m[{rest}]",
        "R[{kept}] = r[{rest}]",
    ),
    "Y = RMSNormalization(X, W) over tail": (
        "r[{rest}] = sqrt(sum(X[{all}]**2, {along})/{count} + {epsilon})",
        "Y[{all}] = X[{all}]/r[{rest}]*W[{along}]",
    ),
    "Y = MeanVarianceNormalization(X)": (
        "let epsilon = '1e-18'",
        *_MOMENTS,
        "Y[{all}] = (X[{all}] - m[{rest}])*r[{rest}]",
    ),
    "Y = LRN(X)": (
        "with u = {size}, i1 = {X1}",
        "s[{all}] = sum(X[i0,i1+u-{(size-1)//2},{spatial}]**2, u)",
        "Y[{all}] = X[{all}]/({bias} + {alpha}/{size}*s[{all}])**{beta}",
    ),
    # -------------------------------------------------------------------------- losses
    "Y = NegativeLogLikelihoodLoss(X, #T, W)": ("L[{all}] = X[{all}]", *_LABELS),
    "Y, L = SoftmaxCrossEntropyLoss(X, #T, W)": (
        "s[{places}] = logsumexp(X[{all}], i1)",
        "L[{all}] = X[{all}] - s[{places}]",
        *_LABELS,
    ),
    # -------------------------------------------------------------------------- recurrences
    "Y, Z = RNN(X, W, R, B, #L, H0)": (
        *_SEQUENCE,
        f"a[z,t,n,i] += {_gate(0)}",
        "a[z,t,n,i] += B[z,i] + B[z,{H}+i]",
        "g[z,t,n,i] = tanh(a[z,t,n,i])",
        *_STATES,
    ),
    "Y, Z = GRU(X, W, R, B, #L, H0)": (
        *_SEQUENCE,
        f"a[z,t,n,i] += {_gate(0)}",
        "a[z,t,n,i] += B[z,i] + B[z,{3*H}+i]",
        f"b[z,t,n,i] += {_gate(1)}",
        "b[z,t,n,i] += B[z,{H}+i] + B[z,{4*H}+i]",
        "e[z,t,n,i] = logistic(b[z,t,n,i])*h[z,t,n,i]",
        f"if not linear_before_reset: f[z,t,n,i] += {_gate(2, 'e[z,t,n,j]')}",
        "f[z,t,n,i] += B[z,{2*H}+i] + B[z,{5*H}+i]",
        "g[z,t,n,i] = logistic(-a[z,t,n,i])*tanh(f[z,t,n,i]) + logistic(a[z,t,n,i])*h[z,t,n,i]",
        *_STATES,
    ),
    "Y, Z, C = LSTM(X, W, R, B, #L, H0, C0, P)": (
        *_SEQUENCE,
        "c[z,0,n,i] += {C0@z,n,i}",
        *(
            line
            for number, gate in enumerate("abef")  # input, output, forget, cell
            for line in (
                f"{gate}[z,t,n,i] += {_gate(number)}",
                f"{gate}[z,t,n,i] += B[z,{{{number}*H}}+i] + B[z,{{{number + 4}*H}}+i]",
            )
        ),
        "a[z,t,n,i] += P[z,0+i]*c[z,t,n,i]",
        "e[z,t,n,i] += P[z,{2*H}+i]*c[z,t,n,i]",
        "c[z,t+1,n,i] += logistic(e[z,t,n,i])*c[z,t,n,i] + logistic(a[z,t,n,i])*tanh(f[z,t,n,i])",
        "b[z,t,n,i] += P[z,{H}+i]*c[z,t+1,n,i]",
        "g[z,t,n,i] = logistic(b[z,t,n,i])*tanh(c[z,t+1,n,i])",
        *_STATES,
        "if layout: C[n,z,i] = c[z,{S},n,i]",
        "if not layout: C[z,n,i] = c[z,{S},n,i]",
    ),
    # -------------------------------------------------------------------------- attention
    "Y, A, D, Z = Attention(Q, K, V, M, PK, PV, #N)": (
        "let H = q_num_heads or Q1",
        "let J = kv_num_heads or K1",
        "let E = Q2//H if rank_Q == 3 else Q3",
        "let F = V2//J if rank_Q == 3 else V3",
        "let S = Q1 if rank_Q == 3 else Q2",
        "let T = K1 if rank_Q == 3 else K2",
        "let P = PK2 if has_PK else 0",
        "let G = H//J",
        "let a = scale or 1/E**0.5",
        "with g = {J}, r = {G}, e = {E}, f = {F}, h = {H}, y = {J}, t = {T}",
        "if rank_Q == 3: q[b,h,i,e] = Q[b,i,{E}*h+e]",
        "if rank_Q == 4: q[b,h,i,e] = Q[b,h,i,e]",
        "k[b,y,x,e] += PK[b,y,x,e]",
        "v[b,y,x,f] += PV[b,y,x,f]",
        "if rank_Q == 3: k[b,y,t+{P},e] += K[b,t,{E}*y+e]",
        "if rank_Q == 4: k[b,y,t+{P},e] += K[b,y,t,e]",
        "if rank_Q == 3: v[b,y,t+{P},f] += V[b,t,{F}*y+f]",
        "if rank_Q == 4: v[b,y,t+{P},f] += V[b,y,t,f]",
        "A[b,y,j,e] = k[b,y,j,e]",
        "D[b,y,j,f] = v[b,y,j,f]",
        "s[b,{G}*g+r,i,j] = {a}*sum(q[b,{G}*g+r,i,e]*k[b,g,j,e], e)",
        "if softcap: c[b,h,i,j] = {softcap}*tanh(s[b,h,i,j]/{softcap})",
        "if not softcap: c[b,h,i,j] = s[b,h,i,j]",
        "u = max(e, e, e < 0)",  # -inf: the largest of nothing
        "m[b,h,i,j] += 0*s[b,h,i,j]",
        "if kind_M == 'real': m[b,h,i,j] += {M@b,h,i,j}",
        "if kind_M == 'integer': m[b,h,i,j] += where({M@b,h,i,j} == 1, 0, u)",
        "let o = 'i + N[b] - %d' % S if has_N else 'i + %d' % P",  # where a query stands among the keys
        "if is_causal: m[b,h,i,j] += where(j <= {o}, 0, u)",
        "if left_window_size >= 0: m[b,h,i,j] += where(j >= {o} - {left_window_size}, 0, u)",
        "if right_window_size >= 0: m[b,h,i,j] += where(j <= {o} + {right_window_size}, 0, u)",
        "m[b,h,i,j] += where(j < N[b], 0, u)",
        "w[b,h,i,j] = c[b,h,i,j] + m[b,h,i,j]",
        "l[b,h,i] = logsumexp(w[b,h,i,j], j)",
        "p[b,h,i,j] = where(l[b,h,i] > -1e30, exp(w[b,h,i,j] - l[b,h,i]), 0)",
        "z[b,{G}*g+r,i,f] = sum(p[b,{G}*g+r,i,j]*v[b,g,j,f], j)",
        "if rank_Q == 3: Y[b,i,{F}*h+f] = z[b,h,i,f]",
        "if rank_Q == 4: Y[b,h,i,f] = z[b,h,i,f]",
        "let z = 'scwp'[qk_matmul_output_mode or 0]",
        "Z[b,h,i,j] = {z}[b,h,i,j]",
    ),
    "Y = ai.onnx.preview.FlexAttention(Q, K, V)": (
        "let m = score_mod or ('', {})",
        "let w = prob_mod or ('', {})",
        "let G = Q1//K1",
        "let a = scale or 1/Q3**0.5",
        "with g = {K1}, r = {G}",
        "s[b,{G}*g+r,i,j] = {a}*sum(Q[b,{G}*g+r,i,e]*K[b,g,j,e], e)",
        "let c = m[0][10:]",
        "let n = m[1].get('bias') or m[1].get('cap')",
        "if c == '': c[b,h,i,j] = s[b,h,i,j]",
        "if c == 'bias': c[b,h,i,j] = s[b,h,i,j] + {n}",
        "if c == 'causal_mask': c[b,h,i,j] = where(j <= i, s[b,h,i,j], -1e30)",
        "if c == 'soft_cap': c[b,h,i,j] = {n}*tanh(s[b,h,i,j]/{n})",
        "if c == 'relative_positional': c[b,h,i,j] = s[b,h,i,j] + i - j",
        "l[b,h,i] = logsumexp(c[b,h,i,j], j)",
        "let f = w[1]['scale'] if w[0] else 1",
        "p[b,h,i,j] = {f}*exp(c[b,h,i,j] - l[b,h,i])",
        "Y[b,{G}*g+r,i,f] = sum(p[b,{G}*g+r,i,j]*V[b,g,j,f], j)",
    ),
    "Y, P = LinearAttention(Q, K, V, S, G, B)": (
        "let H = q_num_heads",
        "let J = kv_num_heads",
        "let D = Q2//H",
        "let E = V2//J",
        "let R = H//J",
        "let T = Q1",
        "let a = scale or 1/D**0.5",
        "with j = {J}, r = {R}, e = {D}, f = {E}, t = {T}, y = {D}",
        "if not has_G: g[b,t,j,e] = 1 + 0*K[b,t,{D}*j+e]",
        "if has_G and G2 == J: g[b,t,j,e] = exp(G[b,t,j])",
        "if has_G and G2 != J: g[b,t,j,e] = exp(G[b,t,{D}*j+e])",
        "if not has_B: v[b,t,j,f] = V[b,t,{E}*j+f]",
        "v[b,t,j,f] = {B@b,t,j}*(V[b,t,{E}*j+f] - sum(s[b,t,j,y,f]*g[b,t,j,y]*K[b,t,{D}*j+y], y))",
        "s[b,0,j,e,f] += S[b,j,e,f]",
        "s[b,t+1,j,e,f] += s[b,t,j,e,f]*g[b,t,j,e] + K[b,t,{D}*j+e]*v[b,t,j,f]",
        "Y[b,t,{E*R}*j+{E}*r+f] = {a}*sum(Q[b,t,{D*R}*j+{D}*r+e]*s[b,t+1,j,e,f], e)",
        "P[b,j,e,f] = s[b,{T},j,e,f]",
    ),
    "Y = RotaryEmbedding(X, C, S, #P)": (
        "let H = X1 if rank_X == 4 else num_heads",
        "let D = X3 if rank_X == 4 else X2//num_heads",
        "let R = rotary_embedding_dim or D",
        "let A = 2 if interleaved else 1",  # the pairs that turn: A*e and A*e+B
        "let B = 1 if interleaved else R//2",
        "with h = {H}, e = {R//2}, f = {D}, w = {D-R}",
        "if rank_X == 4: x[b,h,t,f] = X[b,h,t,f]",
        "if rank_X == 3: x[b,h,t,f] = X[b,t,{D}*h+f]",
        "c[b,t,e] = C[P[b,t],e]",
        "s[b,t,e] = S[P[b,t],e]",
        "if not has_P: c[b,t,e] = C[b,t,e]",
        "if not has_P: s[b,t,e] = S[b,t,e]",
        "y[b,h,t,{A}*e] += c[b,t,e]*x[b,h,t,{A}*e] - s[b,t,e]*x[b,h,t,{A}*e+{B}]",
        "y[b,h,t,{A}*e+{B}] += s[b,t,e]*x[b,h,t,{A}*e] + c[b,t,e]*x[b,h,t,{A}*e+{B}]",
        "if D > R: y[b,h,t,w+{R}] += x[b,h,t,w+{R}]",
        "if rank_X == 4: Y[b,h,t,f] = y[b,h,t,f]",
        "if rank_X == 3: Y[b,t,{D}*h+f] = y[b,h,t,f]",
    ),
    # -------------------------------------------------------------------------- numbers from positions
    "Y = AffineGrid(T, size)": (
        "let h = 0 if align_corners else 1",
        "let u = '((2*o1 + %d)/%d - 1)' % (h, Y1 - 1 + h)",
        "let v = '((2*o2 + %d)/%d - 1)' % (h, Y2 - 1 + h)",
        "let w = '((2*o3 + %d)/%d - 1)' % (h, Y3 - 1 + h)",
        "if rank_Y == 4: Y[n,o1,o2,c] = T[n,c,0]*{v} + T[n,c,1]*{u} + T[n,c,2]",
        "if rank_Y == 5: Y[n,o1,o2,o3,c] = T[n,c,0]*{w} + T[n,c,1]*{v} + T[n,c,2]*{u} + T[n,c,3]",
    ),
    "Y = DFT(X, dft_length, axis)": (
        "let A = (-2 if axis is None else axis) % rank_X",
        "let h = inverse and onesided",
        "let N = dft_length or (2*extents[A] - 2 if h else extents[A])",
        "let k = 'o%d' % A",
        "let t = 'i%d' % A",
        "let b = out.rpartition(',')[0]",
        "let a = b.replace(k, t)",
        "let f = '1/%d' % N if inverse else '1'",
        "let s = '-1' if inverse else '1'",
        "let p = '2*pi*%s*%s/%d' % (k, t, N)",
        "let w = 'where(%s == 0 or 2*%s == %d, 1, 2)' % (t, t, N) if h else '1'",  # a half stands for both
        "Y[{b},0] += {f}*sum({w}*X[{a},0]*cos({p}), {t}, {t} < {N})",
        "if extents[-1] == 2: Y[{b},0] += {f}*({s})*sum({w}*X[{a},1]*sin({p}), {t}, {t} < {N})",
        "if not h: Y[{b},1] += -({s})*{f}*sum(X[{a},0]*sin({p}), {t}, {t} < {N})",
        "if not h and extents[-1] == 2: Y[{b},1] += {f}*sum(X[{a},1]*cos({p}), {t}, {t} < {N})",
    ),
    "Y = STFT(X, frame_step, W, frame_length)": (
        "let N = frame_length or W0",
        "with t = {N}, f = {Y1}, k = {Y2}",
        "if not has_W: x[b,f,t] = X[b,{frame_step}*f+t,0]",
        "x[b,f,t] = W[t]*X[b,{frame_step}*f+t,0]",
        "Y[b,f,k,0] += sum(x[b,f,t]*cos(2*pi*k*t/{N}), t)",
        "Y[b,f,k,1] += -sum(x[b,f,t]*sin(2*pi*k*t/{N}), t)",
    ),
    **{
        f"Y = {name}Window(size)": (
            "let N = size if periodic else size - 1",
            f"Y[{{out}}] = {a} - {b}*cos(2*pi*o0/{{N}}) + {c}*cos(4*pi*o0/{{N}})",
        )
        for name, a, b, c in (
            ("Hann", "1/2", "1/2", "0"),
            ("Hamming", "25/46", "21/46", "0"),
            ("Blackman", "0.42", "0.5", "0.08"),
        )
    },
}

# reason -> operators that have no row, and single cases of operators that have one
EXCLUDED: Mapping[str, str] = {
    "numbers of other kinds: casts, bits, quantized ones": """
        Cast CastLike BitCast BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor QuantizeLinear DequantizeLinear
        DynamicQuantizeLinear QLinearConv QLinearMatMul ConvInteger MatMulInteger""",
    "division of integers, which drops the remainder": """
        test_div_int8 test_div_int16 test_div_int32_trunc test_div_uint8 test_div_uint16 test_div_uint32
        test_div_uint64""",
    "rounding: its derivative is 0 wherever it has one": "Ceil Floor Round Mod",
    "functions that the language does not have": "Det IsNaN",
    "what is known before anything runs: constants, shapes": "Constant Shape Size",
    "shapes that depend on the data": "NonZero Unique Compress NonMaxSuppression",
    "an order by size": "TopK",
    "random numbers of a generator that ONNX leaves open": """
        Bernoulli test_training_dropout_default test_training_dropout_default_mask test_training_dropout
        test_training_dropout_mask""",
    "text": """
        StringConcat StringNormalizer StringSplit RegexFullMatch TfIdfVectorizer ai.onnx.ml.LabelEncoder
        test_equal_string test_equal_string_broadcast""",
    "sequences, optional values, control flow": """
        SequenceInsert SequenceMap SplitToSequence OptionalGetElement OptionalHasElement If Loop Scan
        test_identity_opt test_identity_sequence""",
    "decision trees": "ai.onnx.ml.TreeEnsemble",
    "pictures: decoding and resampling": "ImageDecoder Resize Upsample GridSample RoiAlign DeformConv",
    "banks of filters": "MelWeightMatrix",
    "products of as many factors as the data say": "test_scatter_elements_with_reduction_mul test_scatternd_multiply",
    "the largest of no booleans, which for numbers is -inf": "test_reduce_max_empty_set_bool",
}

# cases whose limit is another: eps times the largest number expected, and why
LIMITS: Mapping[str, tuple[float, str]] = {
    **{
        f"test_dft{kind}": (60.0, "sines of angles up to 51, which float32 rounds by 51 eps")
        for kind in ("", "_inverse", "_opset19", "_inverse_opset19")
    },
    "test_averagepool_2d_ceil_last_window_starts_on_pad": (1500, "what is expected is given to 4 digits"),
    "test_logsoftmax_large_number": (1100, "x - logsumexp(x) of numbers that are 1064 times as large: 1 eps of these"),
}
