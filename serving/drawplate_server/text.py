"""Text to token ids and back: the tokenizer and chat template that travel with the engine."""

import datetime
import json
import re
from pathlib import Path
from typing import Any

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer, normalizers
from tokenizers.decoders import DecodeStream

from drawplate_server.errors import ApiError, StartError

PRINTABLE = (*range(33, 127), *range(161, 173), *range(174, 256))
HIDDEN = sorted({*range(256)} - {*PRINTABLE})
BYTES = {chr(b): b for b in PRINTABLE} | {chr(256 + n): b for n, b in enumerate(HIDDEN)}
"""The letters for which byte-level vocabularies take bytes, from GPT-2 on."""
BYTE = re.compile("<0x([0-9A-F]{2})>")
"""A byte in vocabularies of whole characters that fall back to bytes."""
BREAK = "\ufdd0"
"""Stands between the letters of a control token that a message names; Unicode keeps it for such inner use."""


class Text:
    """The tokenizer of an engine folder.

    Raises:
        StartError: If it has none that can be read.

    Attributes:
        end_ids: Tokens that end an answer.
        defaults: Settings of `generation_config.json`, which hold where a request has none.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self.tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # the library's errors have no type of their own
            raise StartError(f"{folder}/tokenizer.json cannot be read: {error}") from None
        # As transformers does, unless it is asked for them: a text that is cut would pass every limit.
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        config = _json(folder / "tokenizer_config.json")
        written = _json(folder / "generation_config.json")
        # transformers writes null for a setting that somebody took back.
        self.defaults = {name: value for name, value in written.items() if value is not None}
        self._names = {k: _word(config[k]) for k in ("bos_token", "eos_token") if config.get(k)}
        declared = self.defaults.get("eos_token_id")
        listed = declared if isinstance(declared, list) else [declared]
        own = self.tokenizer.token_to_id(self._names.get("eos_token", ""))
        self.end_ids = frozenset(i for i in [*listed, own] if i is not None)
        template = folder / "chat_template.jinja"
        source = template.read_text() if template.exists() else config.get("chat_template")
        self._template = _compiled(source) if source else None
        added = self.tokenizer.get_added_tokens_decoder()
        self._control = {token_id for token_id, token in added.items() if token.special}
        if self._template is not None:
            own = self.tokenizer.normalizer
            # Behind the search for control tokens, before all that makes tokens of text.
            joined = [normalizers.Replace(BREAK, ""), *([own] if own is not None else [])]
            self.tokenizer.normalizer = normalizers.Sequence(joined)

    def plain(self, prompt: str) -> list[int]:
        """Token ids of a prompt, with what the tokenizer itself puts around it."""
        return self.plain_all([prompt])[0]

    def plain_all(self, texts: list[str]) -> list[list[int]]:
        """Token ids of many texts, each as `plain` has it; other threads go on meanwhile."""
        return [encoding.ids for encoding in self.tokenizer.encode_batch(texts)]

    def chat(self, messages: list[dict[str, str]]) -> list[int]:
        """Token ids of a conversation, up to where the assistant is to speak.

        Control tokens come from the template alone: what a message has in their form is text.

        Raises:
            ApiError: If the model has no template, or its template refuses the conversation.
        """
        if self._template is None:
            raise ApiError(400, "this model has no chat template; use /v1/completions", "no_chat")
        turns = [
            {**message, "content": self._without_control(message["content"], place)}
            for place, message in enumerate(messages)
        ]
        try:
            text = self._template.render(messages=turns, add_generation_prompt=True, **self._names)
        except (jinja2.TemplateError, TypeError, ValueError, OverflowError) as error:
            said = f"the model's chat template refuses this: {error}"
            raise ApiError(400, said, "chat_template", "messages") from None
        ids: list[int] = self._encoded(text).ids
        return ids

    def _without_control(self, content: str, place: int) -> str:
        """A message's text, broken where it names control tokens, so that no role can be forged.

        Raises:
            ApiError: If the tokenizer makes control tokens of the broken text too.
        """
        pieces, end = [], 0
        for begin, after in self._control_places(content):
            pieces += [content[end:begin], BREAK.join(content[begin:after])]
            end = after
        broken = "".join([*pieces, content[end:]])
        if end and self._control_places(broken):
            said = "the message holds a control token of this model; leave it out"
            raise ApiError(400, said, "control_token", f"messages.{place}.content")
        return broken

    def _control_places(self, text: str) -> list[tuple[int, int]]:
        """Where a text has what is read as a control token: begin and end of each."""
        found = self._encoded(text)
        places = zip(found.ids, found.offsets, strict=True)
        return [place for token_id, place in places if token_id in self._control]

    def _encoded(self, text: str) -> Any:
        """Tokens of a text as it is; other threads go on meanwhile, as they do for a batch alone."""
        return self.tokenizer.encode_batch([text], add_special_tokens=False)[0]

    def token(self, token_id: int) -> str:
        """A token by itself, as log-probabilities name it."""
        text: str = self.tokenizer.decode([token_id], skip_special_tokens=False)
        return text

    def token_bytes(self, token_id: int) -> list[int] | None:
        """UTF-8 of a token, of which a character may have several; None if its bytes are not known."""
        name = self.token(token_id)
        if "\ufffd" not in name:
            return list(name.encode())
        stored: str = self.tokenizer.id_to_token(token_id)
        if byte := BYTE.fullmatch(stored):
            return [int(byte[1], 16)]
        return [BYTES[letter] for letter in stored] if {*stored} <= BYTES.keys() else None


class Decoder:
    """Text of an answer while its tokens come; half a character is held back."""

    def __init__(self, text: Text) -> None:
        self._tokenizer = text.tokenizer
        self._stream: Any = DecodeStream(skip_special_tokens=True)
        self._ids: list[int] = []
        self._shown = ""

    def push(self, token_id: int) -> str:
        """Text that a token adds."""
        self._ids.append(token_id)
        new: str = self._stream.step(self._tokenizer, token_id) or ""
        self._shown += new
        return new

    def flush(self) -> str:
        """What the whole has that the parts had not: bytes that make no character."""
        whole: str = self._tokenizer.decode(self._ids, skip_special_tokens=True)
        return whole[len(self._shown) :] if whole.startswith(self._shown) else ""


def _compiled(source: str) -> jinja2.Template:
    """A chat template as transformers renders one: sandboxed, with the same few functions."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
    )

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    environment.filters["tojson"] = lambda value, **how: json.dumps(
        value, ensure_ascii=False, **how
    )
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    try:
        return environment.from_string(source)
    except jinja2.TemplateError as error:
        raise StartError(f"the chat template cannot be read: {error}") from None


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def _word(entry: Any) -> str:
    """A special token, which older files hold as a record."""
    return str(entry["content"] if isinstance(entry, dict) else entry)
