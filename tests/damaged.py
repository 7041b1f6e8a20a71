"""Damaged model files: bits flipped, cut, headers that lie, metadata that were edited.

    python -m tests.damaged --count 1000 --seed 0

Each is read in a process of a judge (sandbox.py) and must end in a SymnetError; or in the model that was saved, where
the damage is none (a blank that became another blank).  In the header anything may be edited; below it, a file knows
its own checksum.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

import symnet as sn
from symnet.run.model_file import contents
from symnet.run.storage import CHECKSUM, read, write

from .hostile import twisted
from .sandbox import Judge, in_a_process, report
from .values.hostile_corpus import VALUES

HUGE = (0, 1, 7, 2**31, 2**40, 2**62, 2**63, 2**64, -1, 10**30)
DTYPES = ("F64", "F32", "F16", "I64", "BOOL", "U8", "F8_E4M3", "O", "", "<f8", 8, None)


def models(folder: Path) -> list[Path]:
    """Files of models of several kinds: scaled and trained, with states, with constants, with several losses."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(12, 3)), rng.integers(0, 2, 12)
    plain = sn.Network(input=3, layers=[sn.dense(4, "tanh"), sn.dense(2)], loss="softmax_cross_entropy", l2=1e-3)
    normed = sn.Network(input=3, layers=[sn.dense(3), sn.batch_norm(), sn.dense(2)], loss="softmax_cross_entropy")
    graph = sn.Network(
        layers=[sn.graph_conv(2, graph="A", features="F")],
        constants={"A": scipy.sparse.csr_array(np.eye(5, k=1)), "F": rng.normal(size=(5, 3))},
        loss="softmax_cross_entropy",
    )
    several = sn.Network(
        input=3, layers=[sn.dense(2, name="a"), sn.dense(1, name="b", inputs="a")],
        losses={"a": "softmax_cross_entropy", "b": {"name": "squared_error", "weight": 0.1}},
    )  # fmt: skip
    made = []
    for number, network in enumerate((plain, normed, graph, several)):
        model = network.compile("adam", "float64" if number % 2 else "float32", seed=number)
        if number < 2:
            model.scale(X)
            model.fit(X, y, epochs=1, batch_size=5)
        made.append(folder / f"{number}.safetensors")
        model.save(made[-1])
    return made


def bits(model: Any) -> dict[str, bytes]:
    """All arrays of a model."""
    return {name: array.tobytes() for name, array in contents(model)[0].items()}


def header(content: bytes) -> tuple[dict[str, Any], bytes]:
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def joined(head: Any, data: bytes) -> bytes:
    text = json.dumps(head).encode(errors="surrogatepass")
    return len(text).to_bytes(8, "little") + text + data


def flipped(rng: random.Random, content: bytes) -> bytes:
    out = bytearray(content)
    length = int.from_bytes(content[:8], "little") + 8
    place = rng.choice((rng.randrange(8), rng.randrange(length), rng.randrange(length), rng.randrange(len(out))))
    for _ in range(rng.choice((1, 1, 1, 2, 30))):
        out[place] ^= 1 << rng.randrange(8)
        place = rng.randrange(len(out))
    return bytes(out)


def cut(rng: random.Random, content: bytes) -> bytes:
    a, b = sorted((rng.randrange(len(content)), rng.randrange(len(content))))
    return rng.choice(
        (content[:a], content[a:], content[:a] + content[b:], content + content[a:b], content[:b] + content[a:])
    )


def lying(rng: random.Random, content: bytes) -> bytes:
    """A header whose entries say something else."""
    head, data = header(content)
    name = rng.choice([key for key in head if key != "__metadata__"])
    entry = head[name]
    match rng.randrange(9):
        case 0:
            entry["dtype"] = rng.choice(DTYPES)
        case 1:
            entry["shape"] = [rng.choice(HUGE) for _ in range(rng.choice((0, 1, 2, 33)))]
        case 2:
            entry["data_offsets"] = [rng.choice(HUGE), rng.choice(HUGE)]
        case 3:
            entry["shape"] = entry["shape"][::-1] if rng.random() < 0.5 else [*entry["shape"], 1]
        case 4:
            head[str(rng.choice(("out.W", "", "__class__", "constant:A:rows", "a" * 1000)))] = head.pop(name)
        case 5:
            del head[name]
        case 6:
            head["more"] = {"dtype": "F64", "shape": [0], "data_offsets": [len(data), len(data)]}
        case 7:
            other = rng.choice([key for key in head if key != "__metadata__"])
            head[name], head[other] = head[other], head[name]
            if head[name] == entry:
                head["__metadata__"] = rng.choice((None, [], 1, {"format": 1}, {}))
        case _:
            text = json.dumps(head)
            text = text[:-1] + f', "{name}": {json.dumps(entry)}' + "}"
            return len(text).to_bytes(8, "little") + text.encode() + data
    return joined(head, data)


def edited(rng: random.Random, content: bytes, path: Path) -> bytes:
    """Metadata that say something else; half of them with a checksum that fits: a forgery."""
    head, data = header(content)
    metadata = head["__metadata__"]
    key = rng.choice([key for key in metadata if key != CHECKSUM])
    if key == "format" or rng.random() < 0.1:
        metadata[key] = rng.choice(
            ("", "symnet model 2", "[" * 100_000, "{}", "[]", "1", "null", "\ud800", "NaN", 1, None)
        )
    else:
        told = json.loads(metadata[key])
        for _ in range(rng.choice((1, 1, 2))):
            told = replaced(rng, told) if rng.random() < 0.5 else twisted(rng, told)
        metadata[key] = json.dumps(told, default=str)
    made = joined(head, data)
    if rng.random() < 0.5 and all(isinstance(v, str) for v in metadata.values()):
        try:
            path.write_bytes(made)
            write(path, *read(path))
            made = path.read_bytes()
        except (sn.SymnetError, UnicodeError):
            pass
    return made


def replaced(rng: random.Random, told: Any) -> Any:
    """One leaf of it is another value."""
    if isinstance(told, dict) and told:
        key = rng.choice(list(told))
        return {**told, key: replaced(rng, told[key])}
    if isinstance(told, list) and told:
        k = rng.randrange(len(told))
        return [*told[:k], replaced(rng, told[k]), *told[k + 1 :]]
    return rng.choice((*VALUES, "", "object", "float16", None, "O", "adm", 1e308))


def damaged(seed: int, number: int, files: list[bytes], path: Path) -> bytes:
    """The file of this number, always the same."""
    rng = random.Random(f"{seed} {number}")
    content = rng.choice(files)
    match rng.randrange(5):
        case 0 | 1:
            return flipped(rng, content)
        case 2:
            return cut(rng, content)
        case 3:
            return lying(rng, content)
        case _:
            return edited(rng, content, path)


def cases(count: int, seed: int, first: int, folder: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    paths = models(folder)
    files = [path.read_bytes() for path in paths]
    saved = [bits(sn.load(path)) for path in paths]
    path = folder / "damaged.safetensors"

    def load() -> None:
        found = bits(sn.load(path))
        assert found in saved, "a model that nobody saved"

    def made() -> Iterator[tuple[str, Callable[[], Any]]]:
        for number in range(first, first + count):
            content = damaged(seed, number, files, path)
            path.write_bytes(content)
            yield f"--seed {seed} --first {number} --count 1", load

    return made()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the number of the first of them")
    parser.add_argument("--judge", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.judge:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            judge = Judge(folder, seconds=SECONDS)
            report(judge, options.judge, lambda: cases(options.count, options.seed, options.first, Path(folder)))
        return 0
    found = in_a_process(
        "tests.damaged", "--count", str(options.count), "--seed", str(options.seed), "--first", str(options.first)
    )
    print(found)
    for verdict in found.wrong:
        print("  ", verdict["label"], "->", ascii(verdict["wrong"])[1:-1])
    return min(len(found.wrong), 1)


SECONDS = 2.0  # of CPU time: a file whose spec was changed may be a network that is derived anew

if __name__ == "__main__":
    sys.exit(main())
