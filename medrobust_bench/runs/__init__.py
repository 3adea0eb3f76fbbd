"""The work: open, plan, evaluate, replay, audit."""
