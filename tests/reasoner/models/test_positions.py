from __future__ import annotations

import json
import subprocess
import sys

import pytest

from reasoner.errors import UserError
from reasoner.models.positions import check_positions, max_positions


@pytest.fixture
def checkpoint(tmp_path):
    def write(config):
        (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
        return tmp_path

    return write


def test_rows_that_do_not_fit_are_refused_with_the_keys_to_lower(checkpoint):
    folder = checkpoint({"text_config": {"max_position_embeddings": 1024}, "max_position_embeddings": 7})
    check_positions(folder, {"model.max_length": 1000, "grpo.trainer.max_completion_length": 24})
    with pytest.raises(UserError) as raised:
        check_positions(folder, {"model.max_length": 1000, "grpo.trainer.max_completion_length": 25})
    assert "model.max_length (1000) + grpo.trainer.max_completion_length (25) = 1025 tokens" in str(raised.value)
    assert "lower model.max_length or grpo.trainer.max_completion_length" in str(raised.value)


def test_what_is_not_known_passes_and_what_is_damaged_does_not(checkpoint, tmp_path):
    assert max_positions("nobody/nothing-that-is-cached") is None
    assert max_positions("no such: name") is None
    assert max_positions(tmp_path) is None
    assert max_positions(checkpoint({"max_position_embeddings": 512})) == 512
    for config in ([], {"max_position_embeddings": "512"}, {"text_config": {"max_position_embeddings": 0}}):
        with pytest.raises(UserError, match=r"config\.json"):
            max_positions(checkpoint(config))


def test_no_torch_is_needed(checkpoint):
    folder = checkpoint({"max_position_embeddings": 512})
    code = "import sys; from reasoner.models.positions import max_positions as m; "
    code += f"print(m({str(folder)!r}), *sys.modules)"
    seen = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True
    ).stdout.split()
    assert seen[0] == "512" and not {"torch", "transformers", "vllm"} & set(seen)
