"""What a model raises about a question that it cannot take or answer."""

from __future__ import annotations


class QuestionError(ValueError):
    """A question that a model cannot take or answer; a run records it as failed, with the error's name and words.

    So does a run with whatever else a model or a processor raises; this type is for faults that are known as such.
    A subclass says what kind of fault it is, by its name: `NonFiniteLogitsError`, … It may be raised about a batch: the
    run finds out which of its questions is at fault.
    """
