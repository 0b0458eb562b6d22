"""Adversarial robustness under transfer learning: five studies as one pipeline of cached stages."""

__version__ = "0.1.0"
