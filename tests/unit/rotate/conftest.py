import pytest
from tests.tiny import write_model


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny_llama") / "base"
    write_model(folder)
    return folder
