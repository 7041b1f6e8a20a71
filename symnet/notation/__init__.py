"""Equations as formulas that a person reads: three notations, three depths, many formats."""
