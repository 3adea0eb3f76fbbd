"""A tiny model that writes a given text: what its random weights say is replaced, the rest of its way is its own."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from medrobust_bench.models.huggingface import HuggingFaceVLM


@contextmanager
def writing(adapter: HuggingFaceVLM, text: str, *, end: bool = True) -> Iterator[list[int]]:
    """Within, every completion is `text`, then the end of text, or without `end` the last token again and again.

    Yields:
        The number of rows of every forward pass.
    """
    script: list[int] = adapter.tokenizer(text, add_special_tokens=False)["input_ids"]
    script += [adapter.tokenizer.eos_token_id] if end else []
    written = 0
    passes: list[int] = []

    def say(_model: Any, _args: Sequence[Any], inputs: dict[str, Any], output: Any) -> Any:
        nonlocal written
        tokens = inputs["input_ids"]
        written = 0 if tokens.shape[1] > 1 else written + 1
        passes.append(len(tokens))
        output.logits[:, -1] = 0.0
        output.logits[:, -1, script[min(written, len(script) - 1)]] = 100.0
        return output

    hook = adapter.model.register_forward_hook(say, with_kwargs=True)
    try:
        yield passes
    finally:
        hook.remove()
