"""Windows (affine subscripts of several indices) as matrix products: what each step of the lowering makes of them.

Every program is run as loops and judged by the slow evaluator; what is asserted besides is the form: a product with
segments, no guard, a sum that is gathered.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import sympy as sp
from scipy.sparse import csr_array

from compiler import native
from compiler.calling import interpret
from compiler.executable import generate, optimized
from compiler.graph import box
from compiler.kernels.matmul import SIGNATURE, TILES, Matmul, matmul
from compiler.pack import pack_operands
from compiler.pad import pad_windows
from compiler.program import Equation, Index, Program, Tensor, size
from symnet.notation.gather import gather
from symnet.oracle.reference import evaluate

N = size("N")
n = Index("n", N)
P, U, C, O = 6, 3, 8, 8
p, u, c, o = Index("p", P), Index("u", U), Index("c", C), Index("o", O)
W = Tensor("W", (O, U, C), "parameter")


def run(program: Program, **values: Any) -> dict[str, Any]:
    """The program's outputs by its loops, after they are seen to be those of the evaluator."""
    rng = np.random.default_rng(1)
    sizes = {"N": 2}
    for tensor in program.tensors:
        if tensor.role in ("input", "parameter"):
            shape = [int(s.subs({N: 2})) for s in tensor.shape]
            values.setdefault(tensor.name, rng.normal(size=shape))
    expected, found = evaluate(program, values, sizes), interpret(program, values, sizes, plain=False)
    for output in program.outputs:
        np.testing.assert_allclose(found[output.name], expected[output.name], 1e-12, 1e-12)
    return found


def text_of(program: Program) -> str:
    return generate(program, "float32", None, {"N": 2})[0]


def forward(stride: int, low: int, length: int) -> Program:
    x, z = Tensor("x", (N, length, C), "input"), Tensor("z", (N, P, O))
    return Program((Equation(z[n, p, o], (n, p, o, u, c), W[o, u, c] * x[n, stride * p + u - low, c]),), (z,))


def backward(stride: int, low: int, length: int) -> Program:
    d, y = Tensor("d", (N, P, O), "input"), Tensor("y", (N, length, C))
    lhs = y[n, stride * p + u - low, c]
    return Program((Equation(lhs, (n, p, u, c, o), W[o, u, c] * d[n, p, o]),), (y,))


@pytest.mark.parametrize(("stride", "low"), [(1, 0), (1, 1), (2, 0), (2, 1)])
def test_a_window_is_one_product_a_sample_with_its_rows_overlapping(stride: int, low: int) -> None:
    program = forward(stride, low, stride * (P - 1) + U - 2 * low)
    run(program)
    text = text_of(program)
    assert text.count("product0(") == 1 and f"matmul_s_{P}x{O}x{U * C}_kn_{stride * C}_" in text


@pytest.mark.parametrize(("stride", "low"), [(1, 0), (1, 1), (2, 0), (2, 1)])
def test_a_scatter_through_a_window_is_a_product_without_guards(stride: int, low: int) -> None:
    program = backward(stride, low, stride * (P - 1) + U - 2 * low)
    run(program)
    text = text_of(program)
    assert "product0(" in text and " if " not in text.partition("def kernel")[2]


def test_gather_writes_each_element_once() -> None:
    program = backward(1, 1, P)
    [equation] = gather(program).equations
    assert box(program.equations[0]) is None and box(equation) is not None
    assert str(equation) == "y[n,i,c] = sum_u,o W[o,u,c]*d[n,i - u + 1,o]"


def test_gather_leaves_a_stride_a_long_axis_and_digits_alone() -> None:
    x = Tensor("x", (N, P, O), "input")
    flat = Tensor("y", (N, P * O))
    digits = Equation(flat[n, O * p + o], (n, p, o), x[n, p, o])
    for program in (backward(2, 0, 13), backward(1, 0, 40), Program((digits,), (flat,))):
        assert gather(program) == program


def test_gather_asks_that_a_factor_is_zero_outside() -> None:
    d, y = Tensor("d", (N, P + 2, O), "input"), Tensor("y", (N, P + U - 1, O))
    program = Program((Equation(y[n, p + u, o], (n, p, u, o), d[n, p, o]),), (y,))  # d has elements beyond p's range
    assert gather(program) == program
    run(program)


def test_gather_leaves_sparse_tensors_and_what_may_be_infinite_alone() -> None:
    d, y = Tensor("d", (N, P, O), "input"), Tensor("y", (N, P + U - 1, O))
    S = Tensor("S", (P, U), "constant", sparse=True)
    gathered = {}
    for name, factor in {"1/d": 1 / d[n, p, o], "1/(1+d^2)": 1 / (1 + d[n, p, o] ** 2), "S": S[p, u]}.items():
        program = Program((Equation(y[n, p + u, o], (n, p, u, o), d[n, p, o] * W[o, u, 0] * factor),), (y,))
        gathered[name] = gather(program) != program
        run(program, S=csr_array(np.eye(P, U)))
    assert gathered == {"1/d": False, "1/(1+d^2)": True, "S": False}


def test_padding_is_shared_by_all_windows_on_a_tensor() -> None:
    x = Tensor("x", (N, P, C), "input")
    z, s = Tensor("z", (N, P, O)), Tensor("s", (N, P, C))
    wide = Index("w", 5)
    program = Program(
        (
            Equation(z[n, p, o], (n, p, o, u, c), W[o, u, c] * x[n, p + u - 1, c]),
            Equation(s[n, p, c], (n, p, c, wide), x[n, p + wide - 2, c]),
        ),
        (z, s),
    )
    padded = pad_windows(program)
    made = [t for t in padded.tensors if t.name.endswith("_padded")]
    assert [[int(k) for k in t.shape[1:]] for t in made] == [[P + 4, C]]
    run(program)


@pytest.mark.parametrize(("low", "length", "shape"), [(1, P + U, P + U + 1), (0, P, P + U - 1), (0, P + U, None)])
def test_what_is_read_beyond_either_end_is_padded_there(low: int, length: int, shape: int | None) -> None:
    padded = [t.shape[1] for t in pad_windows(forward(1, low, length)).tensors if t.name == "x_padded"]
    assert padded == ([] if shape is None else [shape])


def test_integers_sparse_tensors_and_what_is_gathered_are_not_padded() -> None:
    w, y, label = Tensor("w", (U,), "input"), Tensor("y", (P, C)), Tensor("label", (P,), "input", "integer")
    x, whole = Tensor("x", (P, C), "input"), Tensor("whole", (P, C), "input", "integer")
    sparse, place = Tensor("sparse", (P, C), "constant", sparse=True), p + u - 1
    for read in (x[place, c], whole[place, c], sparse[place, c], x[label[p] + place, c]):
        program = Program((Equation(y[p, c], (p, u, c), w[u] * read),), (y,))
        assert (pad_windows(program) == program) is (read != x[place, c]), read


def test_only_a_product_is_scattered_into_a_wider_tensor() -> None:
    d, y = Tensor("d", (N, P, C), "input"), Tensor("y", (N, P, C))
    program = Program((Equation(y[n, p + u - 1, c], (n, p, u, c), d[n, p, c]),), (y,))
    assert pad_windows(program) == program != pad_windows(backward(1, 1, P))
    run(program)


def test_a_kernel_read_backwards_is_packed_once_and_mirrored() -> None:
    packed = pack_operands(pad_windows(gather(backward(1, 1, P))))
    [copy] = [e for e in packed.equations if e.tensor.name == "W_packed"]
    assert str(copy) == "W_packed[u,o,c] = W[o,2 - u,c]"
    assert any("i + u" in str(e) for e in packed.equations)


def test_nothing_is_packed_for_rows_that_are_gathered_since_that_is_no_product() -> None:
    x, z, label = Tensor("x", (N, P + U, C), "input"), Tensor("z", (N, P, O)), Tensor("label", (N,), "input", "integer")
    V = Tensor("V", (O, U, C), "input")
    taken = {rows: V[o, u, c] * x[rows, p + u, c] for rows in (n, label[n])}
    programs = {rows: Program((Equation(z[n, p, o], (n, p, o, u, c), f),), (z,)) for rows, f in taken.items()}
    assert [pack_operands(program) == program for program in programs.values()] == [False, True]


def test_the_digits_of_a_number_are_a_box() -> None:
    x, y = Tensor("x", (N, 3, 4), "input"), Tensor("y", (N, 12))
    i, j = Index("i", 3), Index("j", 4)
    assert box(Equation(y[n, 4 * i + j], (n, i, j), x[n, i, j])) is not None
    assert box(Equation(y[n, 3 * i + j], (n, i, j), x[n, i, j])) is None  # 3*0 + 3 = 3*1 + 0
    assert box(Equation(y[n, 5 * i + j], (n, i, j), x[n, i, j])) is None  # 4 is left out


def test_a_map_of_a_part_of_a_tensor_is_not_put_in_its_place() -> None:
    x, a, b = Tensor("x", (N,), "input"), Tensor("a", (N, 3)), Tensor("b", (N, 3))
    i, first = Index("i", 3), Index("i", 1)
    program = Program((Equation(a[n, first], (n, first), 2 * x[n]), Equation(b[n, i], (n, i), 1 + a[n, i])), (b,))
    assert run(program, x=np.array([1.0, 2.0]))["b"].tolist() == [[3.0, 1.0, 1.0], [5.0, 1.0, 1.0]]


def test_what_a_condition_chooses_once_is_a_store() -> None:
    x, y = Tensor("x", (N, 3), "input"), Tensor("y", (N, 6))
    k = Tensor("k", (N, 3), "input", "integer")
    i, j = Index("i", 3), Index("j", 2)

    program = Program((Equation(y[n, 2 * i + j], (n, i, j), x[n, i], "sum", sp.Eq(j, k[n, i])),), (y,))
    run(program, k=np.array([[0, 1, 1], [1, 0, 0]]))
    assert "if" not in text_of(program).partition("def kernel")[2].replace("# if", "")
    assert not any(e.where != True for e in optimized(program)[0].equations)  # noqa: E712


@pytest.mark.parametrize("target", TILES.values(), ids=TILES)
@pytest.mark.parametrize("segments", [((3, 40, 70),), ((2, 30, 500), (3, -5, 80))])
def test_a_kernel_sums_over_segments(target: Any, segments: tuple[tuple[int, int, int], ...]) -> None:
    rng = np.random.default_rng(2)
    for number, (dtype, start) in enumerate(itertools.product(("float32", "float64"), ("zero", "bias", "c"))):
        rows, columns, depth = ((7, 10, 4), (13, 33, 5), (4, 8, 1))[number % 3]
        a_form = "km"[number % 2]
        lda = depth if a_form == "k" else rows
        spec = Matmul(dtype, rows, columns, depth, a_form, "n", lda, columns, columns, start, segments)
        A, B = rng.normal(size=400).astype(dtype), rng.normal(size=2000).astype(dtype)
        C, D = rng.normal(size=(rows, columns)).astype(dtype), rng.normal(size=columns).astype(dtype)
        steps = [(0, 0)]
        for count, of_a, of_b in segments:
            steps = [(x + q * of_a, y + q * of_b) for x, y in steps for q in range(count)]
        expected = {"zero": np.zeros_like(C), "bias": np.tile(D, (rows, 1)), "c": C}[start].astype(float)
        first = 20  # negative steps
        for x, y in steps:
            block = A[first + x : first + x + rows * depth].astype(float)
            left = block.reshape(rows, depth) if a_form == "k" else block.reshape(depth, rows).T
            expected = expected + left @ B[y : y + depth * columns].reshape(depth, columns).astype(float)
        function = native.build_kernel(*matmul(spec, target), passes="none")
        call = native.callable_from(function, SIGNATURE[dtype])
        call(A[first:].ctypes.data, B.ctypes.data, C.ctypes.data, D.ctypes.data, rows, columns, depth)
        np.testing.assert_allclose(C, expected, rtol=2e-4 if dtype == "float32" else 1e-12, atol=1e-4)


@pytest.mark.parametrize(("length", "is_gathered"), [(2 * P, True), (2 * P + 1, False)])
def test_a_scatter_over_an_axis_more_than_twice_as_long_stays_one(length: int, is_gathered: bool) -> None:
    program = backward(1, 0, length)
    run(program)
    assert (gather(program).equations[0].lhs.subscripts != program.equations[0].lhs.subscripts) is is_gathered


def test_a_packed_operand_has_its_own_indices_and_no_others() -> None:
    """z[n,p,o] = sum_u,c V[o,u] x[n,p+u,c]: the copy of V is (u, o), whatever else is summed."""
    V, x, z = Tensor("V", (O, U), "input"), Tensor("x", (N, P + U, C), "input"), Tensor("z", (N, P, O))
    packed = pack_operands(Program((Equation(z[n, p, o], (n, p, o, u, c), V[o, u] * x[n, p + u, c]),), (z,)))
    assert [tensor.shape for tensor in packed.tensors if tensor.name == "V_packed"] == [(U, O)]
