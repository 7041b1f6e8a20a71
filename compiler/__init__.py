"""Equations in index notation -> native loops.  Knows no layer, activation, loss or optimizer by name."""

BELONGS_TO = "symnet"  # symnet checks this marker: another package named `compiler` may shadow this one
