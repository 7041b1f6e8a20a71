"""Networks of symnet as estimators of scikit-learn, with the names of its own `MLPClassifier` and `MLPRegressor`.

In: what scikit-learn's networks take, or a spec, a loss, an activation, a formula of symnet's.  Out: estimators for
pipelines, searches and everything else of scikit-learn.  Nothing else of symnet imports this package: it needs
`pip install "symnet[sklearn]"`.

    parameters.py    the parameters of an estimator, checked -> a network, an optimizer
    targets.py       what scikit-learn calls y -> what the network takes, and its outputs -> predictions
    solvers.py       the native loop until an epoch is no longer better, and L-BFGS over the compiled gradient
    base.py          what both estimators have: fit and its attributes
    estimators.py    the estimators
"""

from __future__ import annotations

try:
    import sklearn.utils.validation
except ImportError:
    raise ImportError('symnet.sklearn needs scikit-learn: pip install "symnet[sklearn]".') from None
if not hasattr(sklearn.utils.validation, "validate_data"):
    raise ImportError(f"symnet.sklearn needs scikit-learn 1.7 or later, found {sklearn.__version__}.")

from .estimators import SymnetClassifier, SymnetRegressor

__all__ = ["SymnetClassifier", "SymnetRegressor"]
