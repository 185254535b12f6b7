"""Batches that the student writes itself."""

import shutil

import pytest
import torch
from tests.tiny import digest
from tests.tiny_training import TRAINING, new_folder
from transformers import AutoModelForCausalLM

from drawplate.distill import step
from drawplate.distill.on_policy import continued, drawn, is_on_policy
from drawplate.distill.step import distill_checkpoint
from drawplate.distill.teacher import ask_teacher
from drawplate.errors import DrawplateError
from drawplate.training import watch

ASKED = {
    "windows": 24,
    "held_out_windows": 4,
    "window_tokens": 32,
    "temperature": 1.0,
    "top_k": 16,
    "hidden_layers": 2,
}
CONFIG = (
    TRAINING
    | ASKED
    | {
        "learning_rate": 1e-2,
        "teacher": "base",
        "hidden_weight": 0.5,
        "on_policy_share": 0.5,
        "on_policy_prompt_tokens": 8,
    }
)


@pytest.fixture(scope="module")
def answers(base, text_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("answers")
    ask_teacher(base, text_data, folder, ASKED, threads=1)
    return folder


@pytest.fixture
def distill(base, damaged, text_data, answers):
    def run(output, live_teacher=base, **changes):
        shutil.rmtree(output, ignore_errors=True)
        folder, resume = new_folder(output)
        config = CONFIG | changes
        return distill_checkpoint(
            damaged, text_data, answers, folder, config, resume, 1, live_teacher
        )

    return run


def test_share_of_the_batches_is_spread_evenly():
    assert [is_on_policy(i, 0.25) for i in range(8)] == [False, False, False, True] * 2
    assert sum(is_on_policy(i, 0.3) for i in range(10)) == 3
    assert not any(is_on_policy(i, 0.0) for i in range(50))
    assert all(is_on_policy(i, 1.0) for i in range(50))


def test_tokens_are_drawn_as_often_as_they_are_probable():
    logits = torch.tensor([[0.0, 2.0, -1.0, -torch.inf, 1.0]]).expand(20000, -1)
    ids = drawn(logits, torch.Generator().manual_seed(3)).flatten()
    found = torch.bincount(ids, minlength=5) / len(ids)
    # Four standard deviations of the most uncertain share.
    torch.testing.assert_close(found, logits[0].softmax(-1), atol=0.015, rtol=0.0)
    assert found[3] == 0


def test_continuations_are_those_of_a_model_without_a_cache(base):
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float64).train()
    prompts = torch.arange(40, 52).view(3, 4)
    found = continued(model, prompts, 20, seed=7)
    assert model.training
    generator, windows = torch.Generator().manual_seed(7), prompts
    for _ in range(16):
        with torch.no_grad():
            probabilities = model(windows, use_cache=False).logits[:, -1].softmax(-1)
        numbers = torch.rand(3, 1, generator=generator, dtype=torch.float64)
        cumulative = probabilities.cumsum(-1)
        windows = torch.cat([windows, (cumulative <= numbers).sum(-1, keepdim=True)], dim=1)
    assert torch.equal(found, windows)
    assert torch.equal(found[:, :4], prompts)
    assert not torch.equal(continued(model, prompts, 20, seed=8), found)


def test_student_learns_from_what_it_writes(distill, tmp_path, monkeypatch):
    written = []

    def told(student, prompts, tokens, seed):
        windows = continued(student, prompts, tokens, seed)
        written.append((seed, windows))
        return windows

    monkeypatch.setattr(step, "continued", told)
    facts = distill(tmp_path / "kd", on_policy_share=1.0)
    assert facts["improved"]
    assert facts["held_out_loss_after_nats"] < 0.95 * facts["held_out_loss_before_nats"]
    assert facts["curve"][-1][2] < facts["curve"][1][2]
    assert len(written) == 12
    assert len({seed for seed, _ in written}) == 12
    assert written[0][1].shape == (4, 32)


def test_loss_is_that_of_the_teacher_on_the_students_windows(base, damaged, answers, text_data):
    from drawplate.distill.loss import top_k_divergence
    from drawplate.distill.options import DistillOptions

    options = DistillOptions.from_config(CONFIG | {"hidden_weight": 0.0, "on_policy_share": 1.0})
    student, teacher = (
        AutoModelForCausalLM.from_pretrained(f, dtype=torch.float64) for f in (damaged, base)
    )
    batch = {"input_ids": torch.arange(60, 124).view(2, 32), "place": torch.tensor([5, 6])}
    found = step.batch_loss(student, batch, options, [], teacher)
    windows = continued(student, batch["input_ids"][:, :8], 32, seed=5)
    with torch.no_grad():
        own, theirs = (m(windows).logits[:, 7:].float().log_softmax(-1) for m in (student, teacher))
    top = theirs.topk(16)
    rest = theirs.scatter(-1, top.indices, -torch.inf).logsumexp(-1)
    expected = top_k_divergence(own, top.indices, top.values, rest).mean()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    found.backward()
    assert all(p.grad is not None for p in student.parameters())
    assert all(p.grad is None for p in teacher.parameters())


def test_every_weight_learns_in_bfloat16(distill, damaged, tmp_path):
    """Copies of weights made for sampling, without gradients, must not serve the training pass."""
    facts = distill(tmp_path / "kd", precision="bfloat16", on_policy_share=1.0, epochs=1)
    assert facts["improved"]
    before, after = (
        AutoModelForCausalLM.from_pretrained(f).state_dict() for f in (damaged, tmp_path / "kd")
    )
    assert not [name for name in before if torch.equal(before[name], after[name])]


def test_killed_run_writes_the_same_windows_again(distill, tmp_path, monkeypatch):
    whole = distill(tmp_path / "whole")
    save = watch.Watch.on_save

    def die(self, args, state, control, **rest):
        save(self, args, state, control, **rest)
        if state.global_step == 5:  # two of the student's batches before, four after
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(watch.Watch, "on_save", die)
        patch.setattr(watch, "SECONDS_BETWEEN_SAVES", 0.0)
        with pytest.raises(KeyboardInterrupt):
            distill(tmp_path / "again")
    # Random numbers used up in between must not matter.
    torch.rand(1000)
    facts = distill_again = distill(tmp_path / "again")
    assert facts["resumed_after_step"] == 5
    assert digest(tmp_path / "again") == digest(tmp_path / "whole")
    assert distill_again["held_out_loss_after_nats"] == whole["held_out_loss_after_nats"]


def test_teacher_that_is_not_there_is_told(distill, tmp_path):
    with pytest.raises(DrawplateError, match="on_policy_share needs the teacher itself"):
        distill(tmp_path / "kd", live_teacher=None)
