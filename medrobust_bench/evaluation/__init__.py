"""From a plan to a journal: the part that spends the compute."""
