"""Overrides that cannot be meant, each with what its one line must say."""

from pathlib import Path

import pytest

from drawplate.build.workflow import load_build
from drawplate.errors import DrawplateError

ROOT = Path(__file__).parents[3]
OPTIONS, VERIFY = "engines.onnxruntime.options", "engines.onnxruntime.verify"
PAIR = "variants=[float/onnxruntime,float/speculative]"
NAME = "write at most 60 lower-case letters"
STEP = "{kind: quantize, method: rtn, bits: 4, head_bits: 4, group_size: 32, symmetric: true}"
HALF, LAYERS = "+prune@recipes.half.steps.h=half", "recipes.half.steps.h.keep_layers"
KD, STUDENT = (
    "+distill@recipes.kd.steps.kd=on_policy",
    "+distill@recipes.kd.steps.kd=student_example",
)

# Several overrides are joined by " & ".
MISTAKES = {
    "recipes.mixed4.steps.mixed4.bits_per_weight=9": "nothing to choose: write 8.75 or less",
    "variants=[int4]": "variant int4 names no engine: write recipe/engine, for example int4/",
    # Types, and numbers that are none.
    "gate.max_kl_nats=inf": "gate.max_kl_nats = inf is wrong: write a finite number",
    "gate.max_kl_nats=nan": "gate.max_kl_nats = nan is wrong: write a finite number",
    f"{OPTIONS}.accuracy_level=nan": "options.accuracy_level is nan; write a finite number",
    f"+{OPTIONS}.session_options.a=nan": "session_options.a is nan; write a finite number",
    "recipes=abc": "recipes = 'abc' is wrong: write settings",
    "recipes.int4=null": "recipes.int4 = None is wrong: write settings",
    "recipes.int4=abc": "recipes.int4 = 'abc' is wrong: write settings",
    "recipes.int4.steps=abc": "recipes.int4.steps = 'abc' is wrong: write settings",
    "recipes.int4.steps.int4.kind=[1]": "steps.int4.kind is [1]: choose one of quantize, prune",
    "~base.source.kind": "base.source.kind is None: choose one of hub, folder, pypi, npm",
    "base=null": "override 'base=null' chooses no base: choose one of folder",
    "data=null": "override 'data=null' chooses no data: choose one of default",
    "quantize=null": "override 'quantize=null' names no setting: write quantize.NAME=VALUE",
    "quantize=int4": "write one of its settings, as quantize.method=...",
    "base=[smollm2,minilm]": "chooses several of base: choose one of folder",
    "+base.source.pth=x": "base.source.pth is not a known setting: known here: bytes",
    "evaluate.windows=true": "evaluate.windows = True is wrong: write a whole number",
    "evaluate.windows='3'": "evaluate.windows = '3' is wrong: write a whole number",
    "gate.min_speedup=true": "gate.min_speedup = True is wrong: write a number",
    "benchmark.repeats=2000000000": "it must be less than or equal to 1000000000",
    "base.source.license=''": "base.source.license = '' is wrong: it is empty; write it out",
    "track.tracking_uri=' '": "track.tracking_uri = ' ' is wrong: it is empty",
    "base.source.version=1.0": "write a text; quotes make one of a number, as '1.0'",
    "base.source.version=latest": "version = 'latest' is wrong: write one version, as 1.2",
    "base.source={kind: npm, package: a, version: '1.2', license: MIT, sha256: null}": (
        "base.source.version = '1.2' is wrong: write one version, as 1.2.3"
    ),
    "base.source.sha256=abc": "write 64 digits of 0 to 9 and a to f",
    # Names that become parts of paths.
    "model=A": f"model = 'A' is wrong: {NAME}",
    "model=machine": "results/machine describes the machine; write another name",
    f"model={'a' * 61}": NAME,
    "+recipe@recipes.Ab=int8": f"recipes.Ab: this name cannot be used: {NAME}",
    "+prune@recipes.float.steps._w=width": f"recipes.float.steps._w: this name cannot be used: {NAME}",
    "+engine@engines.fast=onnxruntime": "engines.fast: its key must be its name, onnxruntime",
    "engines.onnxruntime.targets=[CPU]": NAME,
    "+data.sources.X=${data.sources.arrays}": f"data.sources.X: this name cannot be used: {NAME}",
    "+data.texts.X=${data.texts.code}": f"data.texts.X: this name cannot be used: {NAME}",
    "+data.tasks.X=${data.tasks.capitals}": f"data.tasks.X: this name cannot be used: {NAME}",
    "+data.embed.X=${data.tasks.capitals}": f"data.embed.X: this name cannot be used: {NAME}",
    # An engine's settings.
    f"+{VERIFY}.max_lk=1": "verify.max_lk is not a known setting: did you mean 'max_kl'?",
    f"{VERIFY}.max_kl=abc": "verify.max_kl = 'abc' is wrong: write a number",
    f"{VERIFY}.max_kl=-1": "verify.max_kl = -1 is wrong: it must be greater than or equal to 0",
    f"{VERIFY}.max_kl=nan": "verify.max_kl = nan is wrong: write a finite number",
    f"~{VERIFY}.min_cosine": "verify.min_cosine has no value",
    f"+{VERIFY}.prompts=[]": "verify.prompts = [] is wrong: it is empty; write at least one",
    f"+{OPTIONS}.accuracy_levle=4": "is not a known setting: did you mean 'accuracy_level'?",
    f"{OPTIONS}.accuracy_level=banana": "write a whole number; the default is 4",
    f"{OPTIONS}.accuracy_level=true": "write a whole number; the default is 4",
    f"~{OPTIONS}.table_dtype": "options.table_dtype has no value",
    "+engine@engines.transformers=transformers & +engines.transformers.options.x=1": (
        "engines.transformers.options.x is not a known setting: it has no options"
    ),
    "engines.onnxruntime.targets=[]": "no targets: write engines.onnxruntime.targets=[cpu]",
    "engines.onnxruntime.targets=[cpu,cpu]": "engine onnxruntime names a target twice",
    # Engines on another's package, and engines with a draft.
    "+engines.onnxruntime.runtime=onxruntime": "runtime is 'onxruntime', no engine: choose one of",
    f"{PAIR} & +engines.speculative.options.drafft=int4": "did you mean 'draft'?",
    f"{PAIR} & engines.speculative.options.draft=int44": (
        "engines.speculative.options.draft is 'int44', no recipe of the experiment: "
        "did you mean 'int4'?"
    ),
    f"{PAIR} & engines.speculative.options.draft=float": (
        "variant float/speculative would draft for itself: leave it out of variants"
    ),
    f"{PAIR} & engines.speculative.compared_with=speculative": (
        "engines.speculative.compared_with names itself; name another engine"
    ),
    f"{PAIR} & engines.speculative.options.draft_tokens=0": "draft_tokens is 0: write 1 to 16",
    f"{PAIR} & quantize.group_size=48": "cannot hold recipe int4: step int4 has groups of 48",
    f"{PAIR} & variants=[float/speculative]": (
        "variant float/speculative is compared with float/onnxruntime, which the experiment does "
        "not have: add float/onnxruntime to variants"
    ),
    "+engine@engines.openvino-kv8=openvino-kv8 & variants=[float/openvino-kv8]": (
        "is compared with float/openvino"
    ),
    # Overrides that name nothing, or something else than is meant.
    "experiment=minilm": "choose the experiment with --config experiment=minilm",
    "+experiment=minilm": "choose the experiment with --config experiment=minilm",
    "hydra.run.dir=x": "remove it: Hydra only composes here",
    "base=hub_example & base.source.files=[a]": "write +base.source.files=...",
    "base=zzz": "unknown base 'zzz': choose one of folder",
    "+zzz@a=b": "unknown group 'zzz': choose one of base, benchmark",
    "model=x;ls": "override 'model=x;ls' cannot be read: write name=value, and quote",
    "": "override '' cannot be read",
    "=3": "override '=3' names no setting: write name=value, as model=mine",
    "~=": "override '~=' names no setting",
    "@a=3": "override '@a=3' names no setting",
    "recipes={}": (
        "override 'recipes={}' empties nothing, as Hydra merges it into what is there: remove an "
        "entry as ~recipes.float, or name those to build in variants"
    ),
    "++engines={ }": "remove an entry as ~engines.onnxruntime, or name those to build in variants",
    "data.tasks={}": "remove an entry as ~data.tasks.",
    "recipes.int4.steps={}": "remove an entry as ~recipes.int4.steps.int4",
    "model=a,b": "override 'model=a,b' has several values: write one, or a list as name=[a,b]",
    "evaluate.windows=${x}": "evaluate.windows cannot be composed: Interpolation key 'x'",
    "base.source.files.x=1": "write the whole list, as name=[a,b]",
    # Variants and chains.
    "variants=[int8/openvino]": (
        "variant int8/openvino has nothing to be compared with on openvino: "
        "add float/openvino to variants"
    ),
    "variants=[float/openvino,int8/onnxruntime]": "add float/onnxruntime to variants",
    "variants=[float/openvino,float/openvino]": "variant float/openvino is listed twice",
    "~recipes.float & variants=null": "compared with on onnxruntime: add a recipe without steps",
    f"+recipes.q.steps={{int8: {STEP}}}": (
        "recipes int8 and q both make base.int8, with different settings: rename one step's label"
    ),
    "~recipes.distilled & ~recipes.pruned-recovered & ~recipes.distilled-pruned-int4 & "
    "variants=[float/onnxruntime] & prune.layers=3": (
        "prune.layers is set, but no recipe of the experiment has a prune step: leave it out"
    ),
    # Pruning and distillation.
    f"{HALF} & {LAYERS}=odd": f"{LAYERS} = 'odd' is wrong: write null, even, or the layers",
    f"{HALF} & {LAYERS}=[1,a]": f"{LAYERS} = [1, 'a'] is wrong: write null, even, or",
    f"{HALF} & {LAYERS}=[2,1]": "ascending, as [0,2,4]",
    f"{KD} & recipes.kd.steps.kd.on_policy_share=0.5 & recipes.kd.steps.kd.window_tokens=32": (
        "recipes.kd.steps.kd: on_policy_prompt_tokens: leave room for a continuation"
    ),
    f"{STUDENT} & recipes.kd.steps.kd.hidden_weight=1": "write hidden_weight: 0.0",
    f"{STUDENT} & recipes.kd.steps.kd.student.name=A": f"kd.student.name = 'A' is wrong: {NAME}",
    f"+prune@recipes.kd.steps.w=width & {STUDENT}": (
        "recipes.kd: step kd brings a student of its own, so what comes before it would be lost"
    ),
    f"{STUDENT} & +distill@recipes.x.steps.k2=student_example & "
    "recipes.x.steps.k2.student.parameters=1": (
        "recipes kd and x both name a student smollm2-135m, with different settings: rename one"
    ),
}


@pytest.mark.parametrize("overrides", MISTAKES)
def test_a_mistake_is_one_line_that_says_what_to_write(overrides: str) -> None:
    with pytest.raises(DrawplateError) as caught:
        load_build({"overrides": overrides.split(" & ")}, ROOT)
    assert MISTAKES[overrides] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_labels_that_together_are_too_long_for_a_folder_are_refused() -> None:
    labels = [letter * 55 for letter in "abcd"]
    overrides = [f"+prune@recipes.long.steps.{label}=width" for label in labels]
    with pytest.raises(DrawplateError, match="shorten them to 200 together"):
        load_build({"overrides": overrides}, ROOT)


@pytest.mark.parametrize(
    "override",
    [
        f"+{OPTIONS}.session_options.a=b",
        f"+{VERIFY}.prompts=[hello]",
        "base.parameters=7000000000",
        "base.source.bytes=70000000000",
        "gate.max_kl_nats=null",
        "gate.max_kl_nats=1",
        "recipes.float.description=''",
        "variants=null",
        "+recipe@recipes.same=int8",
        "recipes.float.steps={}",
        "prune={}",
    ],
)
def test_what_is_meant_is_taken(override: str) -> None:
    assert load_build({"overrides": [override]}, ROOT).pairs()


def test_a_checked_engines_limits_are_plain_data() -> None:
    verify = load_build({}, ROOT).engines["onnxruntime"].verify
    assert {**verify} == {"max_kl": 0.05, "max_continuation_gap": 0.5, "min_cosine": 0.98}
