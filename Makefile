# Two commands matter: `make artifacts` and `make test`. Both set up what they need.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Libraries that pin other versions than the build's live in environments of their own, which steps
# and engines call. TensorRT is NVIDIA's, under its own licence: installed on top when asked for.
ENVIRONMENTS := llmcompressor vllm
TENSORRT_LOCK := environments/tensorrt/requirements.lock
# The pip that comes with Python 3.11 takes minutes to choose what this one chooses in seconds.
PIP := pip==26.3
INSTALL := pip install --quiet --disable-pip-version-check
# On all cores, where pip takes one. Some packages hold files of other Pythons: those stay as they are.
COMPILE := $(PYTHON) -m compileall -q -q -j 0

.PHONY: help artifacts image guidellm fastchat $(ENVIRONMENTS) tensorrt test check unit lock llmcompressor-lock vllm-lock guidellm-lock fastchat-lock serving-lock clean
.DEFAULT_GOAL := help

help: ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 28

artifacts: $(READY) ## Build the default experiment and name its report
	@$(BIN)/snakemake --profile cpu && echo "report: $(CURDIR)/results/smollm2/report.html"

image: $(READY) .venv-guidellm/.ready ## Build the default experiment's serving image and try it (podman, mmdebstrap, root)
	@$(BIN)/snakemake --profile cpu --config 'overrides=["package.build=true"]' && echo "image: $(CURDIR)/artifacts/smollm2/image"

llmcompressor: .venv-llmcompressor/.ready ## Make the environment that the methods of llm-compressor run in

guidellm: .venv-guidellm/.ready ## Make the environment that serving images are put under load from

vllm: .venv-vllm/.ready ## Make the environment that vLLM runs in, on processors

fastchat: .venv-fastchat/.ready ## Make the environment that bundles for FastChat are tried in

tensorrt: $(VENV)/.tensorrt ## Install TensorRT for RTX, under NVIDIA's licence

test: $(READY) $(ENVIRONMENTS) tensorrt check unit ## Run every check and test that needs no GPU

check: $(READY) ## Formatting, linting and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/mypy
	$(BIN)/snakemake --lint

unit: $(READY) ## Unit, configuration, workflow and integration tests
	$(BIN)/python -m pytest -n 2 --dist loadfile

# PyTorch first and alone: pip then takes the CPU build where the index offers one.
$(READY): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) not found: install Python 3.11 or say make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/$(INSTALL) $(PIP)
	$(BIN)/$(INSTALL) --no-compile "$$(grep '^torch==' requirements.lock)"
	$(BIN)/$(INSTALL) --no-compile -r requirements.lock
	$(BIN)/$(INSTALL) --no-deps --no-build-isolation -e .
	@$(COMPILE) $(VENV)/lib || true
	@touch $@

# A lock lists all that its environment holds. The copy of it says what the environment was made
# from; steps compare it before they start.
.venv-%/.ready: environments/%/requirements.lock
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) not found: install Python 3.11 or say make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/$(INSTALL) $(PIP)
	.venv-$*/bin/$(INSTALL) --no-compile --no-deps -r $<
	@$(COMPILE) .venv-$*/lib || true
	@cp $< $@

$(VENV)/.tensorrt: $(TENSORRT_LOCK) $(READY)
	$(BIN)/$(INSTALL) --no-deps -c requirements.lock -r $(TENSORRT_LOCK)
	@touch $@

lock: ## Resolve requirements.in anew into requirements.lock
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --quiet "$$(grep '^torch==' requirements.in)"
	.venv-lock/bin/pip install --quiet -r requirements.in
	{ echo "# Made by make lock from requirements.in; do not edit."; \
	  .venv-lock/bin/pip freeze --all --exclude pip | sed 's/ @ .*//; s/+cpu$$//'; } > requirements.lock
	rm -rf .venv-lock

llmcompressor-lock: ## The same for the environment of llm-compressor
	$(call lock_environment,llmcompressor,)

# Builds of these for another PyTorch stop vLLM, and text needs none of them; Triton (1 GB) has no part for processors.
vllm-lock: ## The same for the environment of vLLM
	$(call lock_environment,vllm,torchvision torchaudio torchcodec triton)

guidellm-lock: ## The same for the environment of the load generator
	$(call lock_environment,guidellm,triton)

fastchat-lock: ## The same for the environment of FastChat
	$(call lock_environment,fastchat,triton)

# Of environment $(1), without packages $(2).
define lock_environment
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/$(INSTALL) $(PIP)
	.venv-lock/bin/$(INSTALL) "$$(grep '^torch==' environments/$(1)/requirements.in)"
	.venv-lock/bin/$(INSTALL) -r environments/$(1)/requirements.in
	$(if $(2),.venv-lock/bin/pip uninstall --quiet --yes $(2))
	{ echo "# Made by make $(1)-lock from requirements.in; do not edit."; \
	  .venv-lock/bin/pip freeze --all --exclude pip | sed 's/ @ .*//; s/+cpu$$//'; } > environments/$(1)/requirements.lock
	rm -rf .venv-lock
endef

# With the hashes of every platform's wheels; what the tokenizer needs to reach a hub is left out.
NOT_SERVED := huggingface-hub filelock fsspec hf-xet httpcore2 httpx2 pyyaml tqdm truststore
serving-lock: $(READY) ## The same for each server of serving/
	for server in serving/*/requirements.in; do \
	  $(BIN)/uv pip compile --quiet --generate-hashes --python-version 3.11 --no-annotate --no-header --constraint requirements.lock \
	    $(NOT_SERVED:%=--no-emit-package %) $$server -o $${server%.in}.lock && \
	  { echo "# Made by make serving-lock from requirements.in; do not edit."; grep -v '^#' $${server%.in}.lock; } > .serving-lock && \
	  mv .serving-lock $${server%.in}.lock || exit 1; \
	done

clean: ## Delete what a build made, environment and downloads excepted
	rm -rf artifacts results logs benchmarks .drawplate .snakemake
