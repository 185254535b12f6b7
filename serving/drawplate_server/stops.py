"""Text as it may be shown while words that end it are being looked for."""

from collections.abc import Sequence


class StopWords:
    """Lets text through, but for what could be the beginning of a stop word."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = tuple(words)
        self._held = ""
        self.found = False

    def push(self, text: str) -> str:
        """Text that can be shown now that `text` came; `found` says whether a word ended it."""
        self._held += text
        places = [place for word in self._words if (place := self._held.find(word)) >= 0]
        if places:
            self.found = True
            shown, self._held = self._held[: min(places)], ""
            return shown
        keep = max((self._overlap(word) for word in self._words), default=0)
        cut = len(self._held) - keep
        shown, self._held = self._held[:cut], self._held[cut:]
        return shown

    def flush(self) -> str:
        """What was held back, since nothing more comes."""
        shown, self._held = self._held, ""
        return shown

    def _overlap(self, word: str) -> int:
        """Length of the longest end of the held text that a word begins with."""
        longest = min(len(word) - 1, len(self._held))
        return next((n for n in range(longest, 0, -1) if word.startswith(self._held[-n:])), 0)
