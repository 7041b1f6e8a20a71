"""A network that runs: data, plans, kernels, the training loop, histories, model files."""
