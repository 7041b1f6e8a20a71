"""Optimizers: a table of formulas.  An update is equations like any other, lowered through the same pipeline.

In: a checked choice, and the parameters with their gradients.  Out: an Update: equations for the next value of each
parameter and state, the pairs (old, next), initial values of the states, defaults of the hyper-parameters.

In formulas: W the parameter, g its gradient, a state by its name, its next value `<state>_next`, the hyper-parameters
and the scalars by their names, step = 1, 2, ... the number of the update being made.  All states start at 0 but those
of rank 0, which say where.  What depends on the step alone is a scalar equation, so that the loop over parameters has
no power function.  Constants and defaults are PyTorch's (2.x); momentum is 0.9 where the name asks for one.

A user's own optimizer is such a row, too:  {formula = "W - learning_rate*m_next", states = {m = "momentum*m + g"},
parameters = {learning_rate = 0.1, momentum = 0.9}}, with `scalars` and `memory` (rank-0 states and their first values)
where it needs them.  With every optimizer go, as equations before its own:

    schedule      the learning rate of an update, see schedules.py
    weight_decay  decoupled: W times 1 - (learning rate)*weight_decay, apart from the gradient; adamw has 0.01
    decay         what decays: patterns of parameters' names such as ["*.W", "head.*"]; if not said, the weights, as
                  penalties have them: no bias, no gain or shift of a normalization, no learned slope
    clip_norm     g times min(1, clip_norm / (norm of all gradients together + 1e-6)), as PyTorch does
    clip_value    every element of g, after that, at most clip_value in size

Sources: momentum: Polyak 1964; nesterov: Sutskever et al. 2013; adagrad: Duchi et al. 2011; adadelta: Zeiler 2012;
rmsprop: Hinton 2012; adam: Kingma and Ba 2015; adamw: Loshchilov and Hutter 2019; nadam: Dozat 2016; clip_norm:
Pascanu et al. 2013; weight_decay: Loshchilov and Hutter 2019.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..errors import Quoted, complaint, unknown
from .schedules import Formulas, Hyper, schedule, table

if TYPE_CHECKING:
    from sympy import Basic, Expr

    from compiler.program import Equation, Tensor


@dataclass(frozen=True, slots=True)
class Row:
    """An optimizer.

    update: the next value of W.  states: (state of the shape of W, its next value).  scalars: rank-0 values, in order;
    a rank-0 state is in `memory` with its initial value and gets its next one from the scalar `<state>_next`.
    gradient: what the other formulas read as g, in g itself, or "" for g as it is.  tensors: the tensor's name of a
    symbol, where it is another; no layer and no user can give a name with a dot.  decay: patterns of what decays.
    """

    name: str
    hyper: Mapping[str, Hyper]
    update: str
    states: Formulas = ()
    scalars: Formulas = ()
    memory: tuple[tuple[str, float], ...] = ()
    aliases: tuple[str, ...] = ()
    gradient: str = ""
    tensors: Mapping[str, str] = field(default_factory=dict)
    decay: tuple[str, ...] = ()

    def tensor(self, symbol: str) -> str:
        return self.tensors.get(symbol, symbol)


KEEP = "decay_keep"  # the scalar that what decays is multiplied by


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
        f"W*{KEEP} - alpha_step*m_next/(sqrt(v_next)*root + epsilon)", _MOMENTS,
        (*_CORRECTED, (KEEP, "1 - alpha*decay"))),
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
    """One step of an optimizer, as equations.  `states` gives the value that every element starts from.

    carries: where a gradient is not finite, what it makes of the parameter or of a state is not, either.
    """

    equations: tuple[Equation, ...]
    updates: tuple[tuple[Tensor, Tensor], ...]
    states: Mapping[Tensor, float]
    hyper: Mapping[str, float]
    carries: bool


COMMON = ("schedule", "clip_norm", "clip_value", "weight_decay", "decay")
OWN = ("formula", "states", "scalars", "memory", "parameters")
_CLIP = Hyper("clip", None, 5e-324)  # greater than 0


def row(name: str, options: Mapping[str, Any], where: str) -> Row:
    """The row of a choice, its options checked; they are the defaults of its hyper-parameters, and its schedule and
    its clipping are among its formulas."""
    own = TABLE[name].hyper if name in TABLE else {}
    given = {key: value for key, value in options.items() if key not in COMMON or key in own}
    found = _tabled(name, given, where) if name else _own(given, where)
    found = _decaying(found, options, where)
    if "schedule" in options:
        found = _scheduled(found, options["schedule"], f"{where}, schedule")
    found = _clipped(found, options, where)
    if not name or _is_own(options.get("schedule")):
        _formulas(found, where)  # so that a user's formula is read at the door
    return found


def _is_own(given: Any) -> bool:
    return given is not None and not isinstance(given, str) and "formula" in dict(given)


def _tabled(name: str, given: Mapping[str, Any], where: str) -> Row:
    if name not in TABLE:
        raise unknown(where, "optimizer", name, TABLE)
    found = TABLE[name]
    for key in given:
        if key not in found.hyper:
            raise unknown(where, f"option of {name}", key, (*found.hyper, *COMMON))
    hyper = {
        key: replace(entry, default=entry.check(given[key], f"{where}, {key}") if key in given else entry.default)
        for key, entry in found.hyper.items()
    }
    return replace(found, hyper=hyper)


def _own(given: Mapping[str, Any], where: str) -> Row:
    """A user's own optimizer."""
    for key in given:
        if key not in OWN:
            raise unknown(where, "option of an optimizer", key, (*OWN, *COMMON))
    if not isinstance(given.get("formula"), str):
        raise complaint(where, given.get("formula"), "a formula for the next value of W, as text")
    tables = {key: table(given.get(key, ()), f"{where}, {key}") for key in OWN[1:]}
    taken = ["W", "g", "step", "pi", "norm2"]
    for key, formulas in tables.items():
        letters = "A-Za-z0-9" if key in ("states", "memory") else "A-Za-z0-9_"
        for name in formulas:
            if not re.fullmatch(f"[A-Za-z][{letters}]{{0,31}}", name) or name.startswith(
                ("schedule_", "clip_", "decay_")
            ):
                raise complaint(f"{where}, {key}", name, "a name of letters and digits")
            if name in taken:
                raise complaint(f"{where}, {key}", name, f"a name other than {', '.join(taken)}")
            taken += [name, f"{name}_next"] if key == "states" else [name]
    for key in ("memory", "parameters"):
        for name, value in tables[key].items():
            Hyper(name, None, -1e30, 1e30).check(value, f"{where}, {key}, {name}")
    for name in tables["memory"]:
        if f"{name}_next" not in tables["scalars"]:
            raise complaint(f"{where}, memory", name, f"its next value among the scalars, {name}_next")
    hyper = {name: Hyper(name, float(value)) for name, value in tables["parameters"].items()}
    names = [name for key, formulas in tables.items() for name in formulas if key != "states"]
    return Row(
        "",
        MappingProxyType(hyper),
        given["formula"],
        _ordered(tables["states"], lambda name: f"{name}_next", f"{where}, states"),
        _ordered(tables["scalars"], lambda name: name, f"{where}, scalars"),
        tuple((name, float(value)) for name, value in tables["memory"].items()),
        # numbers: a user's text does not get into generated source, not even into its comments
        tensors=MappingProxyType({name: f"own.{k}" for k, name in enumerate([*names, *tables["states"]])}),
    )


def _ordered(formulas: Mapping[str, Any], defined: Callable[[str], str], where: str) -> Formulas:
    """The formulas, each after those whose values it reads: a table of a spec has no order."""
    words = {name: set(re.findall(r"\w+", formula)) for name, formula in formulas.items() if isinstance(formula, str)}
    for name, formula in formulas.items():
        if name not in words:
            raise complaint(f"{where}, {name}", formula, "a formula, as text")
    done: list[str] = []
    while len(done) < len(words):
        ready = [n for n in words if n not in done and all(m in done or defined(m) not in words[n] for m in words)]
        if not ready:
            rest = ", ".join(n for n in words if n not in done)
            raise complaint(where, Quoted(f"{rest} in a circle"), "formulas of which none needs its own value")
        done += ready
    return tuple((name, formulas[name]) for name in done)


def _decaying(base: Row, options: Mapping[str, Any], where: str) -> Row:
    """W becomes W*keep in the update, unless it is so already; `decay` as checked patterns."""
    if "weight_decay" in options and KEEP not in dict(base.scalars):
        if "learning_rate" not in base.hyper:
            found = Quoted("an optimizer without a learning_rate")
            raise complaint(f"{where}, weight_decay", found, "one of its parameters of that name")
        default = Hyper("decay", None).check(options["weight_decay"], f"{where}, weight_decay")
        base = replace(
            base,
            hyper={**base.hyper, "decoupled weight_decay": Hyper("decay_rate", default)},
            update=re.sub(r"\bW\b", f"(W*{KEEP})", base.update),
            scalars=(*base.scalars, (KEEP, f"1 - {base.hyper['learning_rate'].symbol}*decay_rate")),
            tensors={**base.tensors, "decay_rate": "weight.decay", KEEP: "weight.keep"},
        )
    if "decay" not in options:
        return base
    if KEEP not in dict(base.scalars):
        raise complaint(f"{where}, decay", Quoted("no weight_decay"), "one, or no `decay`")
    patterns = options["decay"]
    patterns = [patterns] if isinstance(patterns, str) else patterns
    if not isinstance(patterns, list | tuple) or not patterns or not all(isinstance(p, str) and p for p in patterns):
        raise complaint(f"{where}, decay", options["decay"], 'patterns of names of parameters, such as ["*.W"]')
    return replace(base, decay=tuple(patterns))


def decayed(chosen: Row, weights: Mapping[str, bool], where: str) -> set[str]:
    """The names of the parameters that decay; weights: every name, and whether it is a weight."""
    if not chosen.decay:
        return {name for name, is_weight in weights.items() if is_weight}
    found: set[str] = set()
    for pattern in chosen.decay:
        names = {name for name in weights if fnmatchcase(name, pattern)}
        if not names:
            raise unknown(f"{where}, decay", "parameter", pattern, weights)
        found |= names
    return found


def _scheduled(base: Row, value: Any, where: str) -> Row:
    """The learning rate becomes the schedule's `rate`, and its symbol a scalar: what the schedule makes of it."""
    if "learning_rate" not in base.hyper:
        raise complaint(where, Quoted("an optimizer without a learning_rate"), "one of its parameters of that name")
    made = schedule(value, where)
    given = base.hyper["learning_rate"]
    own = list(dict.fromkeys([*made.hyper, *(name for name, _ in made.scalars), "rate"]))
    symbols = {name: f"schedule_{name}" for name in own} | {"scheduled": given.symbol}

    def rename(formula: str) -> str:
        return re.sub(r"[A-Za-z_]\w*", lambda word: symbols.get(word[0], word[0]), formula)

    # numbers for a user's names, as above
    tensors = {symbols[s]: f"schedule.{s if made.name else k}" for k, s in enumerate(own) if s != "scheduled"}
    hyper = {f"schedule, {k}": replace(h, symbol=symbols[k]) for k, h in made.hyper.items()}
    return replace(
        base,
        hyper={**base.hyper, "learning_rate": replace(given, symbol=symbols["rate"]), **hyper},
        scalars=(*((symbols[name], rename(formula)) for name, formula in made.scalars), *base.scalars),
        tensors={**base.tensors, **tensors},
    )


def _clipped(base: Row, options: Mapping[str, Any], where: str) -> Row:
    gradient, scalars, hyper = "g", base.scalars, dict(base.hyper)
    for key in ("clip_norm", "clip_value"):
        if key in options:
            hyper[key] = replace(_CLIP, symbol=key, default=_CLIP.check(options[key], f"{where}, {key}"))
    if "clip_norm" in options:
        norm = "(sqrt(norm2) + 1/1000000)"
        scalars = (*scalars, ("clip_scale", f"where({norm} > clip_norm, clip_norm/{norm}, 1)"))
        gradient = "g*clip_scale"
    if "clip_value" in options:
        u = f"({gradient})"
        gradient = f"where({u} < -clip_value, -clip_value, where({u} > clip_value, clip_value, {u}))"
    tensors = {**base.tensors, **{name: name.replace("_", ".") for name in ("clip_norm", "clip_value", "clip_scale")}}
    return replace(base, hyper=hyper, scalars=scalars, gradient="" if gradient == "g" else gradient, tensors=tensors)


def values(chosen: Row) -> dict[str, float]:
    """Tensor's name -> value of every hyper-parameter."""
    return {chosen.tensor(h.symbol): h.default for h in chosen.hyper.values() if h.default is not None}


def structure(chosen: Row) -> str:
    """What of an optimizer decides the equations, as text: all but the values of its hyper-parameters."""
    return repr(
        (
            chosen.name, chosen.update, chosen.states, chosen.scalars, chosen.memory, chosen.gradient,
            [(key, hyper.symbol) for key, hyper in chosen.hyper.items()], sorted(chosen.tensors.items()), chosen.decay,
        )
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Read:
    """The formulas of a row as expressions: in symbols W, g and the states, and accesses of rank-0 tensors."""

    symbols: Mapping[str, Basic]
    tensors: Mapping[str, Tensor]
    scalars: tuple[tuple[str, Expr], ...]
    states: tuple[tuple[str, Expr], ...]
    update: Expr
    gradient: Expr | None


def _formulas(chosen: Row, where: str) -> _Read:
    import sympy as sp

    from compiler.program import Access, Tensor

    from ..formulation.formula import parse
    from .activations import named_functions

    hyper = [h.symbol for h in chosen.hyper.values()]
    rank0: dict[str, Tensor] = {name: Tensor(chosen.tensor(name), (), "hyper") for name in hyper}
    rank0 |= {"step": Tensor("step", (), "hyper", "integer"), "norm2": Tensor("norm2")}
    rank0 |= {name: Tensor(chosen.tensor(name), (), "state") for name, _ in chosen.memory}
    rank0 |= {name: Tensor(chosen.tensor(name)) for name, _ in chosen.scalars}
    own = ("W", "g", *(name for name, _ in chosen.states), *(f"{name}_next" for name, _ in chosen.states))
    symbols = {name: sp.Symbol(name, real=True) for name in (*rank0, *own)}
    accesses: dict[Basic, Basic] = {symbols[name]: Access(tensor) for name, tensor in rank0.items()}
    functions = {} if chosen.name else named_functions()

    def read(formula: str, what: str, known: Iterable[str] = symbols) -> Expr:
        return parse(formula, {n: symbols[n] for n in known}, functions, f"{where}, {what}").xreplace(accesses)

    return _Read(
        symbols,
        rank0,
        tuple((name, read(formula, name, rank0)) for name, formula in chosen.scalars),
        tuple((name, read(formula, name)) for name, formula in chosen.states),
        read(chosen.update, "formula"),
        read(chosen.gradient, "clipping") if chosen.gradient else None,
    )


def build(chosen: Row, pairs: Sequence[tuple[Tensor, Tensor]], decaying: Collection[Tensor] | None = None) -> Update:
    """The equations of one update of every (parameter, gradient); with clip_norm they read the rank-0 tensor norm2.

    decaying: the parameters that decay where the optimizer has a weight_decay; None: all.
    """
    import sympy as sp

    from compiler.program import Access, Equation, Tensor

    from ..formulation.layers import own_indices

    made = _formulas(chosen, f"optimizer {chosen.name}".rstrip())
    rank0, symbols = made.tensors, made.symbols
    equations = [Equation(Access(rank0[name]), (), formula) for name, formula in made.scalars]
    updates = [(rank0[name], rank0[f"{name}_next"]) for name, _ in chosen.memory]
    states: dict[Tensor, float] = {rank0[name]: initial for name, initial in chosen.memory}
    for parameter, gradient in pairs:
        indices = own_indices(parameter)
        if made.gradient is not None:
            clipped = Tensor(f"clipped.{gradient.name}", parameter.shape)
            rhs = made.gradient.xreplace({symbols["g"]: Access(gradient, *indices)})
            equations.append(Equation(Access(clipped, *indices), indices, rhs))
            gradient = clipped
        olds = {
            name: Tensor(f"{chosen.tensor(name)}_{parameter.name}", parameter.shape, "state") for name, _ in made.states
        }
        news = {name: Tensor(f"{old.name}_next", parameter.shape) for name, old in olds.items()}
        after = Tensor(f"{parameter.name}_next", parameter.shape)
        at: dict[Basic, Basic] = {
            symbols["W"]: Access(parameter, *indices),
            symbols["g"]: Access(gradient, *indices),
            **{symbols[name]: Access(old, *indices) for name, old in olds.items()},
            **{symbols[f"{name}_next"]: Access(new, *indices) for name, new in news.items()},
        }
        if KEEP in rank0 and decaying is not None and parameter not in decaying:
            at[Access(rank0[KEEP])] = sp.Integer(1)
        for name, formula in made.states:
            equations.append(Equation(Access(news[name], *indices), indices, formula.xreplace(at)))
        equations.append(Equation(Access(after, *indices), indices, made.update.xreplace(at)))
        updates += [(parameter, after), *((olds[name], news[name]) for name in olds)]
        states |= dict.fromkeys(olds.values(), 0.0)
    first, hyper = MappingProxyType(states), MappingProxyType(values(chosen))
    return Update(tuple(equations), tuple(updates), first, hyper, _carries(made))


def _carries(made: _Read) -> bool:
    """A state or the parameter is a sum with a term c*g**k (k > 0): that is infinite or NaN where g is, whatever c is,
    and so is the sum."""
    g = made.symbols["g"]
    for formula in (made.update, *(formula for _, formula in made.states)):
        term = formula.as_independent(g, as_Add=True)[1].as_independent(g, as_Add=False)[1]
        base, power = term.as_base_exp()
        if base == g and power.is_Integer and power > 0:
            return made.gradient is None
    return False
