"""What a vLLM server lacks for GRPO, in words; `reasoner doctor` and the stage say the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reasoner.serving import BAN, EXTENSION, LOGPROBS
from reasoner.serving.client import Client, Lost
from reasoner.serving.process import Served

#: Numbers that training changes, and a server is told with each request.
BESIDES = {"bos_token_id", "eos_token_id", "pad_token_id"}
ANEW = "start it anew as `reasoner serve --print` shows"


def lacks(client: Client, wanted: Served | None) -> list[str]:
    """What is wrong with the server, each with its fix; empty if nothing is.

    `wanted`: what the trainer needs; None asks only for what any trainer does.
    """
    if not client.well():
        return ["does not answer: start it, or mend the address"]
    try:
        client.call("GET", "/version")["version"]
    except (Lost, RuntimeError, TypeError, KeyError):
        return ["is no vLLM server: mend the address"]
    try:
        client.version()
    except (RuntimeError, TypeError, KeyError):
        return ["takes no weights: set VLLM_SERVER_DEV_MODE=1 in its environment and start it anew"]
    except Lost as error:
        return [f"is broken: {error}"]
    return [*_interface(client), *_served(client, wanted)]


def _interface(client: Client) -> Iterator[str]:
    try:
        client.call("GET", "/inference/v1/generate")
    except (Lost, RuntimeError) as error:
        if " 404 " in str(error):
            yield "takes no images with token ids: start it anew with --enable-scale-out"


def _served(client: Client, wanted: Served | None) -> Iterator[str]:
    try:
        [served, *_] = client.call("POST", "/collective_rpc", timeout_s=60.0, method="served")["results"]
    except (Lost, RuntimeError, KeyError, ValueError):
        yield f"loads nothing of ours, so it takes no weights in files: {ANEW} (--worker-extension-cls {EXTENSION})"
        return
    if served["transfer"] is None:
        yield f"has no transfer backend: {ANEW} (--weight-transfer-config)"
    if not served["ban"]:
        yield f"does not ban vision tokens: {ANEW} (--logits-processors {BAN})"
    if served["logprobs"] != LOGPROBS:
        yield f"gives log-probabilities of another distribution: {ANEW} (--logprobs-mode {LOGPROBS})"
    if wanted is not None:
        yield from _compared(served, wanted)


def _compared(served: Mapping[str, Any], wanted: Served) -> Iterator[str]:
    if other := _differences(served["config"], _config(wanted)):
        yield f"serves another model ({'; '.join(other[:3])}): serve {wanted.checkpoint}"
    if served["transfer"] not in (None, wanted.transfer):
        yield f"takes weights by {served['transfer']}, the trainer gives them by {wanted.transfer}: see grpo.server"
    if wanted.dtype not in ("auto", served["dtype"]):
        yield f"computes in {served['dtype']}, the trainer in {wanted.dtype}: {ANEW} (--dtype)"
    if wanted.max_model_len is not None and served["max_model_len"] < wanted.max_model_len:
        yield f"holds {served['max_model_len']} tokens, {wanted.max_model_len} are needed: {ANEW} (--max-model-len)"
    if served["images"] < wanted.max_images:
        yield f"takes {served['images']} images a prompt, not {wanted.max_images}: {ANEW} (--limit-mm-per-prompt)"


def _config(wanted: Served) -> dict[str, Any]:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(wanted.checkpoint).to_dict()


def _differences(theirs: Mapping[str, Any], ours: Mapping[str, Any], inside: str = "") -> list[str]:
    """The sizes in which two models' configurations differ: whole numbers that both state."""
    found = []
    for name in sorted((theirs.keys() & ours.keys()) - BESIDES):
        one, other = theirs[name], ours[name]
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            found += _differences(one, other, f"{inside}{name}.")
        elif type(one) is type(other) is int and one != other:
            found.append(f"{inside}{name} {one}, not {other}")
    return found
