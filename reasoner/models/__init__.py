"""Loads a Qwen-VL, builds the tiny one, and samples from either with vLLM."""

#: The `model.base` that is built on the spot (`reasoner.models.tiny`) instead of loaded.
TINY = "tiny"
