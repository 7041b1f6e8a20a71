"""The suite; a package, so that its files can share `tolerance` and `programs`."""
