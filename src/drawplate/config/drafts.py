"""Which recipe may draft for which: speculative decoding's part of the configuration."""

import difflib
from typing import Any

from drawplate.config.sections import EngineSettings
from drawplate.errors import DrawplateError

MOST_DRAFT_TOKENS = 16  # what ONNX Runtime GenAI takes


def check_draft(recipe: str, settings: EngineSettings, chains: dict[str, list[Any]]) -> str:
    """Refuse a draft that cannot work for a recipe.

    Args:
        recipe: The target's recipe.
        settings: Of an engine with the option `draft`.
        chains: The labels of every recipe's steps, which make its checkpoint's name.

    Returns:
        The recipe that drafts.

    Raises:
        DrawplateError: Naming the engine and what to write instead.
    """
    draft, place = settings.options["draft"], f"engines.{settings.name}.options"
    if draft not in chains:
        close = difflib.get_close_matches(str(draft), list(chains), n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise DrawplateError(
            f"{place}.draft is {draft!r}, no recipe of the experiment",
            f"{hint}it has {', '.join(chains)}",
        )
    if chains[draft] == chains[recipe]:
        raise DrawplateError(
            f"variant {recipe}/{settings.name} would draft for itself",
            f"leave it out of variants, or write another recipe as {place}.draft",
        )
    tokens = settings.options.get("draft_tokens")
    if not isinstance(tokens, int) or not 1 <= tokens <= MOST_DRAFT_TOKENS:
        raise DrawplateError(
            f"{place}.draft_tokens is {tokens!r}", f"write 1 to {MOST_DRAFT_TOKENS}"
        )
    return str(draft)
