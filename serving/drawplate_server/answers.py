"""Pieces of an answer as the objects of the OpenAI API."""

import dataclasses
import time
import uuid
from collections.abc import Sequence
from typing import Any

from drawplate_server.api import StreamOptions
from drawplate_server.generation import Piece, Score
from drawplate_server.text import Text


@dataclasses.dataclass
class Answer:
    """One answer: its identity, and how its pieces are written.

    Attributes:
        model: As the client named it.
        chat: Whether it is a turn of a conversation.
        prompt_tokens: Of the prompt.
        text: For the names of tokens.
        scored: Whether log-probabilities are asked for.
    """

    model: str
    chat: bool
    prompt_tokens: int
    text: Text
    scored: bool

    def __post_init__(self) -> None:
        self.id = f"{'chatcmpl' if self.chat else 'cmpl'}-{uuid.uuid4().hex}"
        self.created = int(time.time())

    def whole(self, pieces: Sequence[Piece]) -> dict[str, Any]:
        """The answer in one object."""
        shown = "".join(piece.text for piece in pieces)
        scores = [score for piece in pieces for score in piece.scores]
        choice: dict[str, Any] = {"index": 0, "finish_reason": pieces[-1].finish}
        choice |= {"logprobs": self._logprobs(scores) if self.scored else None}
        if self.chat:
            choice["message"] = {"role": "assistant", "content": shown, "refusal": None}
        else:
            choice["text"] = shown
        return {
            **self._head("chat.completion"),
            "choices": [choice],
            "usage": self.usage(pieces[-1].tokens),
        }

    def chunk(self, piece: Piece, first: bool, options: StreamOptions | None) -> dict[str, Any]:
        """A piece of a stream."""
        choice: dict[str, Any] = {"index": 0, "finish_reason": piece.finish}
        choice["logprobs"] = self._logprobs(piece.scores) if piece.scores else None
        if self.chat:
            choice["delta"] = {**({"role": "assistant"} if first else {}), "content": piece.text}
        else:
            choice["text"] = piece.text
        usage: dict[str, Any] = {"usage": None} if options and options.include_usage else {}
        if options and options.continuous_usage_stats:
            usage = {"usage": self.usage(piece.tokens)}
        return {**self._head("chat.completion.chunk"), "choices": [choice], **usage}

    def last_chunk(self, tokens: int) -> dict[str, Any]:
        """What ends a stream that was asked for its usage."""
        return {**self._head("chat.completion.chunk"), "choices": [], "usage": self.usage(tokens)}

    def usage(self, tokens: int) -> dict[str, int]:
        """Tokens of prompt and answer."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": tokens,
            "total_tokens": self.prompt_tokens + tokens,
        }

    def _head(self, kind: str) -> dict[str, Any]:
        kind = kind if self.chat else "text_completion"
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def _logprobs(self, scores: Sequence[Score]) -> dict[str, Any]:
        if not self.chat:
            return {
                "tokens": [self.text.token(s.token_id) for s in scores],
                "token_logprobs": [s.logprob for s in scores],
                "top_logprobs": [{self.text.token(i): p for i, p in s.top} for s in scores],
            }
        return {
            "content": [
                {
                    **self._named(s.token_id, s.logprob),
                    "top_logprobs": [self._named(i, p) for i, p in s.top],
                }
                for s in scores
            ],
            "refusal": None,
        }

    def _named(self, token_id: int, logprob: float) -> dict[str, Any]:
        name, spelled = self.text.token(token_id), self.text.token_bytes(token_id)
        return {"token": name, "logprob": logprob, "bytes": spelled}
