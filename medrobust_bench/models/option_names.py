"""Where a text without marks names an option: by an explicit statement, by its letter, by its words."""

from __future__ import annotations

import re
import string
import unicodedata
from bisect import bisect_left
from functools import lru_cache
from typing import NamedTuple

from medrobust_bench.data.question import LETTERS
from medrobust_bench.models.answer_marks import plain_signs


class Name(NamedTuple):
    """A place that names an option.

    Attributes:
        choice: index of the option; None for a letter that no option has, for words that fit two options, and for
            an option that the text denies.
        start: first character.
        end: behind the last character.
    """

    choice: int | None
    start: int
    end: int


# Chinese, Japanese and Korean put no spaces between words: each sign is a word, and may stand beside a letter.
_CJK = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_W = rf"[^\W{_CJK}]"  # what a letter must not touch
_WORD = re.compile(
    rf"""
    [{_CJK}]
    | \d+(?:[.,]\d+)+          # 1.5 is not 5
    | (?:(?![{_CJK}])[^\W_])+
    | [<>≤≥=+±%]
    | (?<!\w)[-−](?=\d)
    """,
    re.VERBOSE,
)
# Options that are words of grammar ("No") stand in every other sentence: they count as first words only.
_GRAMMAR = frozenset(
    (
        "a",
        "i",
        "it",
        "is",
        "yes",
        "no",
        "none",
        "not",
        "true",
        "false",
        "all",
        "both",
        "neither",
        "other",
        "unknown",
    )
)

_DENIES = re.compile(
    r"\b(?:not?|non|never|without|neither|nor|cannot|\w+n't|exclud\w+|rul\w+ out|unlikely|rather than|instead of|except"
    r"|incorrect|wrong|absence of|negative for|if|whether|unless|nicht|kein\w*|ohne|pas|sans|sin|não|нет|не|без)\b"
    r"|[不非无無未没沒否]",
    re.IGNORECASE,
)
_DISMISSES = re.compile(
    r"[\s)\]:]*(?:[^\W\d]+\s+){0,2}?"
    r"(?:not|\w+n't|cannot|incorrect|wrong|unlikely|less likely|false|ruled out|excluded|eliminated|inconsistent"
    r"|incompatible|impossible|nicht|n'est|no es|不)(?!\w)",
    re.IGNORECASE,
)
_CLAUSE_END = re.compile(r"[.!?;:,\n]")
_SENTENCE = re.compile(r"[^.!?\n]*")
_REFUSES = re.compile(
    r"""
    \b(?:
        i(?:'m|\ am)\ (?:sorry|unable|not\ able|not\ qualified) | i\ apologi[sz]e | as\ an\ ai\b
        | (?:can(?:no|'|)t|can\ not|could\ ?n[o']t|(?:un)?able\ to|not\ possible\ to|(?:impossible|difficult|hard)\ to)
          \ (?:be\ )?(?:\w+ly\ )?
          (?:help|assist|provide|determin|diagnos|identif|tell|say|answer|see|view|analy[sz]e|interpret|conclude|assess
             |comment|give|know)
        | (?:don't|do\ not)\ (?:know|have\ enough) | not\ sure | no\ image | insufficient | consult\ (?:a|with|your)\b
    )
    | 无法 | 抱歉 | 对不起 | 不能确定 | 不知道
    """,
    re.VERBOSE | re.IGNORECASE,
)

_IS = r"""(?:
    \s+(?:is|was|would\s+be|should\s+be|must\s+be|will\s+be|(?:seems|appears)\s+to\s+be)\b
    | \s*["']?\s*(?:[:=]|->|→|⇒)
    | (?=\s+\(?(?-i:[A-Z])\b)
)"""
_STATES = re.compile(
    rf"""
    \b(?:
        answer(?:\s+(?:choice|option|letter|index))?
        | (?:correct|right|best|final|chosen|selected|predicted|likely|probable|appropriate|suitable)
          \s+(?:option|choice|letter|diagnosis|finding|condition|modality|one)
        | choice | prediction | conclusion
    )
    (?:\s+to\s+(?:the|this|that|your)\s+question)?
    (?:\s+(?:among|from|of)\s+(?:\w+\s+){{0,3}}(?:options|choices))?
    {_IS}
    | \bi(?:\s+would|\s+will|'d|'ll)?\s+(?:therefore\s+)?(?:choose|select|pick|go\s+(?:with|for)|answer)\b
    | \bi\s+(?:chose|selected|picked)\b
    | (?:答案|选项|選項|答え|正解)\s*(?:应该|應該)?[是为為選选は]?\s*:?
    | (?:选择|選擇|选|選)
    | (?:정답|답)[은는]?\s*:?
    | \b(?:respuesta|opción|réponse|antwort|lösung|resposta|opção|risposta|ответ|вариант)
      (?:\s+(?:correct[ae]?|corretta|final\w*|bonne))?
      (?:\s+(?:es|est|ist|lautet|é|è)\b | \s*[:–—] | (?=\s+(?-i:[A-Z])\b))
    """,
    re.VERBOSE | re.IGNORECASE,
)
_LEADS_ON = re.compile(
    r"""[\s:="'(\[<]*(?:(?:is|the|that|this|clearly|definitely|indeed|most|likely|probably|therefore|thus|either|letter
    |option|choice|answer|la|le|die|der|opción|lettre|réponse|buchstabe)\b[\s:"'(\[]*)*""",
    re.VERBOSE | re.IGNORECASE,
)
_IS_RIGHT = re.compile(
    r"""["')\]]*\s*(?:[:(][^.\n)]{0,80}\)?\s*)?
    (?:is|seems|appears\s+to\s+be|would\s+be|must\s+be)\s+(?:(?:therefore|clearly|the|most|thus)\s+)*
    (?:correct|right|best|accurate|appropriate|answer|likely\s+(?:answer|option|choice|diagnosis))\b""",
    re.VERBOSE | re.IGNORECASE,
)

_LETTER = re.compile(rf"(?<!{_W})(?<!{_W}['\-+/.&])([A-Z])(?!{_W}|['\-+&/]{_W}|\.{_W})")
_SMALL = re.compile(r"(?<=[(\[])[a-z](?=[)\]])")
# What may follow a letter in running text: its end, a sign, or a word that goes on after a noun. "A patient" is no A.
_GOES_ON = re.compile(
    rf"""\s*(?:
        $ | [.,;:!?)\]"'|>\n—–/&] | -\s | \((?!\d) | [{_CJK}]
        | (?:because|since|as|due|given|based|for|which|and|or|but|considering|according|with|from|in|on|if|so|where
            |is|not|rather|porque|car|weil|denn|parce|puisque|por|oder|und|ou|et|o|y)(?!\w)
    )""",
    re.VERBOSE,
)
_JOINS = re.compile(
    r"""[\s"')\].]*(?:,\s*(?:or|and)\b | [,/&+|或和与與] | \b(?:or|and|oder|und|ou|et|o|y|e|или|и)\b | または)\s*
    (?:(?:the|option|choice|possibly|maybe|even|also|answer)\b\s*)*["'(\[]*""",
    re.VERBOSE | re.IGNORECASE,
)
_SUBJECT = re.compile(r"\s+(?:is|was|are|can|could|does|has|shows|would|describes|only)\b")
_TAKES_BACK = re.compile(
    r"\b(?:no|wait|actually|rather|instead|correction|sorry|hmm)\b[,.:;!\s]+(?:(?:it|that|is|it's|i|mean|option)\s+)*"
    rf"[\"'(\[]*(?-i:([A-Z]))(?!{_W}|')(?=\s*(?:$|[.,;:!)\]\n]))",
    re.IGNORECASE,
)
_ALONE = re.compile(
    r"""[\s"'(\[<.:]*(?:(?i:option|choice|answer|letter)\b[\s:"'(\[]*)?([A-Za-z])
    ((?:[\s.)\]"']*(?:,|/|&|\+|\bor\b|\band\b|\s)[\s"'(\[]*[A-Z](?!\w))*)[\s"')\]>.:;,!]*""",
    re.VERBOSE,
)
_FIRST = re.compile(
    r"""[\s"']*(?:(?i:option|choice)\s+)?
    (?: [(\[]\s*(?P<bracketed>[A-Za-z])\s*[)\]]
        | (?P<signed>[A-Za-z])\s*(?:[).:]|-\s|–|—)(?!\w\.)
        | (?P<bare>[A-Z])(?=[\s,])
    )""",
    re.VERBOSE,
)
_BRACKETED = re.compile(
    rf"[(\[]\s*(?:option\s+)?([A-Z])\s*[)\]]|(?<!{_W})(?<!\.)([A-Z])\s*[).:](?=\s)", re.IGNORECASE
)
_LABEL = re.compile(r"\s*[(\[]\s*(?:option\s+)?([A-Z])\s*[)\]]")
_EXPLAINS = re.compile(r",?\s+(?:because|since|as|due|given|based)\b")
_MENTIONS = re.compile(
    rf"\b(?i:option|choice|it'?s|it\s+is|this\s+is|that'?s|that\s+is|(?:therefore|thus|hence|so)[,:])\s+\(?([A-Z])(?!{_W}|')"
)
_LINE = re.compile(r"[^\n]+")
_SIGNS = re.compile(r"[\s.):\]\-–—,\"'(]*")
_CLOSES_CLAUSE = re.compile(r"\s*(?:$|[.,;:!\n)\"'—–-])")


def refusal(text: str) -> bool:
    """Whether a text says that it does not answer."""
    return _REFUSES.search(text) is not None


class OptionNames:
    """The options that one text names.

    Args:
        text: a text without rationale and markup.
        options: the option texts.
    """

    def __init__(self, text: str, options: tuple[str, ...]) -> None:
        self.text = text
        self.options = tuple(_option_words(option) for option in options)
        self.words = _words(text)
        self._starts = [start for _, start, _ in self.words]

    def stated(self, start: int, end: int) -> list[Name]:
        """Options in explicit statements between two places."""
        names: list[Name] = []
        for statement in _STATES.finditer(self.text, start, end):
            if not self._denied(statement.start(), start):
                leading = _LEADS_ON.match(self.text, statement.end(), end)
                listed = self._listed(leading.end() if leading else statement.end(), end)
                names += [name for name in listed if not self._asked(name.end, end)]
        subjects = [self._letter(match.start()) for match in _LETTER.finditer(self.text, start, end)]
        for name in [*subjects, *self._worded(start, end)]:
            if _IS_RIGHT.match(self.text, name.end, end) and not self._denied(name.start, start):
                names.append(name)
        return _in_order(names)

    def letters(self, start: int, end: int) -> list[Name]:
        """Letters that stand by themselves or beside their option."""
        if alone := self._alone(start, end):
            return alone
        names = [name for line in _LINE.finditer(self.text, start, end) for name in self._line(*line.span())]
        names += self._beside_option(start, end)
        if names:
            names += [self._letter(match.start(1)) for match in _TAKES_BACK.finditer(self.text, start, end)]
            return _in_order(names)
        return [
            self._letter(match.start(1))
            for match in _MENTIONS.finditer(self.text, start, end)
            if _GOES_ON.match(self.text, match.end(), end)
            and not self._dismissed(match.end(), end)
            and not self._denied(match.start(), start)
        ]

    def texts(self, start: int, end: int) -> list[Name]:
        """Options by their words; denied and doubted ones are `None`, and a refusal names nothing."""
        if _REFUSES.search(self.text, start, end):
            return []
        names = []
        for name in self._worded(start, end):
            if not self._is_grammar(name.choice) or self._leads(name, start, end):
                denied = self._denied(name.start, start) or self._dismissed(name.end, end)
                doubted = denied or self._asked(name.end, end)
                names += [name._replace(choice=None) if doubted else name, *self._joined(name.end, end)]
                label = _LABEL.match(self.text, name.end, end)  # "melanoma (B)" where melanoma is A
                if label and self._letter(label.start(1)).choice is not None:
                    names.append(self._letter(label.start(1)))
        return names

    # By letter

    def _letter(self, place: int) -> Name:
        choice = LETTERS.find(self.text[place].upper())
        return Name(choice if 0 <= choice < len(self.options) else None, place, place + 1)

    def _listed(self, place: int, end: int) -> list[Name]:
        """The option that is named exactly here, with those joined to it by a comma, "and" or "or"."""
        worded = self._worded_at(place, end)
        letter = _LETTER.match(self.text, place, end) or _SMALL.match(self.text, place, end)
        if letter is None or (worded is not None and worded.end > letter.end() + 1):
            return [worded, *self._joined(worded.end, end)] if worded else []
        first = self._letter(letter.start())
        own = self._own_words(first, letter.end(), end)
        if own is None and not _GOES_ON.match(self.text, letter.end(), end):
            return []
        names = [first, *self._others_words(first, letter.end(), end)]
        return names + self._joined(own or letter.end(), end)

    def _joined(self, place: int, end: int) -> list[Name]:
        """The options that a comma, "and" or "or" joins to one that ends here."""
        names: list[Name] = []
        for _ in LETTERS:  # no more than there can be options
            joint = _JOINS.match(self.text, place, end)
            if joint is None:
                break
            letter = _LETTER.match(self.text, joint.end(), end)
            if letter is None:
                name = self._worded_at(joint.end(), end)
            else:
                follows = _GOES_ON.match(self.text, letter.end(), end)
                subject = _SUBJECT.match(self.text, letter.end(), end)
                name = self._letter(letter.start()) if follows and not subject else None
            if name is None:
                break
            names.append(name)
            place = name.end
        return names

    def _alone(self, start: int, end: int) -> list[Name]:
        """The letter, or the list of letters, that is all there is."""
        match = _ALONE.fullmatch(self.text, start, end)
        if match is None:
            return []
        rest = (
            match.start(2) + place for place, sign in enumerate(match[2]) if sign in string.ascii_uppercase
        )
        return [self._letter(match.start(1)), *map(self._letter, rest)]

    def _line(self, start: int, end: int) -> list[Name]:
        """A letter that is a line, or that begins one with a sign after it or its option's words."""
        if alone := self._alone(start, end):
            return alone
        first = _FIRST.match(self.text, start, end)
        if first is None:
            return []
        kind = str(first.lastgroup)
        name = self._letter(first.start(kind))
        own = self._own_words(name, first.end(kind), end)
        if own is None and kind == "bare" and _EXPLAINS.match(self.text, first.end(kind), end):
            return [name]
        if own is None and kind == "bare" and (joined := self._joined(first.end(kind), end)):
            return [name, *joined]
        if own is None and (kind == "bare" or first[kind].islower()):
            return []
        if self._dismissed(own or first.end(), end):
            return []
        return [name, *self._others_words(name, first.end(kind), end)]

    def _beside_option(self, start: int, end: int) -> list[Name]:
        """Letters beside the words of their option: "adenoma (B)", "(B) adenoma"."""
        names = []
        for match in _BRACKETED.finditer(self.text, start, end):
            name = self._letter(match.start(1 if match[1] else 2))
            own = self._own_words(name, name.end, end)
            after = bool(match[1]) and self._end_words(name, match.start())
            if (after or own) and not self._dismissed(own or match.end(), end):
                if self._denied(match.start(), start):
                    continue
                names.append(name)
        return names

    # By words

    def _worded(self, start: int, end: int) -> list[Name]:
        """Wherever an option's words stand; of options that contain each other, the longest."""
        first, last = bisect_left(self._starts, start), bisect_left(self._starts, end)
        found = [
            (begin, begin + len(option), choice)
            for choice, option in enumerate(self.options)
            for begin in range(first, last - len(option) + 1)
            if option and self._stands(option, begin)
        ]
        longest: dict[int, int] = {}
        for begin, stop, _ in found:
            longest[begin] = max(stop, longest.get(begin, 0))
        span = max(map(len, self.options))
        return [
            Name(choice, self.words[begin][1], self.words[stop - 1][2])
            for begin, stop, choice in sorted(found)
            if not any(
                longest.get(other, 0) >= stop and longest[other] - other > stop - begin
                for other in range(begin - span + 1, begin + 1)
            )
        ]

    def _worded_at(self, place: int, end: int) -> Name | None:
        """The option, the longest of several, whose words begin with the first word here, article aside."""
        index = bisect_left(self._starts, place)
        if index < len(self.words) and self.words[index][0] in ("a", "an", "the"):
            index += not any(option[:1] == (self.words[index][0],) for option in self.options)
        if index >= len(self.words) or re.search(r"[\n.]\s*\S", self.text[place : self.words[index][1]]):
            return None
        fitting = [
            (len(option), choice)
            for choice, option in enumerate(self.options)
            if option and self._stands(option, index) and self.words[index + len(option) - 1][2] <= end
        ]
        if not fitting:
            return None
        length = max(fitting)[0]
        choices = [choice for n, choice in fitting if n == length]
        choice = choices[0] if len(choices) == 1 else None
        return Name(choice, self.words[index][1], self.words[index + length - 1][2])

    def _stands(self, option: tuple[str, ...], index: int) -> bool:
        return tuple(word for word, _, _ in self.words[index : index + len(option)]) == option

    def _own_words(self, letter: Name, place: int, end: int) -> int | None:
        """Where the words of a letter's option end that begin here, signs aside; None where they do not."""
        worded = self._after_signs(place, end)
        return worded.end if worded and letter.choice is not None and worded.choice == letter.choice else None

    def _others_words(self, letter: Name, place: int, end: int) -> list[Name]:
        """Another option whose words begin here: "B. melanoma" where melanoma is A."""
        worded = self._after_signs(place, end)
        if worded is None or worded.choice in (None, letter.choice) or self._is_grammar(worded.choice):
            return []
        return [worded]

    def _after_signs(self, place: int, end: int) -> Name | None:
        signs = _SIGNS.match(self.text, place, end)
        return self._worded_at(signs.end() if signs else place, end)

    def _end_words(self, letter: Name, place: int) -> bool:
        """Whether the words of a letter's option end here."""
        if letter.choice is None:
            return False
        option = self.options[letter.choice]
        index = bisect_left(self._starts, place) - len(option)
        return bool(option) and index >= 0 and self._stands(option, index)

    # What is said of an option

    def _is_grammar(self, choice: int | None) -> bool:
        return choice is not None and len(self.options[choice]) == 1 and self.options[choice][0] in _GRAMMAR

    def _leads(self, name: Name, start: int, end: int) -> bool:
        """Whether it is the first word, with a sign or nothing after it."""
        first = bisect_left(self._starts, start) == bisect_left(self._starts, name.start)
        return first and _CLOSES_CLAUSE.match(self.text, name.end, end) is not None

    def _denied(self, place: int, start: int) -> bool:
        """Whether the clause up to here holds a word that denies what follows."""
        start = max(start, place - 200)
        ends = [match.end() for match in _CLAUSE_END.finditer(self.text, start, place)]
        return _DENIES.search(self.text, ends[-1] if ends else start, place) is not None

    def _dismissed(self, place: int, end: int) -> bool:
        """Whether the words after an option dismiss it."""
        return _DISMISSES.match(self.text, place, end) is not None

    def _asked(self, place: int, end: int) -> bool:
        """Whether the sentence is a question."""
        sentence = _SENTENCE.match(self.text, place, end)
        return sentence is not None and self.text[sentence.end() : sentence.end() + 1] == "?"


def _in_order(names: list[Name]) -> list[Name]:
    return sorted(set(names), key=lambda name: name.start)


def _words(text: str) -> list[tuple[str, int, int]]:
    """Words without case, each with its place."""
    return [
        (unicodedata.normalize("NFKC", match[0]).casefold(), match.start(), match.end())
        for match in _WORD.finditer(text)
    ]


@lru_cache(maxsize=4096)
def _option_words(option: str) -> tuple[str, ...]:
    return tuple(word for word, _, _ in _words(plain_signs(option)))
