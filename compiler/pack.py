"""Packed operands: what a product reads many times is copied once into the order in which it is read.

In: a program with padded windows.  Out: the same, where in each product of a window with a small tensor

    T[n,i,c] = sum_uo A[n,i-u+2,o]*W[o,u,c]         W is stored with o fastest, as the forward product has it

the small one is a copy V with the axes that are summed first, mirrored along the taps that the window runs backwards:

    V[u,o,c] = W[o,2-u,c],   T[n,i,c] = sum_uo A[n,i+u,o]*V[u,o,c]

so that the product reads rows of V, and (u,o) runs through A as one axis.  The copy is a few thousand elements; the
product reads it for every row of every sample.  Likewise in a loop over steps: a factor that is the same in all steps,
and would be transposed in each, is turned before.

    d[n,t,k] = sum_u U[u,k]*e[n,t+1,u]              U is stored with u fastest, as the forward product has it
    V[u,k] = U[u,k],   d[n,t,k] = sum_u V[u,k]*e[n,t+1,u]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sympy import Basic

from .dependence import loop_axes
from .layout import Layout, choose_orders
from .lower import storage_orders
from .passes.rewriting import free_name
from .product import as_product
from .program import Access, Equation, Index, Program, Tensor, affine


def pack_operands(program: Program) -> Program:
    if not any(_has_window(e) for e in program.equations):
        return program
    layout = Layout(choose_orders(program.equations, [t for t in program.tensors if t.role == "parameter"]))
    result: list[Equation] = []
    made: dict[Access, Tensor] = {}
    taken = {t.name for t in program.tensors}
    for equation in program.equations:
        result += _packed(equation, layout, made, taken)
    return program.with_equations(result)


def _has_window(equation: Equation) -> bool:
    """A sum of products of two tensors, one of which, or the left-hand side, is read or written through a window."""
    factors = equation.rhs.args
    if equation.op != "sum" or not equation.bound or not equation.rhs.is_Mul or len(factors) != 2:
        return False
    if equation.where != True or not all(isinstance(f, Access) and f.tensor.kind == "real" for f in factors):  # noqa: E712
        return False
    parts = [affine(s) for a in (equation.lhs, *factors) for s in a.subscripts]
    return all(p is not None and not p.gathers for p in parts) and any(p and len(p.terms) > 1 for p in parts)


def _packed(equation: Equation, layout: Layout, made: dict[Access, Tensor], taken: set[str]) -> list[Equation]:
    if not _has_window(equation):
        return [equation]
    for small, large in (equation.rhs.args, equation.rhs.args[::-1]):
        own = layout.stored_order(small)
        plain = [s for s in small.subscripts if isinstance(s, Index)]
        fixed = all(isinstance(s, Index) or s.is_number for s in small.subscripts) and len(set(plain)) == len(plain)
        if not fixed or small.tensor.sparse or not all(n.is_Integer for n in small.tensor.shape):
            continue
        strides = layout.address(large).strides
        summed = [i for i in layout.stored_order(large) if i in own and i not in equation.free]
        kept = [i for i in own if i not in summed]
        row = layout.stored_order(equation.lhs)[-1:]
        backwards = {i for i in summed if strides[i].is_negative}
        if not summed or not row or row[0] not in kept or row[0] in strides or (own[-1] in row and not backwards):
            continue
        mirrored: Mapping[Basic, Basic] = {i: i.high - 1 + i.low - i for i in backwards}
        order = [*(i for i in kept if i not in row), *summed, *row]
        before, copy = _copied(small.xreplace(dict(mirrored)), order, made, taken)
        return [*before, Equation(equation.lhs, equation.domain, large.xreplace(dict(mirrored)) * copy)]
    return [equation]


def _copied(
    source: Access, order: Sequence[Index], made: dict[Access, Tensor], taken: set[str]
) -> tuple[list[Equation], Access]:
    """What is to be copied, stored in this order of its indices: the equation of the copy, if it is new, and itself."""
    before = []
    copy = tuple(i - i.low for i in order)
    if source not in made:
        made[source] = Tensor(free_name(f"{source.tensor.name}_packed", taken), [i.extent for i in order])
        before = [Equation(made[source][copy], tuple(order), source)]
    return before, made[source][copy]


# ---------------------------------------------------------------------------------------------- loops over steps
def turn_operands(program: Program) -> Program:
    axes = loop_axes(program.equations)
    if not axes:
        return program
    layout = Layout(storage_orders(program))
    result: list[Equation] = []
    made: dict[Access, Tensor] = {}
    taken = {t.name for t in program.tensors}
    for equation in program.equations:
        steps = {equation.lhs.subscripts[axis] for axis in axes.get(equation.tensor, ())}
        result += _turned(equation, steps, layout, made, taken) if steps else [equation]
    return program.with_equations(result)


def _turned(
    equation: Equation, steps: set[Basic], layout: Layout, made: dict[Access, Tensor], taken: set[str]
) -> list[Equation]:
    """The product of one step with its second factor turned, if the factor is that of all steps."""
    loops = {i for s in steps for i in s.atoms(Index)}
    one = replace(equation, domain=tuple(i for i in equation.domain if i not in loops))
    product = as_product(one, layout)
    if product is None or not product.b_transposed or product.batch or product.outer:
        return [equation]
    if product.b.tensor.role == "value" or not all(n.is_Integer for n in product.b.tensor.shape):
        return [equation]
    if not loops.isdisjoint(product.b.free_symbols):
        return [equation]  # each step has a factor of its own
    before, copy = _copied(product.b, (*product.k, *product.n), made, taken)
    return [*before, replace(equation, rhs=product.a * copy)]
