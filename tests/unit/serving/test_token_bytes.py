"""The bytes of tokens beside log-probabilities: those of a character's tokens make the character."""

import pytest
from drawplate_server.text import Text
from tokenizers import Tokenizer, decoders, models


def test_the_bytes_of_a_characters_tokens_are_its_utf8(engine):
    text = Text(engine)
    said = "café 河 \u00a0😀"
    ids = text.plain(said)
    spelled = [text.token_bytes(token_id) for token_id in ids]
    assert any("\ufffd" in text.token(token_id) for token_id in ids)
    assert b"".join(map(bytes, spelled)) == said.encode()


@pytest.mark.parametrize(
    ("token", "spelled"), [("<0xE6>", [0xE6]), ("a\ufffd", None), ("né", [110, 195, 169])]
)
def test_a_byte_that_stands_in_for_a_character_is_that_byte(engine, token, spelled):
    text = Text(engine)
    text.tokenizer = Tokenizer(models.WordLevel({token: 0}, unk_token=token))
    text.tokenizer.decoder = decoders.ByteFallback()
    assert text.token_bytes(0) == spelled
