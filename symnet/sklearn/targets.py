"""y as scikit-learn has it -> targets of a network; its outputs -> what an estimator predicts.

In: labels of any kind, label indicators, numbers.  Out: labels from 0 as integers, or values; and back.  Stands between
estimators.py and the model.

    classes    outputs of the network           targets             prediction
    2          1, of log_loss or of values      0 or 1 (-1 or 1)    above the middle of the two
    K          K                                0..K-1, or a row    the largest output
    labels     K, each decides by itself        rows of 0 and 1     those above the middle
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.exceptions import DataConversionWarning
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels

from ..declare.heads import Output
from ..declare.losses import BINARY, CLASSES, LABELS, SIGNS, Row
from ..errors import Quoted, SymnetError, complaint

Array = np.ndarray[Any, np.dtype[Any]]
# what of an output stands in the units of y, where it is not the output itself
MEANS: Mapping[str, Callable[[Array], Array]] = {"poisson": np.exp}


def column(y: Array) -> Array:
    """y of one column, flat, with scikit-learn's warning."""
    if y.ndim == 2 and y.shape[1] == 1:
        text = (
            "A column-vector y was passed when a 1d array was expected. Please change the shape of y to (n_samples,)."
        )
        warnings.warn(text, DataConversionWarning, stacklevel=5)
        return y[:, 0]
    return y


@dataclass(frozen=True)
class Classes:
    """The classes of a classifier, sorted; several: a sample has any number of them (label indicators)."""

    labels: Array
    several: bool

    @classmethod
    def of(cls, y: Any) -> Classes:
        check_classification_targets(y)
        kind = type_of_target(y, input_name="y")
        if kind == "multiclass-multioutput":
            found = Quoted(f"{y.shape[1]} columns of classes")
            advice = "one, or of label indicators each 0 or 1; sklearn.multioutput.MultiOutputClassifier takes several"
            raise complaint("y", found, advice)
        several = kind.startswith("multilabel")
        return cls(np.arange(y.shape[1]) if several else np.unique(y), several)

    def refuse_others(self, y: Any, *, all_of_them: bool) -> None:
        """Raise ValueError if y has classes that are not among these, or not the same."""
        found = unique_labels(y)
        if all_of_them and set(found) != set(self.labels):
            raise SymnetError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
                f"Previously got {self.labels}, `y` has {found}"
            )
        if len(np.setdiff1d(found, self.labels)):
            raise SymnetError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.labels}. 'y' has {found}."
            )

    def outputs(self, row: Row) -> int:
        """How many outputs a network needs for them under a loss."""
        if self.several:
            return len(self.labels)
        if row.kind == CLASSES and (row.net or row.lines):
            return max(2, len(self.labels))
        return 1 if len(self.labels) <= 2 else len(self.labels)

    def check(self, output: Output, where: str) -> None:
        wanted = {len(self.labels)} if self.several or len(self.labels) > 2 else {1, 2}
        exclusive = output.row.kind == CLASSES and output.size > 1
        if output.target_width not in wanted or (self.several and exclusive):
            what = "labels of which a sample has any number" if self.several else "classes"
            raise complaint(where, Quoted(f"{output.size} outputs"), f"those of {len(self.labels)} {what}")

    def encoded(self, y: Array, output: Output) -> Array:
        """Targets as the network takes them."""
        low = -1.0 if output.row.domain == SIGNS else 0.0
        if self.several:
            return np.where(np.asarray(y) != 0, 1.0, low)
        indices = np.searchsorted(self.labels, y)
        if output.is_classifier and LABELS in output.targets:
            return indices
        if output.target_width == 1:
            return np.where(indices == 1, 1.0, low)[:, None]
        return np.where(indices[:, None] == np.arange(output.target_width), 1.0, low)

    def middle(self, output: Output) -> float:
        return 0.0 if output.row.domain == SIGNS else 0.5

    def decided(self, scores: Array, output: Output) -> Array:
        """The number of the class, or the indicators, from probabilities or values of shape (n, columns)."""
        if self.several:
            return (scores > self.middle(output)).astype(np.int64)
        if scores.shape[1] == 1:
            return np.minimum((scores[:, 0] > self.middle(output)).astype(np.int64), len(self.labels) - 1)
        return np.minimum(scores.argmax(axis=1), len(self.labels) - 1)

    def probabilities(self, scores: Array, output: Output) -> Array:
        """Rows that sum to 1, or of several labels the probability of each."""
        if self.several:
            return scores
        scores = scores[:, : len(self.labels)]
        if output.row.kind == BINARY and output.size > 1:  # each output decides by itself
            total = scores.sum(axis=1, keepdims=True)
            return np.divide(scores, total, out=np.full_like(scores, 1 / scores.shape[1]), where=total > 0)
        return np.ones_like(scores) if scores.shape[1] == 1 else scores


def means(values: Array, output: Output) -> Array:
    """What a regressor predicts, in the units of y: of two heads the first."""
    found = values[:, : output.target_width]
    return MEANS.get(output.head.loss.name, lambda same: same)(found)
