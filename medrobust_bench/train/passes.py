"""What a training costs, in a unit that does not depend on the machine: tokens that pass through the language model."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import torch


class PassCounter:
    """Counts the tokens that go forward through a model's decoder, and those whose gradient comes back through it.

    Everything counts that the decoder is given: prompts, image tokens, padding, teacher-forced completions, and each
    token of a generation once, since earlier ones are cached. An inner attack of n steps therefore costs n forward
    and n backward passes of its batch, a rollout one forward pass of prompt and completion, an update one of each.
    A backward pass counts when it is made, not when it could be. The vision tower goes with the decoder and is not
    counted by itself.

    Args:
        model: of transformers; hooks are put on its decoder (`get_decoder`) until `remove`.

    Attributes:
        forward: tokens forward so far.
        backward: tokens backward so far.
    """

    def __init__(self, model: Any) -> None:
        self.forward = 0
        self.backward = 0
        self._paused = False
        self._begun = time.process_time()
        self._unpaid = 0.0
        self._hook = model.get_decoder().register_forward_hook(self._count)

    @property
    def cpu_seconds(self) -> float:
        """CPU time of this process, of all threads, without what was spent while paused."""
        return time.process_time() - self._begun - self._unpaid

    def counts(self) -> dict[str, float]:
        """The counts as a training log names them: millions of tokens, and seconds."""
        return {
            "passes/forward": round(self.forward / 1e6, 6),
            "passes/backward": round(self.backward / 1e6, 6),
            "passes/cpu_seconds": round(self.cpu_seconds, 1),
        }

    def go_on_from(self, counts: Mapping[str, float]) -> None:
        """Add what `counts` had said before a training was interrupted."""
        self.forward += round(counts["passes/forward"] * 1e6)
        self.backward += round(counts["passes/backward"] * 1e6)
        self._unpaid -= counts["passes/cpu_seconds"]

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Inside it nothing is counted: measuring a model is no part of training it."""
        before, began = self._paused, time.process_time()
        self._paused = True
        try:
            yield
        finally:
            self._paused = before
            if not before:
                self._unpaid += time.process_time() - began

    def remove(self) -> None:
        """Take the hook off the model."""
        self._hook.remove()

    def _count(self, module: Any, arguments: Any, output: Any) -> None:
        if self._paused:
            return
        hidden: torch.Tensor = output[0]
        tokens = hidden.shape[0] * hidden.shape[1]
        self.forward += tokens
        if hidden.requires_grad:
            hidden.register_hook(lambda gradient: self._returned(tokens))  # type: ignore[no-untyped-call]

    def _returned(self, tokens: int) -> None:
        self.backward += tokens
