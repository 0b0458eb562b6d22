"""Randomised smoothing: certificates of robustness in l2, and what a set of them says."""
