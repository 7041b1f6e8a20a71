"""Which equations are matrix products: recognized by index sets and strides, never by where an equation came from.

C[batch, m, n] = sum_k A[batch, m, k] * B[batch, k, n].  Several indices may make up one of m, n, k where the strides
allow to run over them as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import sympy as sp
from sympy import Expr

from .layout import Layout
from .program import Access, Equation, Index, affine, in_range, sort_key

TINY = 16  # below this many multiplications for each row a loop nest is faster than a call; measured


@dataclass(frozen=True, slots=True)
class Product:
    """C = A B with unit stride of C in n; `a_transposed`: unit stride of A in m; `b_transposed`: of B in k."""

    batch: tuple[Index, ...]
    m: tuple[Index, ...]
    n: tuple[Index, ...]
    k: tuple[Index, ...]
    a: Access
    b: Access
    a_transposed: bool
    b_transposed: bool
    lda: int
    ldb: int
    ldc: int

    def extents(self) -> tuple[Expr, Expr, Expr]:
        """(rows, columns, depth)"""
        m, n, k = (sp.Mul(*(i.extent for i in group)) for group in (self.m, self.n, self.k))
        return m, n, k


def as_product(equation: Equation, layout: Layout) -> Product | None:
    """The product that the equation is, or None."""
    rhs = equation.rhs
    if equation.op != "sum" or equation.where != True or not equation.bound or not rhs.is_Mul:  # noqa: E712
        return None
    if len(rhs.args) != 2 or not all(isinstance(a, Access) and a.tensor.kind == "real" for a in rhs.args):
        return None
    a, b = sorted(rhs.args, key=sort_key)
    c = equation.lhs
    if any(x.tensor.sparse or not in_range(x) or _tangled(x) for x in (a, b, c)):
        return None
    strides = layout.address(c).strides
    fastest = [i for i in equation.domain if strides.get(i) == 1]
    for first, second in ((a, b), (b, a)):
        found = _arrange(first, second, equation, layout)
        if found is not None and any(i in found.n for i in fastest):
            return found
    return None


def _tangled(access: Access) -> bool:
    """A gather, or an axis with more than one index, or an index on two axes."""
    seen: set[Index] = set()
    for subscript in access.subscripts:
        parts = affine(subscript)
        if parts is None or parts.gathers or (parts.terms and parts.plain is None) or parts.plain in seen:
            return True
        if parts.plain is not None:
            seen.add(parts.plain)
    return False


def _arrange(a: Access, b: Access, equation: Equation, layout: Layout) -> Product | None:
    of_a, of_b, of_c = layout.address(a).strides, layout.address(b).strides, layout.address(equation.lhs).strides
    batch = [i for i in equation.domain if i in of_a and i in of_b and i in of_c]
    m = [i for i in equation.domain if i in of_a and i in of_c and i not in of_b]
    n = [i for i in equation.domain if i in of_b and i in of_c and i not in of_a]
    k = [i for i in equation.domain if i in of_a and i in of_b and i not in of_c]
    if len(batch) + len(m) + len(n) + len(k) != len(equation.domain) or not (m and n and k):
        return None
    small = sp.Mul(*(i.extent for i in (*n, *k) if i.extent.is_Integer), *(i.extent for i in m if i.extent.is_Integer))
    if small <= TINY:
        return None
    c = equation.lhs
    runs = [_merged(group, pair, layout) for group, pair in ((m, (a, c)), (n, (b, c)), (k, (a, b)))]
    if any(run is None for run in runs):
        return None
    (m, (am, cm)), (n, (bn, cn)), (k, (ak, bk)) = (run for run in runs if run is not None)
    if cn != 1 or not _literal(cm):
        return None
    a_transposed = ak != 1
    if a_transposed and am != 1:
        return None
    b_transposed = bn != 1
    if b_transposed and bk != 1:
        return None
    lda, ldb = (ak if a_transposed else am), (bn if b_transposed else bk)
    if not (_literal(lda) and _literal(ldb)):
        return None
    return Product(
        tuple(batch), tuple(m), tuple(n), tuple(k), a, b, a_transposed, b_transposed, int(lda), int(ldb), int(cm)
    )


def _literal(stride: Expr) -> bool:
    return bool(stride.is_Integer)


def _merged(
    group: Sequence[Index], accesses: Sequence[Access], layout: Layout
) -> tuple[list[Index], list[Expr]] | None:
    """The group, slowest first, and its stride in each access, if it can be run over as one index."""
    ordered = [i for i in layout.stored_order(accesses[0]) if i in group]
    tables = [layout.address(a).strides for a in accesses]
    for table in tables:
        if any(table[slow] != table[fast] * fast.extent for slow, fast in pairwise(ordered)):
            return None
    return ordered, [table[ordered[-1]] for table in tables]
