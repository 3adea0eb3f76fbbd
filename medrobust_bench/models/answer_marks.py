"""How models mark off rationale, answer and markup in what they write.

Nothing here changes the length of a text: what is left out is blanked, so that places stay places of the completion.
"""

from __future__ import annotations

import re
import string

THOUGHTS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<unused94>", "<unused95>"),  # MedGemma
    ("◁think▷", "◁/think▷"),  # Kimi-VL
    ("[THINK]", "[/THINK]"),  # Magistral
    ("<|channel>thought", "<channel|>"),  # Gemma 4
    ("<|channel|>analysis", "<|channel|>final<|message|>"),  # gpt-oss and what is built on it
    ("## Thinking", "## Final Response"),  # HuatuoGPT-o1 and its kin
)
"""What opens and what closes a rationale, in any case."""

_ANSWER_TAGS = r"answer|final[_ ]answer|conclusion"
_OPENING = re.compile(rf"<(?:{_ANSWER_TAGS})>|<\|begin_of_box\|>", re.IGNORECASE)
_CLOSING = re.compile(rf"</(?:{_ANSWER_TAGS})>|<\|end_of_box\|>", re.IGNORECASE)
_BRACES = re.compile(r"boxed\s*\{|[{}]")

_MARKUP = re.compile(
    r"""
    <\|[^<>|\s]{1,40}\|>                                                # special tokens
    | </?(?:s|eos|bos|pad|end_of_(?:turn|utterance|text)|start_of_turn)>
    | </?(?:b|i|u|p|em|br|code|span|strong|answer|conclusion)\s*/?>     # HTML, and tags without their other half
    | \\(?:text(?:bf|it|rm)?|math(?:rm|bf|bb)|boldsymbol|boxed|quad|left|right|[,;!()\[\]])
    | ^[ \t]*(?:\#{1,6}|>(?![ \t]*\d)|[-+•])[ \t]+                                 # headings, quotations, list items
    | [*_`$~{}]
    """,
    re.VERBOSE | re.MULTILINE,
)
_PLAIN = {0xFF21 + place: letter for place, letter in enumerate(string.ascii_uppercase)} | {
    ord(wide): plain for wide, plain in zip("（）．：，。、\u00a0’“”", '().:,., \'""', strict=True)
}


def without_thought(completion: str, thought: str | None = None) -> str:
    """The completion with blanks in place of its rationale.

    A rationale that the chat template began only has its end: it goes from the start of the text. One that is never
    closed goes up to an answer tag, or to the end of the text.

    Args:
        completion: what the model wrote.
        thought: a regular expression for the rationale; None for the pairs in `THOUGHTS`.
    """
    if thought is not None:
        return re.sub(thought, lambda match: " " * len(match[0]), completion, flags=re.DOTALL)
    for opens, closes in THOUGHTS:
        completion = _without(completion, opens, closes)
    return completion


def opened_thought(prompt: str) -> str:
    """The tag by which a chat template has begun the model's rationale, "" where it has not.

    It goes in front of the completion before that is read.
    """
    prompt = prompt.rstrip()
    return next((opens for opens, _ in THOUGHTS if prompt.endswith(opens)), "")


def _without(text: str, opens: str, closes: str) -> str:
    """The text with blanks in place of what stands between a pair."""
    visible: list[str] = []
    cursor, begun = 0, None
    for match in re.finditer(f"({re.escape(opens)})|{re.escape(closes)}", text, re.IGNORECASE):
        if match[1]:
            begun = match.start() if begun is None else begun
        else:  # an end without a beginning closes whatever came before
            start = cursor if begun is None else begun
            visible += text[cursor:start], " " * (match.end() - start)
            cursor, begun = match.end(), None
    if begun is not None:
        tag = _OPENING.search(text, begun)
        end = tag.start() if tag else len(text)
        visible += text[cursor:begun], " " * (end - begun)
        cursor = end
    return "".join([*visible, text[cursor:]])


def pattern_marks(pattern: str | None, text: str) -> list[tuple[int, int]]:
    """Where a card's pattern says that the answer stands: its group `answer`, else its first, else all of it."""
    if pattern is None:
        return []
    compiled = re.compile(pattern, re.DOTALL)
    group: str | int = "answer" if "answer" in compiled.groupindex else min(compiled.groups, 1)
    return [match.span(group) for match in compiled.finditer(text) if match.start(group) >= 0]


def tag_marks(text: str) -> list[tuple[int, int]]:
    """What stands between answer tags; after the last one, up to the end of the text where it is not closed.

    Of nested tags it is the inner pair, as in GLM-4.1V's `<answer>… <|begin_of_box|>B<|end_of_box|></answer>`.
    """
    opened = [match.span() for match in _OPENING.finditer(text)]
    closed = [match.start() for match in _CLOSING.finditer(text)]
    marks = []
    for index, (_, start) in enumerate(opened):
        following = opened[index + 1][0] if index + 1 < len(opened) else len(text)
        end = next((place for place in closed if place >= start), len(text))
        if end <= following or not closed:
            marks.append((start, min(end, following)))
    return marks


def box_marks(text: str) -> list[tuple[int, int]]:
    """What stands in `\\boxed{…}`, inner braces balanced; of nested boxes, in the inner one."""
    marks: list[tuple[int, int]] = []
    opened: list[tuple[int, bool]] = []  # where a brace's content begins, and whether the brace is a box's
    for match in _BRACES.finditer(text):
        if match[0] != "}":
            opened.append((match.end(), match[0] != "{"))
        elif opened:
            start, boxed = opened.pop()
            if boxed and not any(start <= inner for inner, _ in marks[-1:]):
                marks.append((start, match.start()))
    unclosed = [start for start, boxed in opened if boxed][-1:]
    return marks + [(start, len(text)) for start in unclosed if not marks or marks[-1][0] < start]


def without_markup(text: str) -> str:
    """The text with blanks in place of Markdown, LaTeX, HTML and special tokens, and plain signs for wide ones."""
    return plain_signs(_MARKUP.sub(lambda match: " " * len(match[0]), text))


def plain_signs(text: str) -> str:
    """The text with ASCII letters and punctuation in place of full-width and typographic ones."""
    return text.translate(_PLAIN)
