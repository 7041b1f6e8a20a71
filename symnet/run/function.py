"""A function of numbers, compiled: an activation, or one of its derivatives, outside any network.

In: what a layer takes as its activation.  Out: a Function, which maps arrays element by element.  The derivative is
derived by the one rule, as in training, and compiled by the strict passes: each value is as accurate as its own size
allows, for numbers of any size, at kinks and at infinities (tests/RESULTS.md has the errors).
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..declare import checks
from ..declare.activations import resolve, settings
from ..errors import Quoted, complaint, unknown

if TYPE_CHECKING:
    from sympy import Expr

    from compiler.executable import Executable
    from compiler.program import Program

Array = np.ndarray[Any, np.dtype[Any]]
DTYPES = ("float32", "float64")
CHUNK = 2**16  # elements in one call
HIGHEST = 4  # order of a derivative


class Function:
    """f, f', ... of one activation: `print` it, call it on an array.  Made by `symnet.function`."""

    def __init__(self, activation: Any, dtype: Any = "float64", order: int = 0) -> None:
        choice = checks.activation(activation, "function")
        name = np.dtype(dtype).name if isinstance(dtype, type | np.dtype) else dtype
        if name not in DTYPES:
            raise unknown("function, dtype", "dtype", name, DTYPES)
        if isinstance(order, bool) or not isinstance(order, int) or not 0 <= order <= HIGHEST:
            raise complaint("function, derivative", order, f"a whole number from 0 to {HIGHEST}")
        self.activation, self.dtype, self.order = choice, name, order

    def __repr__(self) -> str:
        return f"Function({self.activation.name or 'formula'}{chr(39) * self.order}: {self.expr}; {self.dtype})"

    def derivative(self, order: int = 1) -> Function:
        """The derivative of that order, at kinks as activations.py says."""
        return Function(self.activation, self.dtype, self.order + order if type(order) is int else order)

    def __call__(self, x: Any) -> Array:
        """The value at each element: an array of the shape of x.  NaN gives NaN."""
        from compiler.calling import call

        try:
            given = np.asarray(x)
        except ValueError:
            raise complaint("function, x", Quoted("rows of different lengths"), "numbers") from None
        if given.dtype.kind not in "fiu":
            raise complaint("function, x", Quoted(f"an array of {given.dtype}"), "real numbers")
        flat, result = np.ravel(given).astype(self.dtype, copy=False), np.empty(given.size, self.dtype)
        for start in range(0, flat.size, CHUNK):
            part = flat[start : start + CHUNK]
            result[start : start + CHUNK] = call(self._executable, {"x": part}, {"N": part.size})[self._output]
        return result.reshape(given.shape)

    @property
    def expr(self) -> Expr:
        """Its formula in x (SymPy), as the passes read it."""
        (equation,) = (e for e in self._program.equations)
        return equation.rhs

    @cached_property
    def _program(self) -> Program:
        from compiler.program import Equation, Index, Program, Tensor, size

        from ..differentiate import pullback
        from ..formulation.formula import X, number

        chosen = settings(self.activation.name, self.activation.mapping, "function")
        found = resolve(chosen, "function")
        fixed = {symbol: number(chosen.values[name]) for name, symbol in found.symbols.items()}
        n = Index("n", size("N"))
        x, y = Tensor("x", (size("N"),), "input"), Tensor("f", (size("N"),))
        equations: tuple[Equation, ...] = (Equation(y[n], (n,), found.expression.xreplace({**fixed, X: x[n]})),)
        for _ in range(self.order):
            swept = pullback(equations, {y: 1}, (x,))
            equations, y = swept.equations, swept.adjoints[x]
        return Program(equations, (y,))

    @property
    def _output(self) -> str:
        return self._program.outputs[0].name

    @cached_property
    def _executable(self) -> Executable:
        from compiler.executable import compile_program

        return compile_program(self._program, self.dtype, None, {"N": CHUNK}, accuracy="strict")


def function(activation: Any, dtype: Any = "float64") -> Function:
    """An activation as a function of numbers: f(x), f.derivative(), f.derivative(2), ..., each compiled at first use.

    activation: what `dense` takes: a name ("swish"), a table of a name with options ({"name": "swish", "beta": 2.0}) or
    of a formula in x ({"formula": "x*logistic(beta*x)", "parameters": {"beta": 1.0}}); learned parameters are at the
    values given.  dtype: "float32" or "float64".  Raises SymnetError for what is none of these.

    Values at special points, for the parameters as they are where none are given.  NaN gives NaN, but identity' is 1.

                      f(-inf)  f(-0)  f(0)  f(inf)  f'(-inf)  f'(0)  f'(inf)
        identity         -inf     -0     0     inf         1      1        1
        logistic            0    0.5   0.5       1         0   0.25        0
        tanh               -1     -0     0       1         0      1        0
        hard_logistic       0    0.5   0.5       1         0   0.25        0
        hard_tanh          -1     -0     0       1         0      1        0
        relu                0      0     0     inf         0      0        1
        leaky_relu       -inf     -0     0     inf      0.01   0.01        1
        prelu            -inf     -0     0     inf      0.25   0.25        1
        elu                -1     -0     0     inf         0      1        1
        softplus            0 log(2) log(2)    inf         0    0.5        1
        swish               0     -0     0     inf         0    0.5        1
        gelu                0     -0     0     inf         0    0.5        1
        gelu_tanh           0     -0     0     inf         0    0.5        1
        selu               -c     -0     0     inf         0      c    scale
        mish                0     -0     0     inf         0    0.6        1
        softsign           -1     -0     0       1         0      1        0
        abs               inf      0     0     inf        -1      0        1
        sine              nan     -0     0     nan       nan      1      nan

    c is 1.7580993408473768, scale 1.0507009873554805.  f'(-0) is f'(0).  At the corners of hard_logistic (-2 and 2) and
    of hard_tanh (-1 and 1) f' is 0.

    >>> function("relu").derivative()([-1.0, 0.0, 2.0]).tolist()
    [0.0, 0.0, 1.0]
    """
    return Function(activation, dtype)
