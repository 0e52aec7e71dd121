"""The two ways to ask a model: vLLM in this process, or any OpenAI-compatible chat server.

Both are given the same messages, made by the profile, with pictures drawn as it says, and sample from the same
distribution: a vLLM server is told to leave out what the checkpoint's `generation_config.json` would add, and not to
sample vision tokens.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from eval.benchmarks.answers import Answer
from eval.predictions import Decoding, checkpoint_fingerprint
from reasoner.errors import UserError, one_line
from reasoner.llm import GIVE_UP, Llm, replies, served_models
from reasoner.pictures import PictureError, read_rgb
from reasoner.profiles import Profile

if TYPE_CHECKING:
    from reasoner.models.engine import Prompt

#: Most tokens of prompt and completion, where the model has more positions.
_LONGEST = 16_384
#: Seconds for one reply: a long completion of a large model on a busy server.
_PATIENCE_S = 900.0
_PLAIN_SAMPLING = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}


class Model(Protocol):
    """What answers prompts."""

    #: Items that are asked at a time; their pictures are in memory meanwhile.
    block: int
    #: What tells one state of the model from another.
    fingerprint: list[Any]

    def answer(self, prompts: Sequence[Prompt], number: int) -> list[Answer]:
        """Samples of each prompt, a failure where there are none; `number` is that of the block.

        Raises:
            UserError: a server answers nothing at all.
        """
        ...

    def finished(self) -> None:
        """Called once all answers are in their files."""
        ...

    def close(self) -> None: ...


def open_model(place: str, profile: Profile, decoding: Decoding, folder: Path) -> Model:
    """The model at a URL (`http://HOST:PORT[#NAME]`), else a checkpoint folder or Hub id.

    Raises:
        UserError: no server answers there, it serves several models and none is named, or it holds too few tokens.
    """
    if place.startswith(("http://", "https://")):
        return Server(place, profile, decoding, folder / "replies.sqlite")
    return Offline(place, profile, decoding)


class Offline:
    """vLLM in this process; the engine is built at the first question."""

    block = 512

    def __init__(self, checkpoint: str, profile: Profile, decoding: Decoding) -> None:
        self.checkpoint, self.profile, self.decoding = checkpoint, profile, decoding
        if Path(checkpoint).exists() and not (Path(checkpoint) / "config.json").is_file():
            raise UserError(f"{checkpoint}: no checkpoint (config.json is missing)")
        self.fingerprint = [*checkpoint_fingerprint(checkpoint), *_revision(checkpoint)]
        self.max_images = 1
        self._sampler: Any = None

    def answer(self, prompts: Sequence[Prompt], number: int) -> list[Answer]:
        import torch

        sampler = self._ready()
        # From here, so that a block's samples do not depend on which others were sampled before it by this process.
        torch.manual_seed(self.decoding.seed * 1_000_003 + number)
        try:
            return [_answer(choices) for choices in sampler.complete(prompts, self.decoding)]
        except (PictureError, ValueError) as error:
            if len(prompts) == 1:  # too long for the model, or a picture that cannot be read
                return [Answer((), failure=one_line(f"{type(error).__name__}: {error}"))]
            half = len(prompts) // 2
            return self.answer(prompts[:half], number) + self.answer(prompts[half:], number)

    def _ready(self) -> Any:
        from eval.generate import Sampler
        from reasoner.models.load import load_processor, resolve_dtype

        if self._sampler is None:
            load_processor(self.checkpoint)
            self._sampler = Sampler(
                self.checkpoint,
                longest=_LONGEST,
                max_images=self.max_images,
                dtype=resolve_dtype("auto"),
                seed=self.decoding.seed,
                min_pixels=self.profile.min_pixels,
                max_pixels=self.profile.max_pixels,
                profile=self.profile,
            )
        return self._sampler

    def finished(self) -> None:
        """Nothing was kept."""

    def close(self) -> None:
        if self._sampler is not None:
            self._sampler.close()


class Server:
    """A chat server, which is sent pictures as data URLs. Replies are kept until the label's files are whole."""

    block = 64

    def __init__(self, place: str, profile: Profile, decoding: Decoding, cache: Path) -> None:
        url, _, name = place.partition("#")
        self.profile, self.decoding, self.cache = profile, decoding, cache
        served = served_models(Llm(url, name), "--model")
        names = [entry["id"] for entry in served]
        if name and name not in names:
            raise UserError(f"{url} serves {', '.join(names) or 'no model'}, not '{name}'; mend --model")
        if not name and len(names) != 1:
            raise UserError(f"{url} serves {', '.join(names) or 'no model'}; name one: --model LABEL={url}#NAME")
        entry = served[names.index(name)] if name else served[0]
        holds = entry.get("max_model_len")  # of a vLLM server
        if isinstance(holds, int) and decoding.max_tokens >= holds:
            raise UserError(
                f"{url} holds {holds} tokens of prompt and completion, so none of {decoding.max_tokens} can be asked "
                "for: lower --max-new-tokens, or start it with a larger --max-model-len"
            )
        self.llm = Llm(url, entry["id"], timeout_s=_PATIENCE_S)
        # Not the address: the same server elsewhere gives the same answers.
        self.fingerprint = [
            entry["id"],
            *(entry[key] for key in ("root", "created") if key == "root" and entry.get(key)),
        ]
        self._more = self._own_options() if entry.get("owned_by") == "vllm" else {}

    def answer(self, prompts: Sequence[Prompt], number: int) -> list[Answer]:
        bodies: list[dict[str, Any]] = []
        failed: dict[int, Answer] = {}
        for index, prompt in enumerate(prompts):
            try:
                bodies.append(self._body(prompt))
            except PictureError as error:
                failed[index] = Answer((), failure=one_line(error))
        self.cache.parent.mkdir(parents=True, exist_ok=True)
        received = [_received(reply) for reply in replies(bodies, self.llm, self.cache, _kept)]
        if len(received) >= GIVE_UP and all(one.failure for one in received):
            raise UserError(
                f"{self.llm.url} answered none of {len(received)} questions, the last one with {received[-1].failure}; "
                "mend that and repeat the command: it goes on from here"
            )
        given = iter(received)
        return [failed.get(index) or next(given) for index in range(len(prompts))]

    def finished(self) -> None:
        self.cache.unlink(missing_ok=True)

    def close(self) -> None:
        """Nothing is open."""

    def _body(self, prompt: Prompt) -> dict[str, Any]:
        pictures = iter([_data_url(path, self.profile) for path in prompt.images])
        messages = [
            {**message, "content": [_filled(part, pictures) for part in message["content"]]}
            for message in prompt.messages(self.profile)
        ]
        return {
            "model": self.llm.model,
            "messages": messages,
            "temperature": self.decoding.temperature,
            "max_tokens": self.decoding.max_tokens,
            "n": self.decoding.samples,
            "top_p": 1.0,
            **self._more,
        }

    def _own_options(self) -> dict[str, Any]:
        """What only a vLLM server takes."""
        import httpx

        from reasoner.models.load import VISION_TOKENS

        more: dict[str, Any] = dict(_PLAIN_SAMPLING)
        budget = {"min_pixels": self.profile.min_pixels, "max_pixels": self.profile.max_pixels}
        if any(budget.values()):
            more["mm_processor_kwargs"] = {name: pixels for name, pixels in budget.items() if pixels is not None}
        banned = {}
        address = self.llm.base.removesuffix("/v1") + "/tokenize"
        for token in VISION_TOKENS:
            body = {"model": self.llm.model, "prompt": token, "add_special_tokens": False}
            try:
                tokens = httpx.post(address, json=body, timeout=60).json()["tokens"]
            except (httpx.HTTPError, ValueError, KeyError, TypeError):
                break  # a server that does not tell: nothing can be forbidden
            if len(tokens) == 1:  # else this tokenizer does not know it
                banned[str(tokens[0])] = -100.0
        return more | ({"logit_bias": banned} if banned else {})


def _answer(choices: Sequence[Any]) -> Answer:
    tokens = tuple(choice.tokens for choice in choices)
    return Answer(tuple(choice.text for choice in choices), tokens, sum(tokens))


def _filled(part: dict[str, Any], pictures: Iterator[str]) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": next(pictures)}} if part["type"] == "image" else part


def _data_url(path: str | Path, profile: Profile) -> str:
    file = io.BytesIO()
    profile.shown(read_rgb(path)).save(file, "PNG", compress_level=1)  # as it is: no second loss
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _kept(reply: Any) -> str:
    """All choices and the number of tokens, as JSON."""
    texts = [_words(choice["message"]) for choice in reply["choices"]]
    if not texts:
        raise ValueError("a reply without choices")
    cost = (reply.get("usage") or {}).get("completion_tokens")
    return json.dumps({"texts": texts, "cost": cost if isinstance(cost, int) else None})


def _words(message: dict[str, Any]) -> str:
    """What the model wrote; a server that keeps reasoning apart has taken it out of its think block."""
    content = message.get("content") or ""
    thought = message.get("reasoning_content") or message.get("reasoning") or ""
    if not isinstance(content, str) or not isinstance(thought, str):
        raise TypeError("a reply must be text")
    return f"<think>{thought}</think>{content}" if thought else content


def _received(reply: Any) -> Answer:
    if reply.text is None:
        return Answer((), failure=reply.why)
    kept = json.loads(reply.text)
    texts, cost = tuple(kept["texts"]), kept["cost"]
    return Answer(texts, (cost,) if len(texts) == 1 else (None,) * len(texts), cost)


def _revision(checkpoint: str) -> list[str]:
    """The commit of a Hub id that is in the cache of this machine."""
    if Path(checkpoint).is_dir():
        return []
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(checkpoint, "config.json")
    return [Path(found).parent.name] if isinstance(found, str) else []
