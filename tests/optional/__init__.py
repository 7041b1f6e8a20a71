"""Tests that need more than the group `test` installs: `pytest tests/optional` after `pip install --group optional`."""
