"""Adversarial robustness of medical vision-language models, measured so that a stranger can check it."""

__version__ = "0.1.0"
