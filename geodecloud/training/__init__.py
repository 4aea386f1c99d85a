"""Everything that makes weights: simulated clouds, losses, the training loop, scores."""
