import json

import pytest
from safetensors.torch import load_file, save_file
from tests.tiny_encoders import save_encoder, states, token_ids

from drawplate import engines
from drawplate.engines.task import check_architecture, is_encoder, task_of
from drawplate.errors import DrawplateError
from drawplate.sources.architecture import check_tensors


@pytest.mark.parametrize(
    ("architectures", "task"),
    [(["LlamaForCausalLM"], "causal-lm"), (["BertModel"], "encoder"), (["MPNetModel"], "encoder")],
)
def test_task_is_told_by_the_class(architectures, task, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"architectures": architectures}))
    assert task_of(tmp_path) == task
    assert is_encoder(tmp_path) == (task == "encoder")


@pytest.mark.parametrize("config", [{"architectures": [5]}, {"architectures": "BertModel"}, {}, []])
def test_no_class_is_one_line(config, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(DrawplateError, match='names no architecture: add "architectures"'):
        task_of(tmp_path)


@pytest.mark.parametrize("name", ["GPT2LMHeadModel", "GPT2DoubleHeadsModel", "BertForMaskedLM"])
def test_models_with_other_heads_are_neither(name, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"architectures": [name]}))
    with pytest.raises(
        DrawplateError, match=f"is a {name}: give a causal language model or a sent"
    ):
        task_of(tmp_path)
    assert not is_encoder(tmp_path)


def test_an_encoder_without_pooler_is_whole(tmp_path):
    folder = save_encoder(tmp_path / "base")
    path = folder / "model.safetensors"
    expected = states(folder, token_ids())
    tensors = {n: t for n, t in load_file(path).items() if not n.startswith("pooler.")}
    save_file(tensors, path, metadata={"format": "pt"})
    check_tensors(folder, "encoder", "base")
    ids = token_ids().numpy()
    engine = engines.load("transformers", folder, 1)
    means = expected.mean(1).numpy()
    cosines = (engine.embed(ids, ids * 0 + 1) * means).sum(1) / (means**2).sum(1) ** 0.5
    assert cosines.min() > 0.99999
    del tensors["encoder.layer.1.output.dense.bias"]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(DrawplateError, match=r"layer.1.output.dense.bias is missing"):
        check_tensors(folder, "encoder", "base")
    with pytest.raises(DrawplateError, match=r"layer.1.output.dense.bias is missing"):
        engines.load("transformers", folder, 1)


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        ({"sliding_window": 300}, True),
        ({"sliding_window": 512}, False),
        ({"sliding_window": None}, False),
        ({"sliding_window": 300, "use_sliding_window": False}, False),
        ({"sliding_window": 300, "layer_types": ["full_attention"]}, False),
        ({"sliding_window": 300, "layer_types": ["full_attention", "sliding_attention"]}, True),
    ],
)
def test_a_model_that_looks_back_on_a_window_is_refused(settings, refused, tmp_path):
    config = {"architectures": ["MistralForCausalLM"], "max_position_embeddings": 512, **settings}
    (tmp_path / "config.json").write_text(json.dumps(config))
    if not refused:
        check_architecture(tmp_path, "onnxruntime", ["MistralForCausalLM"])
        return
    with pytest.raises(DrawplateError, match="to the last 300 tokens"):
        check_architecture(tmp_path, "onnxruntime", ["MistralForCausalLM"])


def test_an_unknown_architecture_names_those_supported(tmp_path):
    (tmp_path / "config.json").write_text('{"architectures": ["MambaForCausalLM"]}')
    with pytest.raises(DrawplateError, match=r"MambaForCausalLM.*a model of LlamaForCausalLM"):
        check_architecture(tmp_path, "onnxruntime", ["LlamaForCausalLM"])
    check_architecture(tmp_path, "transformers", [])


def test_a_tied_head_that_is_another_one_is_refused(tmp_path):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1}
    config = LlamaConfig(vocab_size=48, num_attention_heads=2, tie_word_embeddings=True, **sizes)
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, path, metadata={"format": "pt"})
    check_tensors(tmp_path, "causal-lm", "base")
    tensors["lm_head.weight"] = torch.zeros(48, 32)
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(DrawplateError, match=r"lm_head.weight is not the embedding"):
        check_tensors(tmp_path, "causal-lm", "base")
