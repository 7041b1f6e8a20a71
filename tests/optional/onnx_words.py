"""The words that stand in braces in onnx_table.py.

In: a Case, and the row of its operator.  Out: Words: of each word the text that it stands for, the sizes of indices,
the tensors and their values.  onnx_text.py puts the text into the lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from compiler.program import Tensor

from .onnx_cases import Array, Case, numbers


@dataclass(frozen=True)
class Row:
    """A row of the table: names with their marks, and lines."""

    outputs: tuple[str, ...]
    inputs: tuple[str, ...]
    over: str
    lines: tuple[str, ...]


class Words(dict[str, Any]):
    """What stands in braces."""

    def __init__(self, case: Case, row: Row) -> None:
        super().__init__(case.attributes)
        self.case, self.row = case, row
        self.tensors: dict[str, Tensor] = {}
        self.values: dict[str, Array] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.sizes: dict[str, int] = {}
        self.several: list[str] = []
        self.first = ""
        given = list(case.inputs)
        for mark in row.inputs:
            name = mark.lstrip("#*")
            if mark.startswith("*"):
                self.several, self[name] = [f"{name}{k}" for k in range(len(given))], len(given)
                for one, array in zip(self.several, given, strict=True):
                    self._tensor(one, array, False)
                continue
            array = given.pop(0) if given else None
            if name[0].islower():
                if array is not None or name not in self:
                    self[name] = array if array is None else np.asarray(array).tolist()
            elif array is None:
                self[name] = ""
            else:
                self._tensor(name, array, mark.startswith("#"))
        self.wanted: dict[str, Array] = {}
        for mark, arrays in self._outputs():
            self.wanted[mark] = np.asarray(arrays)
            self.shapes[mark] = np.shape(arrays)
        self.y = next(iter(self.shapes[name] for name in self.wanted))
        self.sizes |= {f"o{k}": n for k, n in enumerate(self.y)}
        self.x = self.shapes[self.first] if self.first else ()
        self.sizes |= {f"i{k}": n for k, n in enumerate(self.x)}

    def _outputs(self) -> Iterator[tuple[str, Any]]:
        row, outs = self.row, self.case.outputs
        if row.outputs[0].startswith("*"):
            self.several = [f"{row.outputs[0][1:]}{k}" for k in range(len(outs))]
            return iter(zip(self.several, outs, strict=True))
        assert len(outs) <= len(row.outputs), (self.case.name, "an output that the row does not have")
        return ((name, out) for name, out in zip(row.outputs, outs, strict=False) if out is not None)

    def _tensor(self, name: str, array: Any, whole: bool) -> None:
        self.first = self.first or name
        values = numbers(array)
        kind = "integer" if whole or np.asarray(array).dtype == bool else "real"
        self.values[name], self.shapes[name] = values, values.shape
        self.tensors[name] = Tensor(name, values.shape, "input", kind)
        self[f"kind_{name}"] = kind

    # ------------------------------------------------------------------------------------------ looking up
    def __missing__(self, key: str) -> Any:
        if key in self.shapes:
            return self.access(key, [f"o{k}" for k in range(len(self.y))])
        name, _, at = key.partition("@")
        if at and name in self.shapes:
            indices: list[str] = []
            for part in at.split(","):
                text = self["out"] if part == "out" else self.get(part.lstrip("*"), part)
                indices += [t for t in text.split(",") if t]
            return self.access(name, indices)
        if at:
            return ""
        if (found := re.fullmatch(r"([A-Z]+\d?)(\d)", key)) and found[1] in self.shapes:
            return self.shapes[found[1]][int(found[2])]
        if found := re.fullmatch(r"(rank|kind|has)_(\w+)", key):
            return {"rank": len(self.shapes.get(found[2], ())), "kind": "", "has": found[2] in self.shapes}[found[1]]
        if hasattr(type(self), f"word_{key}"):
            return getattr(self, f"word_{key}")()
        if re.fullmatch(r"\w+", key):
            raise KeyError(key)
        return eval(key, {"__builtins__": {"range": range, "len": len}}, self)

    def access(self, name: str, indices: Sequence[str]) -> str:
        shape = self.shapes[name]
        aligned = indices[len(indices) - len(shape) :]
        subscripts = ["0" if extent == 1 else index for index, extent in zip(aligned, shape, strict=True)]
        return f"{name}[{','.join(subscripts)}]"

    # ------------------------------------------------------------------------------------------ indices
    def word_out(self) -> str:
        return ",".join(f"o{k}" for k in range(len(self.y)))

    def word_all(self) -> str:
        return self._of(range(len(self.x)))

    def _of(self, axes: Any) -> str:
        return ",".join(f"i{k}" for k in axes)

    @property
    def axes(self) -> list[int]:
        rank = len(self.x)
        if self.row.over:
            start = (self.get("axis") or 0) % rank
            return {"tail": [*range(start, rank)], "spatial": [*range(2, rank)],
                    "others": [k for k in range(rank) if k != 1]}[self.row.over]  # fmt: skip
        given = self.get("axes", self.get("axis"))
        if given is None or given == []:
            return [] if self.get("noop_with_empty_axes") else [*range(rank)]
        return sorted(k % rank for k in (given if isinstance(given, list) else [given]))

    def word_along(self) -> str:
        return self._of(self.axes)

    def word_rest(self) -> str:
        return self._of(k for k in range(len(self.x)) if k not in self.axes)

    def word_kept(self) -> str:
        if len(self.y) < len(self.x) and not self.row.over:
            return str(self["rest"])
        return ",".join("0" if k in self.axes else f"i{k}" for k in range(len(self.x)))

    def word_count(self) -> int:
        return prod(self.x[k] for k in self.axes)

    def word_pixels(self) -> int:
        return prod(self.x[2:])

    def _place(self, names: Sequence[str], shape: Sequence[int]) -> str:
        steps = [prod(shape[k + 1 :]) for k in range(len(shape))]
        return "+".join(f"{step}*{name}" for step, name in zip(steps, names, strict=True)) or "0"

    def word_within(self) -> str:
        return self._place([f"i{k}" for k in self.axes], [self.x[k] for k in self.axes])

    def word_position(self) -> str:
        return self._place([f"i{k}" for k in range(len(self.x))], self.x)

    def word_place(self) -> str:
        return self._place([f"o{k}" for k in range(len(self.y))], self.y)

    def _replaced(self, change: Mapping[int, str]) -> str:
        return ",".join(change.get(k, f"i{k}") for k in range(len(self.x)))

    def word_mirrored(self) -> str:
        return self._replaced({k: f"{self.x[k] - 1}-i{k}" for k in self.axes})

    def word_before(self) -> str:
        return self._replaced({k: f"i{k}{'+1' if self['reverse'] else '-1'}" for k in self.axes})

    def word_start(self) -> int:
        return self.x[self.axes[0]] - 1 if self["reverse"] else 0

    def word_permuted(self) -> str:
        return self._of(self["perm"] or reversed(range(len(self.x))))

    def word_spatial(self) -> str:
        return self._of(range(2, len(self.x)))

    def word_backwards(self) -> str:
        return self._of(reversed(range(2, len(self.x))))

    def word_places(self) -> str:
        return self._of(k for k in range(len(self.x)) if k != 1)

    # ------------------------------------------------------------------------------------------ of several tensors
    def word_every(self) -> str:
        return ", ".join(self.access(name, self.word_out().split(",")) for name in self.several)

    def repeated(self, line: str) -> Iterator[str]:
        """A line for each of several tensors: {each} broadcast, {part} by itself, {at} its place in the whole."""
        start = 0
        for name in self.several:
            shape = self.shapes[name]
            own = [f"{name.lower()}i{k}" for k in range(len(shape))]
            self.sizes |= dict(zip(own, shape, strict=True))
            at = list(own)
            if shape and "axis" in self:
                axis = self["axis"] % len(shape)
                at[axis] += f"+{start}"
                start += shape[axis]
            self["each"] = self.access(name, self.word_out().split(","))
            self["part"], self["at"] = f"{name}[{','.join(own)}]", ",".join(at)
            yield line

    def word_einsum(self) -> str:
        left, arrow, right = str(self["equation"]).replace(" ", "").partition("->")
        terms = left.split(",")
        dots = max(len(self.shapes[n]) - len(t.replace("...", "")) for n, t in zip(self.several, terms, strict=True))
        extra = "QRSTU"[:dots] if "..." in left else ""
        right = right if arrow else "".join(sorted({c for c in left if c.isalpha() and left.count(c) == 1}))
        spelt = [t.replace("...", extra) for t in (*terms, right)]
        factors = "*".join(
            f"{n}[{','.join(t.lower() if not extra else t)}]" for n, t in zip(self.several, spelt, strict=False)
        )
        bound = sorted({c for t in spelt[:-1] for c in t} - set(spelt[-1]))
        return f"Y[{','.join(spelt[-1])}] = " + (f"sum({factors}, {', '.join(bound)})" if bound else factors)

    # ------------------------------------------------------------------------------------------ where things stand
    def _ranges(self) -> dict[int, tuple[int, int]]:
        """axis -> where a slice starts, and its step"""
        axes = self["axes"] or [*range(len(self["starts"]))]
        steps = self["steps"] or [1] * len(axes)
        found = {}
        for k, start, stop, step in zip(axes, self["starts"], self["ends"], steps, strict=True):
            found[k % len(self.x)] = (slice(start, stop, step).indices(self.x[k])[0], step)
        return found

    def word_strided(self) -> str:
        ranges = self._ranges()
        return ",".join("{}+{}*o{}".format(*ranges.get(k, (0, 1)), k) for k in range(len(self.x)))

    def word_repeated(self) -> str:
        return ", ".join(f"r{k} = {n}" for k, n in enumerate(self["repeats"]))

    def word_tiled(self) -> str:
        return ",".join(f"{n}*r{k}+i{k}" for k, n in enumerate(self.x))

    @property
    def _low(self) -> dict[int, int]:
        axes = [k % len(self.x) for k in self.get("axes") or range(len(self.x))]
        return dict(zip(axes, self["pads"], strict=False))

    def word_padded(self) -> str:
        return ",".join(f"o{k}-({self._low.get(k, 0)})" for k in range(len(self.x)))

    def word_unpadded(self) -> str:
        return " and ".join(
            f"o{k} >= {self._low.get(k, 0)} and o{k} < {self._low.get(k, 0) + n}" for k, n in enumerate(self.x)
        )

    def word_tabled(self) -> str:
        """By a table of integers for each axis: the places from which a padded axis takes its elements."""
        low, high = self._low, dict(zip(self._low, self["pads"][len(self._low) :], strict=True))
        for k, extent in enumerate(self.x):
            table = np.pad(np.arange(extent), (low.get(k, 0), high.get(k, 0)), self["mode"])
            self._tensor(f"P{k}", table, True)
        return ",".join(f"P{k}[o{k}]" for k in range(len(self.x)))

    def word_centered(self) -> str:
        shift = [(n - m) // 2 if n > m else -((m - n) // 2) for n, m in zip(self.x, self.y, strict=True)]
        return ",".join(f"o{k}+({n})" for k, n in enumerate(shift))

    def word_extents(self) -> tuple[int, ...]:
        return self.x

    def _gathered(self, below: bool) -> str:
        axis, rank = self["axis"] % len(self.x), len(self.shapes["I"])
        out = [f"o{k}" for k in range(len(self.y))]
        index = f"I[{','.join(out[axis : axis + rank])}]" + f"+{self.x[axis]}" * below
        return ",".join([*out[:axis], index, *out[axis + rank :]])

    def word_gathered(self) -> str:
        return self._gathered(False)

    def word_gathered_below(self) -> str:
        return self._gathered(True)

    def _chosen(self, below: bool) -> str:
        axis = self["axis"] % len(self.x)
        index = f"I[{self.word_out()}]" + f"+{self.x[axis]}" * below
        return ",".join(index if k == axis else f"o{k}" for k in range(len(self.x)))

    def word_chosen(self) -> str:
        return self._chosen(False)

    def word_chosen_below(self) -> str:
        return self._chosen(True)

    def word_listed(self) -> str:
        *lead, depth = self.shapes["I"]
        out, batch = [f"o{k}" for k in range(len(self.y))], self["batch_dims"]
        at = ",".join(out[: len(lead)])
        return ",".join([*out[:batch], *(f"I[{at},{k}]" for k in range(depth)), *out[len(lead) :]])

    def _hit(self, below: bool) -> str:
        rank = len(self.x)
        if "axis" in self:
            axis = self["axis"] % rank
            index = f"I[{self._of(range(rank)).replace('i', 'u')}]" + f"+{self.x[axis]}" * below
            return ",".join(index if k == axis else f"u{k}" for k in range(rank))
        *lead, depth = self.shapes["I"]
        at = ",".join(f"u{k}" for k in range(len(lead)))
        rest = [f"u{k}" for k in range(len(lead), len(self.shapes["U"]))]
        return ",".join([*(f"I[{at},{k}]" + f"+{self.x[k]}" * below for k in range(depth)), *rest])

    def word_hit(self) -> str:
        self.sizes |= {f"u{k}": n for k, n in enumerate(self.shapes["U"])}
        return self._hit(False)

    def word_hit_below(self) -> str:
        return self._hit(True)

    def word_matching(self) -> str:
        """That an update is one of the element {all}."""
        at = re.findall(r"I\[.*?\]|u\d+", self.word_hit())
        return " and ".join(f"{one} == i{k}" for k, one in enumerate(at))

    def word_updates(self) -> str:
        self.sizes |= {f"u{k}": n for k, n in enumerate(self.shapes["U"])}
        return ",".join(f"u{k}" for k in range(len(self.shapes["U"])))

    def word_hot(self) -> str:
        return f"o{self['axis'] % len(self.y)}"

    def word_cold(self) -> str:
        return ",".join(f"o{k}" for k in range(len(self.y)) if k != self["axis"] % len(self.y))

    def word_row(self) -> str:
        return f"o{len(self.y) - 2}"

    def word_column(self) -> str:
        return f"o{len(self.y) - 1}"

    # ------------------------------------------------------------------------------------------ windows
    @property
    def _windows(self) -> list[tuple[int, int, int, int, int, int]]:
        """Of each spatial axis: extent of the image, size, stride, dilation, padding below and above."""
        out = self.y[2:]
        image = self.x[2:] if "block" not in self else out
        size = self.get("kernel_shape") or self.get("block") or self.shapes["W"][2:]
        some = range(len(out))
        stride, dilation = self.get("strides") or [1 for _ in some], self.get("dilations") or [1 for _ in some]
        pads = list(self.get("pads") or [0 for _ in (*some, *some)])
        auto = self.get("auto_pad") or "NOTSET"
        for k in some if auto.startswith("SAME") else ():
            one, other = (image, out) if self.case.operator != "ConvTranspose" else (out, image)
            whole = max(0, (other[k] - 1) * stride[k] + (size[k] - 1) * dilation[k] + 1 - one[k])
            smaller = whole // 2 if auto == "SAME_UPPER" else whole - whole // 2
            pads[k], pads[k + len(out)] = smaller, whole - smaller
        self.sizes |= {f"u{k}": size[k] for k in some}
        return [(image[k], size[k], stride[k], dilation[k], pads[k], pads[k + len(out)]) for k in some]

    def word_p(self) -> str:
        return ",".join(f"o{k + 2}" for k in range(len(self._windows)))

    def word_taps(self) -> str:
        return ",".join(f"u{k}" for k in range(len(self._windows)))

    def _window(self) -> list[str]:
        return [f"{s}*o{k + 2}+{d}*u{k}-{low}" for k, (_, _, s, d, low, _) in enumerate(self._windows)]

    def word_window(self) -> str:
        return ",".join(self._window())

    def word_inside(self) -> str:
        return " and ".join(f"{at} >= 0 and {at} < {w[0]}" for at, w in zip(self._window(), self._windows, strict=True))

    def word_counted(self) -> str:
        if not self["count_include_pad"]:
            return self.word_inside()
        return " and ".join(
            f"{at} >= {-w[4]} and {at} < {w[0] + w[5]}" for at, w in zip(self._window(), self._windows, strict=True)
        )

    def word_covered(self) -> str:
        return " and ".join(
            f"i{k + 2} >= {s}*o{k + 2}-{low} and i{k + 2} < {s}*o{k + 2}-{low}+{size}"
            for k, (_, size, s, _, low, _) in enumerate(self._windows)
        )

    def word_spread(self) -> str:
        """Where tap u of window q stands in an image to which nothing was added."""
        windows = self._windows
        for k, (image, taps, s, d, low, high) in enumerate(windows):
            count = (self.y[k + 2] + low + high - d * (taps - 1) - 1) // s + 1 if "block" in self else image
            self.sizes[f"q{k}"] = count
        return ",".join(f"{s}*q{k}+{d}*u{k}" for k, (_, _, s, d, _, _) in enumerate(windows))

    def word_places_of_windows(self) -> str:
        return ",".join(f"q{k}" for k in range(len(self.y) - 2))

    def word_block_place(self) -> str:
        some = range(len(self.y) - 2)
        return self._place([f"q{k}" for k in some], [self.sizes[f"q{k}"] for k in some])

    def word_tap(self) -> str:
        block = self["block"]
        return f"{prod(block)}*c+{self._place([f'u{k}' for k in range(len(block))], block)}"

    def word_cropped(self) -> str:
        if self.get("output_shape"):
            whole = [
                (w[0] - 1) * w[2] + (w[1] - 1) * w[3] + 1 - n for w, n in zip(self._windows, self.y[2:], strict=True)
            ]
            low = [max(0, n // 2 if self["auto_pad"] != "SAME_LOWER" else n - n // 2) for n in whole]
            return ",".join(f"o{k + 2}+{n}" for k, n in enumerate(low))
        return ",".join(f"o{k + 2}+{w[4]}" for k, w in enumerate(self._windows))
