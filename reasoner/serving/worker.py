"""What a `vllm serve` loads of ours in each of its processes, named to it by two flags (`command.py`):

- `--worker-extension-cls reasoner.serving.worker.Extension`, imported before a model is built: it registers the
  weight-transfer engine `files` with vLLM's factory and, on a CPU, keeps the weights plain (`reasoner/compat/vllm.py`);
- `--logits-processors reasoner.serving.worker:BanVisionTokens`, the ban that an engine of this process has, too.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from vllm.distributed.weight_transfer import WeightTransferEngine, WeightTransferEngineFactory
from vllm.distributed.weight_transfer.base import WeightTransferInitInfo, WeightTransferUpdateInfo

from reasoner.compat.vllm import keep_weights_plain, vision_ban
from reasoner.serving import BAN, FILES

BanVisionTokens = vision_ban()


class Extension:
    """A worker that says what it serves; that this module is imported counts as much."""

    vllm_config: Any

    def served(self) -> dict[str, Any]:
        """What `check.py` compares with what a trainer needs."""
        model = self.vllm_config.model_config
        transfer = self.vllm_config.weight_transfer_config
        processors = [str(one) for one in model.logits_processors or ()]
        return {
            "config": json.loads(json.dumps(model.hf_config.to_dict(), default=str)),
            "dtype": str(model.dtype).removeprefix("torch."),
            "max_model_len": model.max_model_len,
            "images": model.multimodal_config.get_limit_per_prompt("image"),
            "logprobs": str(model.logprobs_mode),
            "transfer": None if transfer is None else transfer.backend,
            "ban": BAN in processors,
        }


@dataclass
class Init(WeightTransferInitInfo):
    """Nothing needs to be agreed upon beforehand."""


@dataclass
class Update(WeightTransferUpdateInfo):
    """A safetensors file with some of the model's weights under their names in the checkpoint."""

    path: str


class FilesEngine(WeightTransferEngine[Init, Update]):
    """Weights from safetensors files that trainer and server both see, in shared memory say.

    Every worker reads the file and keeps its part. The weights go straight into the model's own, as TRL's colocated
    engine takes them, so they must be plain: no quantisation.
    """

    init_info_cls = Init
    update_info_cls = Update

    def init_transfer_engine(self, init_info: Init) -> None:
        pass

    def start_weight_update(self) -> None:
        pass

    def finish_weight_update(self) -> None:
        pass

    def update_weights(self, update_info: dict[str, Any]) -> None:
        # vLLM's own waits for an accelerator, which a CPU has not.
        self.receive_weights(self.parse_update_info(update_info))
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()

    def receive_weights(self, update_info: Update) -> None:
        from safetensors import safe_open

        if not Path(update_info.path).is_file():
            raise FileNotFoundError(f"{update_info.path}: trainer and server share no such folder")
        with safe_open(update_info.path, framework="pt") as file:
            names = file.keys()  # not a dictionary
            self.model.load_weights((name, file.get_tensor(name)) for name in names)

    def shutdown(self) -> None:
        pass


WeightTransferEngineFactory.register_engine(FILES, FilesEngine)
if not torch.accelerator.is_available():
    keep_weights_plain()
