import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.tiny import digest
from tests.tiny_encoders import save_encoder, states
from tests.tiny_training import TRAINING, new_folder
from transformers import AutoModel

from drawplate.distill.encoder import (
    ANSWERS,
    cosine_distance,
    hidden_distance,
    sentence_vectors,
)
from drawplate.distill.sentences import read_sentences
from drawplate.distill.step import distill_checkpoint
from drawplate.distill.teacher import ask_teacher
from drawplate.engines.pooling import mean_pool
from drawplate.errors import DrawplateError

TEACHER = {
    "loss": "embeddings",
    "windows": 48,
    "held_out_windows": 8,
    "window_tokens": 90,
    "temperature": None,
    "top_k": None,
    "hidden_layers": 2,
}
CONFIG = (
    TRAINING
    | TEACHER
    | {"kind": "distill", "teacher": "base", "hidden_weight": 0.0, "learning_rate": 1e-3}
)


@pytest.fixture(scope="module")
def teacher(encoder_base, encoder_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("teachers") / "base"
    folder.mkdir()
    return folder, ask_teacher(encoder_base, encoder_data, folder, TEACHER, threads=1)


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """The teacher with noise on its weights, and one layer less."""

    def damage(model):
        torch.manual_seed(5)
        del model.encoder.layer[1]
        model.config.num_hidden_layers = 2
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.add_(0.3 * parameter.std() * torch.randn_like(parameter))

    return save_encoder(tmp_path_factory.mktemp("students") / "small", edit=damage)


def distill(parent, data, teacher, output, **changes):
    folder, resume = new_folder(output)
    return distill_checkpoint(parent, data, teacher, folder, CONFIG | changes, resume, threads=1)


def test_losses_are_those_of_a_float64_reference():
    generator = np.random.default_rng(0)
    student, teacher = generator.normal(size=(2, 3, 7, 2, 16))
    mask = np.ones((3, 7), dtype=np.int64)
    mask[1, 4:] = 0

    def normal(x):
        return x / np.sqrt((x**2).mean(-1, keepdims=True))

    expected = ((normal(student) - normal(teacher))[mask == 1] ** 2).mean()
    pair = torch.from_numpy(student), torch.from_numpy(normal(teacher))
    found = hidden_distance(*pair, torch.from_numpy(mask))
    assert float(found) == pytest.approx(expected, rel=1e-4)
    vectors = [
        sentence_vectors(torch.from_numpy(x[:, :, 0]), torch.from_numpy(mask))
        for x in (student, teacher)
    ]
    for vector, x in zip(vectors, (student, teacher), strict=True):
        pooled = mean_pool(x[:, :, 0].astype(np.float32), mask)
        np.testing.assert_allclose(vector.numpy(), pooled, atol=1e-6)
    one, other = (v.double().numpy() for v in vectors)
    half_squared = ((one - other) ** 2).sum(-1).mean() / 2
    assert float(cosine_distance(*vectors)) == pytest.approx(half_squared, rel=1e-4)


def test_texts_are_paragraphs_and_sentences_between_special_tokens(encoder_base, encoder_data):
    ids, mask = read_sentences(encoder_data, encoder_base / "tokenizer.json", 0, 60, 100)
    lengths = mask.sum(1)
    assert ids.shape == mask.shape == (60, 100)
    assert (ids[:, 0] == 1).all()
    assert (ids[torch.arange(60), lengths - 1] == 2).all()
    assert (ids[mask == 0] == 0).all()
    assert (lengths == 100).any()  # a paragraph, cut
    assert (lengths < 90).any()  # a sentence
    with pytest.raises(DrawplateError, match=r"5000 are asked for: add calibration text"):
        read_sentences(encoder_data, encoder_base / "tokenizer.json", 0, 5000, 100)


def test_teacher_keeps_the_vectors_of_the_model(encoder_base, teacher):
    folder, facts = teacher
    answers = load_file(folder / ANSWERS)
    model = AutoModel.from_pretrained(encoder_base).eval()
    with torch.no_grad():
        out = model(
            answers["input_ids"], attention_mask=answers["attention_mask"]
        ).last_hidden_state
    pooled = mean_pool(out.numpy(), answers["attention_mask"].numpy())
    np.testing.assert_allclose(answers["vectors"].numpy(), pooled, atol=1e-5)
    assert answers["hidden"].shape == (56, 90, 2, 64)
    assert facts["positions"] == int(answers["attention_mask"].sum()) < 56 * 90


@pytest.mark.parametrize("hidden_weight", [0.0, 1.0])
def test_student_comes_nearer_to_its_teacher(
    hidden_weight, encoder_base, encoder_data, student, teacher, tmp_path
):
    facts = distill(
        student, encoder_data, teacher[0], tmp_path / "kd", hidden_weight=hidden_weight, epochs=4
    )
    before, after = (facts[f"held_out_loss_{w}_cosine_distance"] for w in ("before", "after"))
    assert after < 0.8 * before
    assert facts["unit"] == "cosine_distance"
    assert not any("nats" in name for name in facts)
    answers = load_file(teacher[0] / ANSWERS)
    ids = answers["input_ids"][
        (answers["held_out"] == 1) & (answers["attention_mask"].sum(1) == 90)
    ]
    target, *others = (states(f, ids).mean(1) for f in (encoder_base, student, tmp_path / "kd"))
    cosines = [torch.cosine_similarity(target, other).mean() for other in others]
    assert cosines[1] > cosines[0]
    for name in ("config.json", "tokenizer.json"):
        assert (tmp_path / "kd" / name).read_bytes() == (student / name).read_bytes()
    weights, parent = (load_file(f / "model.safetensors") for f in (tmp_path / "kd", student))
    assert torch.equal(weights["pooler.dense.weight"], parent["pooler.dense.weight"])
    assert weights.keys() == parent.keys()


def test_the_same_twice(encoder_data, student, teacher, tmp_path):
    for name in ("a", "b"):
        distill(student, encoder_data, teacher[0], tmp_path / name, epochs=1)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


def test_what_does_not_fit_is_refused(base, encoder_base, encoder_data, student, teacher, tmp_path):
    with pytest.raises(DrawplateError, match="holds no answers for the texts"):
        distill(student, encoder_data, teacher[0], tmp_path / "a", windows=40)
    with pytest.raises(DrawplateError, match="hidden_layers 3 is more than the 2 layers"):
        changes = {"hidden_weight": 1.0, "hidden_layers": 3}
        distill(student, encoder_data, teacher[0], tmp_path / "b", **changes)
    with pytest.raises(DrawplateError, match="is no encoder: leave the distill step out"):
        distill(base, encoder_data, teacher[0], tmp_path / "c")
    wide = save_encoder(tmp_path / "wide", hidden_size=32, num_attention_heads=2)
    with pytest.raises(DrawplateError, match=r"have 64 numbers, those of .* 32: choose a student"):
        distill(wide, encoder_data, teacher[0], tmp_path / "d")
    config = json.loads((encoder_base / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "compressed-tensors"}
    (tmp_path / "int8").mkdir()
    (tmp_path / "int8" / "config.json").write_text(json.dumps(config))
    with pytest.raises(DrawplateError, match="put the distill step before the quantize step"):
        distill(tmp_path / "int8", encoder_data, teacher[0], tmp_path / "e")


def test_training_of_weights_that_it_has_not_is_refused(teacher, student, encoder_data, tmp_path):
    with pytest.raises(DrawplateError, match=r"has no weights named mlp: write trained: all"):
        distill(student, encoder_data, teacher[0], tmp_path / "kd", trained="mlp")
