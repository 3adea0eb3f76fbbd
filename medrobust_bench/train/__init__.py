"""Training: the baselines and the reference defence."""
