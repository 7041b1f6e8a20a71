"""Slow evaluators and numerical differentiation: independent judges, which share nothing with the compiler."""
