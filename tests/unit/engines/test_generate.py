"""`drawplate generate` refuses in one line what an engine would end in a trace."""

import pytest

from drawplate.cli.main import main

TINY_CONTEXT = 512


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--max-new-tokens", "600"], "write --max-new-tokens 510 or less"),
        (["--max-new-tokens", "0"], "--max-new-tokens is too small"),
        (["--threads", "0"], "--threads is too small"),
        (["--prompt", "x" * 600], "shorten the prompt"),
    ],
)
def test_what_the_model_cannot_take_is_refused(arguments, said, checkpoint, capsys):
    with pytest.raises(SystemExit):
        main(["generate", str(checkpoint("tied")), "--prompt", "hi", *arguments])
    assert said in capsys.readouterr().err
