# `make help` lists the targets. Stages take RECIPE= (a folder under recipes/) and ARGS= (passed on to the command).

RECIPE ?= phantom
ARGS ?=
PYTHON ?= python3
#: Processes that train together on this machine, a GPU each: PROCESSES=8
PROCESSES ?=
#: An accelerate config, for models that several GPUs must share: ACCELERATE=recipes/accelerate/fsdp2.yaml
ACCELERATE ?=

BIN := .venv/bin
REASONER := $(BIN)/reasoner
LAUNCH := $(BIN)/accelerate launch --config_file $(ACCELERATE) $(if $(PROCESSES),--num_processes $(PROCESSES))
TRAIN := $(if $(ACCELERATE),$(LAUNCH) -m recipes.cli,$(REASONER))
TOGETHER := $(if $(ACCELERATE),,$(if $(PROCESSES),--processes $(PROCESSES)))
EARLIER = --recipe $(RECIPE) --if-needed

.DEFAULT_GOAL := help
.PHONY: help setup mine sft grpo eval export watch demo complete ablation check test test-anywhere lint format hooks \
	bench doctor clean clean-venv

help: ## This list
	@echo "Two commands do everything: make demo, make test. While you edit: make check. Targets:"
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | awk -F'|' '{printf "  make %-14s %s\n", $$1, $$2}'
	@echo "  RECIPE=phantom selects the recipe; ARGS=\"--learning_rate 1e-4\" is passed to the stage; PROCESSES=8 trains on 8 GPUs."

setup: ## Virtual environment in .venv, with vLLM for the GPU or the CPU that is here
	@PYTHON="$(PYTHON)" bash scripts/setup.sh

mine: setup ## Reports -> chains, questions, answers
	@$(REASONER) mine --recipe $(RECIPE) $(ARGS)

sft: setup ## Supervised warm-up
	@$(REASONER) mine $(EARLIER)
	@$(TRAIN) sft --recipe $(RECIPE) $(TOGETHER) $(ARGS)

grpo: setup ## Reinforcement learning
	@$(REASONER) mine $(EARLIER)
	@$(TRAIN) sft $(EARLIER) $(TOGETHER)
	@$(TRAIN) grpo --recipe $(RECIPE) $(TOGETHER) $(ARGS)

eval: setup ## Base, SFT and GRPO side by side on held-out images
	@$(REASONER) mine $(EARLIER)
	@$(TRAIN) sft $(EARLIER) $(TOGETHER)
	@$(TRAIN) grpo $(EARLIER) $(TOGETHER)
	@$(REASONER) eval --recipe $(RECIPE) $(ARGS)

export: setup ## A Hugging Face folder with its card
	@$(REASONER) mine $(EARLIER)
	@$(TRAIN) sft $(EARLIER) $(TOGETHER)
	@$(TRAIN) grpo $(EARLIER) $(TOGETHER)
	@$(REASONER) export --recipe $(RECIPE) $(ARGS)

watch: setup ## A page of a training that goes on, kept up to date until Ctrl-C
	@$(REASONER) watch outputs/$(RECIPE)

demo: setup ## All of it in order, then a summary
	@$(REASONER) mine $(EARLIER)
	@$(TRAIN) sft $(EARLIER) $(TOGETHER)
	@$(TRAIN) grpo $(EARLIER) $(TOGETHER)
	@$(REASONER) eval $(EARLIER)
	@$(REASONER) export $(EARLIER)
	@$(REASONER) summary --recipe $(RECIPE)

#: SFT on reports that leave nothing out: what imitation alone reaches when its teacher is complete.
COMPLETE = --recipe $(RECIPE) --set output=outputs/$(RECIPE)-complete \
	--set data.options.omit_rate=0 --set data.options.hedge_rate=0

complete: setup ## Control: SFT alone, on reports without omissions (phantom)
	@$(REASONER) mine $(COMPLETE)
	@$(REASONER) sft $(COMPLETE)
	@$(REASONER) eval $(COMPLETE)

ablation: setup ## Arms of GRPO x seeds x recipes at equal budgets, compared (about 6 hours a recipe)
	@$(BIN)/python scripts/ablation.py --recipes $(RECIPE) $(ARGS)

check: lint ## lint and the quick tests: no vLLM, no Ray, no training (about a minute)
	@$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile $(ARGS)

test: setup ## All tests, two at a time
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

test-anywhere: setup ## The sensitive tests as on other machines: CPUs, threads, locale, home, path, time zone
	@$(BIN)/python scripts/anywhere.py $(ARGS)

lint: setup ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: setup ## Rewrite the code as ruff wants it
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

hooks: setup ## Let git run ruff and mypy before each commit
	@$(BIN)/pre-commit install

bench: setup ## Speed measurements
	@$(REASONER) mine --recipe phantom --if-needed
	@for name in $(basename $(notdir $(filter-out %/kills.py,$(wildcard benchmarks/[a-z]*.py)))); do echo "== $$name"; $(BIN)/python -m benchmarks.$$name || exit 1; done

doctor: setup ## What this machine has and what to fix
	@$(REASONER) doctor

clean: ## Remove the outputs of RECIPE
	rm -rf outputs/$(RECIPE)

clean-venv: ## Remove the virtual environment
	rm -rf .venv
