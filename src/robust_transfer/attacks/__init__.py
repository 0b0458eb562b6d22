"""Attacks: models made ready for them, the perturbation itself, and images with a budget kept in integers."""
