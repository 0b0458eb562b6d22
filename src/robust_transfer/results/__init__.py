"""The results folder held against a plan: what is there and of which config, where a number comes from, what may go."""
