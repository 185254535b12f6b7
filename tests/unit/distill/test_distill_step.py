import shutil

import pytest
import torch
from safetensors.torch import load_file
from tests.tiny import digest, write_model
from tests.tiny_training import TRAINING, logits, new_folder
from transformers import AutoModelForCausalLM, BertConfig, BertModel

from drawplate.artifacts.manifest import read_manifest, write_manifest
from drawplate.distill.ancestry import kept_layers
from drawplate.distill.hidden import hidden_distance
from drawplate.distill.step import distill_checkpoint
from drawplate.distill.teacher import ANSWERS, ask_teacher
from drawplate.errors import DrawplateError
from drawplate.prune.step import prune_checkpoint
from drawplate.quantize.step import quantize_checkpoint

TEACHER = {
    "windows": 24,
    "held_out_windows": 4,
    "window_tokens": 32,
    "temperature": 1.0,
    "top_k": 16,
    "hidden_layers": 2,
}
CONFIG = TRAINING | {
    "kind": "distill",
    "learning_rate": 1e-2,
    "teacher": "base",
    "temperature": 1.0,
    "top_k": 16,
    "hidden_weight": 0.0,
    "hidden_layers": 2,
}


PRUNE = {"mlp_share": 0.0, "kv_group_share": 0.0, "windows": 4, "window_tokens": 32}


def manifest(folder, name, parent, **extra):
    facts = {"step": None, "key": {}, "tools": {}, "command": "", "format": None, "started": 0.0}
    write_manifest(folder, kind="checkpoint", name=name, parent=parent, extra=extra, **facts)


def digest_in(folder):
    return read_manifest(folder)["digest"]


@pytest.fixture(scope="module")
def teacher(base, text_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("teachers") / "base"
    folder.mkdir()
    return folder, ask_teacher(base, text_data, folder, TEACHER, threads=1)


def distill(parent, data, teacher, output, **changes):
    folder, resume = new_folder(output)
    return distill_checkpoint(parent, data, teacher, folder, CONFIG | changes, resume, threads=1)


@pytest.fixture(scope="module")
def distilled(damaged, text_data, teacher, tmp_path_factory):
    output = tmp_path_factory.mktemp("distilled") / "kd"
    return output, distill(damaged, text_data, teacher[0], output)


def test_teacher_keeps_what_the_model_says(base, teacher):
    answers, facts = load_file(teacher[0] / ANSWERS), teacher[1]
    assert answers["input_ids"].shape == (28, 32)
    assert int(answers["held_out"].sum()) == 4
    log_probs = logits(base, answers["input_ids"]).log_softmax(-1)
    found = log_probs.gather(-1, answers["top_ids"].long())
    torch.testing.assert_close(answers["top_log_probs"], found, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found[..., :1], log_probs.amax(-1, keepdim=True))
    mass = answers["top_log_probs"].exp().sum(-1) + answers["rest_log_prob"].exp()
    torch.testing.assert_close(mass, torch.ones(28, 32))
    assert facts["mean_top_k_mass"] == pytest.approx(float(found.exp().sum(-1).mean()), abs=1e-5)
    assert facts["positions"] == 28 * 32
    assert facts["bytes"] == (teacher[0] / ANSWERS).stat().st_size


def test_last_hidden_state_is_what_the_head_reads(base, teacher):
    answers = load_file(teacher[0] / ANSWERS)
    model = AutoModelForCausalLM.from_pretrained(base)
    with torch.no_grad():
        last = model.model(answers["input_ids"]).last_hidden_state
    expected = last / last.square().mean(-1, keepdim=True).sqrt()
    torch.testing.assert_close(answers["hidden"][:, :, 1].float(), expected, rtol=2e-3, atol=2e-3)


def test_teacher_says_the_same_twice(base, text_data, teacher, tmp_path):
    ask_teacher(base, text_data, tmp_path, TEACHER, threads=1)
    assert digest(tmp_path) == digest(teacher[0])


def test_student_comes_nearer_to_its_teacher(base, damaged, teacher, distilled):
    output, facts = distilled
    answers = load_file(teacher[0] / ANSWERS)
    held_out = answers["input_ids"][answers["held_out"].bool()]
    target = logits(base, held_out).log_softmax(-1)
    before, after = (
        float((target.exp() * (target - logits(f, held_out).log_softmax(-1))).sum(-1).mean())
        for f in (damaged, output)
    )
    assert after < 0.9 * before
    assert facts["improved"]
    assert facts["held_out_loss_after_nats"] < 0.9 * facts["held_out_loss_before_nats"]
    assert facts["curve"][-1][2] < facts["curve"][1][2]
    assert [row[0] for row in facts["curve"]] == [0, 3, 5, 8, 10, 12]
    assert facts["steps"] == 12
    assert facts["tokens"] == 2 * 24 * 32
    assert facts["tokens_per_s"] > 0


def test_nothing_but_the_weights_differs_from_the_parent(damaged, distilled):
    output = distilled[0]
    names = {p.name for p in damaged.iterdir()}
    assert {p.name for p in output.iterdir()} == names
    for name in names - {"model.safetensors"}:
        assert (output / name).read_bytes() == (damaged / name).read_bytes()
    before, after = (load_file(f / "model.safetensors") for f in (damaged, output))
    assert before.keys() == after.keys()
    assert "lm_head.weight" not in after
    assert all(before[n].dtype == after[n].dtype for n in before)


def test_one_teacher_serves_students_of_fewer_layers(base, text_data, teacher, tmp_path):
    write_model(tmp_path / "small", layers=2, seed=3)
    before = digest(teacher[0])
    facts = distill(
        tmp_path / "small", text_data, teacher[0], tmp_path / "kd", hidden_weight=1.0, epochs=1
    )
    assert facts["improved"]
    with pytest.raises(DrawplateError, match="hidden_layers 2 is more than the 1 layers"):
        write_model(tmp_path / "one", layers=1)
        distill(tmp_path / "one", text_data, teacher[0], tmp_path / "kd1", hidden_weight=1.0)
    distill(tmp_path / "one", text_data, teacher[0], tmp_path / "kd2", epochs=1)
    assert digest(teacher[0]) == before


def test_other_hidden_size_is_refused(base, text_data, teacher, tmp_path):
    wide = AutoModelForCausalLM.from_pretrained(base).config
    wide.hidden_size, wide.num_attention_heads = 128, 8
    shutil.copytree(base, tmp_path / "wide")
    AutoModelForCausalLM.from_config(wide).save_pretrained(tmp_path / "wide")
    with pytest.raises(DrawplateError, match=r"64 channels, .* 128: set hidden_weight: 0"):
        distill(tmp_path / "wide", text_data, teacher[0], tmp_path / "kd", hidden_weight=1.0)


def test_layers_kept_of_the_teacher_are_told_from_the_manifests(base, text_data, tmp_path):
    write_model(tmp_path / "base", layers=6)
    manifest(tmp_path / "base", "base", None)
    child, parent = "base", {"name": "base", "digest": digest_in(tmp_path / "base")}
    for label, kept in (("a", [0, 2, 3, 5]), ("b", [0, 1, 3])):
        child = f"{child}.{label}"
        (tmp_path / child).mkdir()
        config = PRUNE | {"keep_layers": kept, "layers": 2 if label == "a" else 1}
        facts = prune_checkpoint(
            tmp_path / parent["name"],
            text_data,
            tmp_path / child,
            config,
            tmp_path / "r",
            threads=1,
        )
        manifest(tmp_path / child, child, parent, pruned=facts)
        parent = {"name": child, "digest": digest_in(tmp_path / child)}
    assert kept_layers(tmp_path / child, "base", layers=3) == [0, 2, 5, 6]
    assert kept_layers(tmp_path / child, "base.a", layers=3) == [0, 1, 3, 4]
    assert kept_layers(tmp_path / child, child, layers=3) == [0, 1, 2, 3]
    assert kept_layers(tmp_path / child, "base.other", layers=3) is None
    assert kept_layers(base, "base", layers=2) is None
    manifest(tmp_path / "base.a", "base.a", {"name": "base", "digest": "0"}, pruned={})
    with pytest.raises(DrawplateError, match=r"is not what .* was made from"):
        kept_layers(tmp_path / child, "base", layers=3)


def test_student_of_chosen_layers_learns_hidden_states_and_logits(text_data, tmp_path):
    """Its states start where the teacher's are, and come nearer to those that follow."""
    write_model(tmp_path / "base", layers=4)
    manifest(tmp_path / "base", "base", None)
    (tmp_path / "base.half").mkdir()
    config = PRUNE | {"keep_layers": [0, 2], "layers": 2}
    facts = prune_checkpoint(
        tmp_path / "base", text_data, tmp_path / "base.half", config, tmp_path / "r", 1
    )
    parent = {"name": "base", "digest": digest_in(tmp_path / "base")}
    manifest(tmp_path / "base.half", "base.half", parent, pruned=facts)
    (tmp_path / "answers").mkdir()
    ask_teacher(tmp_path / "base", text_data, tmp_path / "answers", TEACHER, threads=1)
    distances = {}
    for weight in (0.0, 4.0):
        facts = distill(
            tmp_path / "base.half",
            text_data,
            tmp_path / "answers",
            tmp_path / f"kd{weight}",
            hidden_weight=weight,
            learning_rate=3e-3,
        )
        assert facts["improved"]
        answers = load_file(tmp_path / "answers" / ANSWERS)
        with torch.no_grad():
            states = AutoModelForCausalLM.from_pretrained(tmp_path / f"kd{weight}")(
                answers["input_ids"], output_hidden_states=True
            ).hidden_states
        # Kept layers 0 and 2: the student's first state stands for the teacher's second.
        distances[weight] = float(hidden_distance(states[1], answers["hidden"][:, :, 0].float()))
    assert distances[4.0] < distances[0.0]


def test_another_tokenizer_is_refused(base, text_data, teacher, tmp_path):
    shutil.copytree(base, tmp_path / "other")
    path = tmp_path / "other" / "tokenizer.json"
    path.write_text(path.read_text().replace('"<|im_end|>"', '"<|end|>"'))
    with pytest.raises(DrawplateError, match="has another tokenizer than its teacher base: dis"):
        distill(tmp_path / "other", text_data, teacher[0], tmp_path / "kd")


def test_answers_to_another_question_are_refused(damaged, text_data, teacher, tmp_path):
    with pytest.raises(DrawplateError, match="answers for temperature"):
        distill(damaged, text_data, teacher[0], tmp_path / "a", temperature=2.0)
    with pytest.raises(DrawplateError, match="other tokens"):
        distill(damaged, text_data, teacher[0], tmp_path / "b", windows=23)
    with pytest.raises(DrawplateError, match=r"no answers[.]safetensors"):
        distill(damaged, text_data, damaged, tmp_path / "c")
    with pytest.raises(DrawplateError, match="3 depths"):
        changes = {"hidden_weight": 1.0, "hidden_layers": 3}
        distill(damaged, text_data, teacher[0], tmp_path / "d", **changes)


def test_what_cannot_be_asked_or_trained_is_refused(base, text_data, teacher, tmp_path):
    with pytest.raises(DrawplateError, match="top_k 1000 is more than the 384 tokens"):
        ask_teacher(base, text_data, tmp_path, TEACHER | {"top_k": 1000}, threads=1)
    with pytest.raises(DrawplateError, match="hidden_layers 3 is more than the 2 layers"):
        ask_teacher(base, text_data, tmp_path, TEACHER | {"hidden_layers": 3}, threads=1)
    BertModel(BertConfig(num_hidden_layers=1)).save_pretrained(tmp_path / "bert")
    with pytest.raises(DrawplateError, match="is an encoder: leave the distill step out"):
        distill(tmp_path / "bert", text_data, teacher[0], tmp_path / "a")
    (tmp_path / "int8").mkdir()
    rtn = {"method": "rtn", "bits": 8, "head_bits": 8, "bits_per_weight": None}
    quantize_checkpoint(base, text_data, tmp_path / "int8", rtn, tmp_path / "r", threads=1)
    with pytest.raises(DrawplateError, match="put the distill step before the quantize step"):
        distill(tmp_path / "int8", text_data, teacher[0], tmp_path / "b")
