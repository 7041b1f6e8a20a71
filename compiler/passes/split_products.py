"""split_products"""

from ..program import Program


def split_products(program: Program) -> Program:
    return program
