"""Optimizers: a table of formulas.  An update is equations like any other, lowered through the same pipeline.

In: a checked choice, and the parameters with their gradients.  Out: an Update: equations for the next value of each
parameter and state, the pairs (old, next), initial values of the states, defaults of the hyper-parameters.

In formulas: W the parameter, g its gradient, a state by its name, its next value `<state>_next`, the hyper-parameters
and the scalars by their names, step = 1, 2, ... the number of the update being made.  All states start at 0 but those
of rank 0, which say where.  What depends on the step alone is a scalar equation, so that the loop over parameters has
no power function.  Constants and defaults are PyTorch's (2.x); momentum is 0.9 where the name asks for one.

Sources: momentum: Polyak 1964; nesterov: Sutskever et al. 2013; adagrad: Duchi et al. 2011; adadelta: Zeiler 2012;
rmsprop: Hinton 2012; adam: Kingma and Ba 2015; adamw: Loshchilov and Hutter 2019; nadam: Dozat 2016.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .errors import complaint, unknown

if TYPE_CHECKING:
    from sympy import Basic, Expr

    from compiler.program import Equation, Tensor

Formulas = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Hyper:
    """A hyper-parameter: its symbol in formulas and programs, its default, the values that it may take."""

    symbol: str
    default: float
    low: float = 0.0
    below: float = float("inf")


@dataclass(frozen=True, slots=True)
class Row:
    """An optimizer.

    update: the next value of W.  states: (state of the shape of W, its next value).  scalars: rank-0 values, in order;
    a rank-0 state is in `memory` with its initial value and gets its next one from the scalar `<state>_next`.
    """

    name: str
    hyper: Mapping[str, Hyper]
    update: str
    states: Formulas = ()
    scalars: Formulas = ()
    memory: tuple[tuple[str, float], ...] = ()
    aliases: tuple[str, ...] = ()


# fmt: off
def _rate(default: float) -> dict[str, Hyper]:
    return {"learning_rate": Hyper("alpha", default)}

_MOMENTUM = {"momentum": Hyper("mu", 0.9, 0.0, 1.0)}
_BETAS = {"beta1": Hyper("beta1", 0.9, 0.0, 1.0), "beta2": Hyper("beta2", 0.999, 0.0, 1.0)}
_EPSILON = {"epsilon": Hyper("epsilon", 1e-8)}
_MOMENTS = (("m", "beta1*m + (1 - beta1)*g"), ("v", "beta2*v + (1 - beta2)*g**2"))
_CORRECTED = (("alpha_step", "alpha/(1 - beta1**step)"), ("root", "1/sqrt(1 - beta2**step)"))

ROWS: tuple[Row, ...] = (
    Row("gradient_descent", _rate(1e-3), "W - alpha*g", aliases=("sgd",)),
    Row("momentum", {**_rate(1e-3), **_MOMENTUM}, "W - alpha*m_next", (("m", "mu*m + g"),)),
    Row("nesterov", {**_rate(1e-3), **_MOMENTUM}, "W - alpha*(g + mu*m_next)", (("m", "mu*m + g"),)),
    Row("adagrad", {**_rate(1e-2), "epsilon": Hyper("epsilon", 1e-10)}, "W - alpha*g/(sqrt(v_next) + epsilon)",
        (("v", "v + g**2"),)),
    Row("rmsprop", {**_rate(1e-2), "rho": Hyper("rho", 0.99, 0.0, 1.0), **_EPSILON},
        "W - alpha*g/(sqrt(v_next) + epsilon)", (("v", "rho*v + (1 - rho)*g**2"),)),
    Row("adadelta", {**_rate(1.0), "rho": Hyper("rho", 0.9, 0.0, 1.0), "epsilon": Hyper("epsilon", 1e-6)},
        "W - alpha*g*sqrt((u + epsilon)/(v_next + epsilon))",
        (("v", "rho*v + (1 - rho)*g**2"), ("u", "rho*u + (1 - rho)*g**2*(u + epsilon)/(v_next + epsilon)"))),
    Row("adam", {**_rate(1e-3), **_BETAS, **_EPSILON},
        "W - alpha_step*m_next/(sqrt(v_next)*root + epsilon)", _MOMENTS, _CORRECTED),
    Row("adamw", {**_rate(1e-3), **_BETAS, **_EPSILON, "weight_decay": Hyper("decay", 1e-2)},
        "W*keep - alpha_step*m_next/(sqrt(v_next)*root + epsilon)", _MOMENTS,
        (*_CORRECTED, ("keep", "1 - alpha*decay"))),
    Row("nadam", {**_rate(2e-3), **_BETAS, **_EPSILON, "momentum_decay": Hyper("psi", 4e-3)},
        "W - (alpha_gradient*g + alpha_moment*m_next)/(sqrt(v_next)*root + epsilon)", _MOMENTS,
        (("mu", "beta1*(1 - 0.5*0.96**(step*psi))"),
         ("mu_after", "beta1*(1 - 0.5*0.96**((step + 1)*psi))"),
         ("product_next", "product*mu"),
         ("alpha_gradient", "alpha*(1 - mu)/(1 - product_next)"),
         ("alpha_moment", "alpha*mu_after/(1 - product_next*mu_after)"),
         ("root", "1/sqrt(1 - beta2**step)")),
        (("product", 1.0),)),
)
# fmt: on
TABLE: Mapping[str, Row] = MappingProxyType({name: row for row in ROWS for name in (row.name, *row.aliases)})


@dataclass(frozen=True, slots=True)
class Update:
    """One step of an optimizer, as equations.  `states` gives the value that every element starts from."""

    equations: tuple[Equation, ...]
    updates: tuple[tuple[Tensor, Tensor], ...]
    states: Mapping[Tensor, float]
    hyper: Mapping[str, float]


def row(name: str, options: Mapping[str, Any], where: str) -> Row:
    """The row of a choice, its options checked."""
    if name not in TABLE:
        raise unknown(where, "optimizer", name, TABLE)
    found = TABLE[name]
    for key, value in options.items():
        if key not in found.hyper:
            raise unknown(where, f"option of {name}", key, found.hyper)
        hyper = found.hyper[key]
        if isinstance(value, bool) or not isinstance(value, int | float) or not hyper.low <= value < hyper.below:
            span = f"at least {hyper.low:g}" if hyper.below == float("inf") else f"in [{hyper.low:g}, {hyper.below:g})"
            raise complaint(f"{where}, {key}", value, f"a number {span}")
    return found


def values(chosen: Row, options: Mapping[str, Any]) -> dict[str, float]:
    """Symbol -> value of every hyper-parameter."""
    return {hyper.symbol: float(options.get(key, hyper.default)) for key, hyper in chosen.hyper.items()}


def build(chosen: Row, options: Mapping[str, Any], pairs: Sequence[tuple[Tensor, Tensor]]) -> Update:
    """The equations of one update of every (parameter, gradient)."""
    import sympy as sp

    from compiler.program import Access, Equation, Tensor

    from .formula import parse
    from .layers import own_indices

    rank0: dict[str, Tensor] = {hyper.symbol: Tensor(hyper.symbol, (), "hyper") for hyper in chosen.hyper.values()}
    rank0 |= {"step": Tensor("step", (), "hyper", "integer")}
    rank0 |= {name: Tensor(name, (), "state") for name, _ in chosen.memory}
    rank0 |= {name: Tensor(name) for name, _ in chosen.scalars}
    own = ("W", "g", *(name for name, _ in chosen.states), *(f"{name}_next" for name, _ in chosen.states))
    symbols = {name: sp.Symbol(name, real=True) for name in (*rank0, *own)}
    scalars: dict[Basic, Basic] = {symbols[name]: Access(tensor) for name, tensor in rank0.items()}

    def read(formula: str) -> Expr:
        return parse(formula, symbols, where=f"optimizer {chosen.name}").xreplace(scalars)

    equations = [Equation(Access(rank0[name]), (), read(formula)) for name, formula in chosen.scalars]
    updates = [(rank0[name], rank0[f"{name}_next"]) for name, _ in chosen.memory]
    states: dict[Tensor, float] = {rank0[name]: initial for name, initial in chosen.memory}
    formulas = [(name, read(formula)) for name, formula in chosen.states]
    update = read(chosen.update)
    for parameter, gradient in pairs:
        indices = own_indices(parameter)
        olds = {name: Tensor(f"{name}_{parameter.name}", parameter.shape, "state") for name, _ in formulas}
        news = {name: Tensor(f"{old.name}_next", parameter.shape) for name, old in olds.items()}
        after = Tensor(f"{parameter.name}_next", parameter.shape)
        at: dict[Basic, Basic] = {
            symbols["W"]: Access(parameter, *indices),
            symbols["g"]: Access(gradient, *indices),
            **{symbols[name]: Access(old, *indices) for name, old in olds.items()},
            **{symbols[f"{name}_next"]: Access(new, *indices) for name, new in news.items()},
        }
        for name, formula in formulas:
            equations.append(Equation(Access(news[name], *indices), indices, formula.xreplace(at)))
        equations.append(Equation(Access(after, *indices), indices, update.xreplace(at)))
        updates += [(parameter, after), *((olds[name], news[name]) for name in olds)]
        states |= dict.fromkeys(olds.values(), 0.0)
    return Update(tuple(equations), tuple(updates), MappingProxyType(states), MappingProxyType(values(chosen, options)))
