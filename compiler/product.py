"""Which equations are matrix products: recognized by index sets and strides, never by where an equation came from.

C[batch, m, n] = sum_k A[batch, m, k] * B[batch, k, n].  Several indices may make up one of m, n, k where the strides
allow to run over them as one; where they do not, the slower ones become loops around the product: batches, or `outer`
indices that are summed.  Those of the latter whose strides are literal are `segments`: the kernel runs over them
itself, with its sums in registers (batch-reduce products, Georganas et al. 2020).

Only strides matter, so a subscript may have several indices.  A window x[n, p+u, q+v, c] is a matrix whose rows q
overlap: v and c together are one axis of unit stride, u a segment.  Where the window is on the left (a scatter), its
indices become loops: the elements of C that one call writes are distinct.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sympy as sp
from sympy import Expr

from .layout import Layout
from .program import Access, Equation, Index, affine, in_range, sort_key

# A call of so few multiplications takes up to twice as long as a loop nest.  In a tiny program those of a row count: it
# may run in the lanes of vectors, where there are no calls.
TINY = 16


@dataclass(frozen=True, slots=True)
class Segment:
    """An index that is summed around k: its extent, and its strides in A and B."""

    count: int
    a: int
    b: int


@dataclass(frozen=True, slots=True)
class Product:
    """C = A B with unit stride of C in n; `a_transposed`: unit stride of A in m; `b_transposed`: of B in k.

    Loops around the call are over `outer`, which are summed, and `batch`; in the kernel over `inner`, summed, and k."""

    batch: tuple[Index, ...]
    outer: tuple[Index, ...]
    inner: tuple[Index, ...]
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
    segments: tuple[Segment, ...] = ()  # of the indices `inner`

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
    """A subscript that is not affine, or a gather."""
    parts = [affine(s) for s in access.subscripts]
    return any(p is None or p.gathers for p in parts)


def _arrange(a: Access, b: Access, equation: Equation, layout: Layout) -> Product | None:
    of_a, of_b, of_c = layout.address(a).strides, layout.address(b).strides, layout.address(equation.lhs).strides
    batch = [i for i in equation.domain if i in of_a and i in of_b and i in of_c]
    m = [i for i in equation.domain if i in of_a and i in of_c and i not in of_b]
    n = [i for i in equation.domain if i in of_b and i in of_c and i not in of_a]
    k = [i for i in equation.domain if i in of_a and i in of_b and i not in of_c]
    if len(batch) + len(m) + len(n) + len(k) != len(equation.domain) or not (m and n and k):
        return None
    extents = [i.extent for i in (*m, *n, *k) if i.extent.is_Integer or not layout.tiny]
    if (small := sp.Mul(*extents)).is_Integer and small <= TINY:
        return None
    c = equation.lhs
    m, m_loops, (am, cm) = _merged(m, (a, c), layout)
    n, n_loops, (bn, cn) = _merged(n, (b, c), layout)
    k, outer, (ak, bk) = _merged(k, (a, b), layout)
    if cn != 1 or not _literal(cm):
        return None
    while len(n) > 1 and not _distinct(cm, n, m):  # rows of C would overlap
        n_loops.append(n.pop(0))
    if not _distinct(cm, n, m):
        return None
    loops = {*batch, *m_loops, *n_loops}
    batch = [i for i in layout.stored_order(c) if i in loops]
    a_transposed = ak != 1
    if a_transposed and am != 1:
        return None
    b_transposed = bn != 1
    if b_transposed and bk != 1:
        return None
    lda, ldb = (ak if a_transposed else am), (bn if b_transposed else bk)
    if not all(_literal(stride) and stride > 0 for stride in (lda, ldb)):
        return None
    inner: list[Index] = []
    while outer and not b_transposed and _is_segment(outer[-1], of_a, of_b):
        inner.insert(0, outer.pop())
    segments = tuple(Segment(int(i.extent), int(of_a[i]), int(of_b[i])) for i in inner)
    return Product(
        batch=tuple(batch),
        outer=tuple(outer),
        inner=tuple(inner),
        m=tuple(m),
        n=tuple(n),
        k=tuple(k),
        a=a,
        b=b,
        a_transposed=a_transposed,
        b_transposed=b_transposed,
        lda=int(lda),
        ldb=int(ldb),
        ldc=int(cm),
        segments=segments,
    )


def _distinct(row: Expr, n: Sequence[Index], m: Sequence[Index]) -> bool:
    """The rows of C that one call writes do not overlap."""
    rows = sp.Mul(*(i.extent for i in m))
    return rows == 1 or bool((row - sp.Mul(*(i.extent for i in n))).is_nonnegative)


def _is_segment(index: Index, of_a: dict[Index, Expr], of_b: dict[Index, Expr]) -> bool:
    return bool(index.extent.is_Integer and _literal(of_a[index]) and _literal(of_b[index]))


def _literal(stride: Expr) -> bool:
    return bool(stride.is_Integer)


def _merged(
    group: Sequence[Index], accesses: Sequence[Access], layout: Layout
) -> tuple[list[Index], list[Index], list[Expr]]:
    """Indices of the group that can be run over as one, the others, and the stride of the former in each access: the
    fastest ones, if these strides are known; else the next that have known strides.  An index with one value is none
    of them, if there are others."""
    found = [i for i in layout.stored_order(accesses[0]) if i in group]
    single = [i for i in found if i.extent == 1][: len(found) - 1]
    ordered = [i for i in found if i not in single]
    tables = [layout.address(a).strides for a in accesses]
    known = [k for k, i in enumerate(ordered) if all(_literal(t[i]) for t in tables)]
    last = max(known, default=len(ordered) - 1)
    start = last
    while start and all(t[ordered[start - 1]] == t[ordered[start]] * ordered[start].extent for t in tables):
        start -= 1
    others = [*single, *ordered[:start], *ordered[last + 1 :]]
    return ordered[start : last + 1], others, [t[ordered[last]] for t in tables]
