"""A network looked at: its derivation, its facts, its pictures, its report, whether its gradient is right."""
