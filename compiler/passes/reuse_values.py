"""reuse_values"""

from ..program import Program


def reuse_values(program: Program) -> Program:
    return program
