"""How a model's answer is obtained: what it is asked to write, how options are scored, how a completion is read.

One class per `AnswerMode`, shared by evaluation and training. To add a mode: a member of `AnswerMode`, a class that is
an `AnswerStrategy`, and its line in `registry.STRATEGIES`.
"""
