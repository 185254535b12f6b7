"""Whether a text repeats another: shared runs of words.

The unit is the 13-gram of lower-case words without punctuation, as in appendix C of Brown et al.
2020, "Language Models are Few-Shot Learners" (https://arxiv.org/abs/2005.14165).
"""

import re
from collections.abc import Iterable, Iterator

from drawplate.data.documents import Document
from drawplate.errors import DrawplateError

WORD = re.compile(r"\w+")


def ngrams(text: str, words: int) -> Iterator[int]:
    """A hash of each run of `words` words; stable within one process only."""
    found = WORD.findall(text.lower())
    for start in range(len(found) - words + 1):
        yield hash(tuple(found[start : start + words]))


def ngram_set(texts: Iterable[str], words: int) -> set[int]:
    """Hashes of all runs of `words` words in some texts."""
    return {gram for text in texts for gram in ngrams(text, words)}


def drop_shared(
    documents: list[Document], held_out: set[int], words: int
) -> tuple[list[Document], int]:
    """Documents without the paragraphs that share a run of words with held-out text.

    Returns:
        The documents that still have a paragraph, and how many paragraphs were dropped.
    """
    kept, dropped = [], 0
    for document in documents:
        clean = [p for p in document.paragraphs if held_out.isdisjoint(ngrams(p, words))]
        dropped += len(document.paragraphs) - len(clean)
        if clean:
            kept.append(Document(document.id, tuple(clean)))
    return kept, dropped


def check_disjoint(documents: Iterable[Document], held_out: set[int], words: int) -> None:
    """Refuse calibration text that repeats held-out text.

    Raises:
        DrawplateError: With the place and the beginning of the first paragraph that does.
    """
    for document in documents:
        for number, part in enumerate(document.paragraphs, start=1):
            if not held_out.isdisjoint(ngrams(part, words)):
                raise DrawplateError(
                    f"calibration text {document.id}, paragraph {number} shares {words} words in a"
                    f" row with evaluation text: {part[:60]!r}...",
                    "take it out of one of them, or set data.overlap.then=drop",
                )
