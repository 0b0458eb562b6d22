"""The one training loop, for source and target models of every method."""
