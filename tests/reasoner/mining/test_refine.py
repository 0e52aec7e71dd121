"""Rewriting by a language model: what is safe is taken, what is not is refused, whatever the server does."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reasoner.errors import UserError
from reasoner.findings import extract_report, labels_of
from reasoner.llm import Llm, ask, check, remembered
from reasoner.mining import refine
from reasoner.mining.chains import merge
from reasoner.mining.pipeline.run import mine
from reasoner.mining.questions import Read, build_examples
from reasoner.mining.refine import reworded, says_the_same
from reasoner.mining.verify import faults
from reasoner.schema import Chain, Example, Step, Study
from reasoner.sources import open_source

REPORT = "FINDINGS: Small left pleural effusion. The heart is enlarged. Possible nodule in the right upper lobe."
Serve = Callable[[Callable[[str, int], tuple[int, str]]], Any]


def example(report: str = REPORT, style: str = "systematic") -> Example:
    findings = extract_report(report)
    read = Read(Study("s", "s", report, images=("a",)), tuple(merge(findings)), labels_of(findings), style, 0)
    (row,) = build_examples(read, {"abnormality_list": 1.0})
    assert isinstance(row, Example)
    return row


def fluent(sentences: list[str]) -> str:
    """What a good model does: other words, the same meaning."""
    changed = [re.sub(r"^There is (an?) ", r"I can see \1 ", s).replace("is seen", "is visible") for s in sentences]
    return "\n".join(f"{n}. {s}" for n, s in enumerate(changed, 1))


def sentences_of(row: Example) -> list[str]:
    return [step.text for step in row.steps if step.findings]


def lines_of(prompt: str) -> list[str]:
    return [line.partition(". ")[2] for line in prompt.splitlines()]


def llm(url: str, **options: Any) -> Llm:
    return Llm(url, "model", **({"backoff_s": 0.01} | options))


def test_fluent_words_are_taken() -> None:
    row = example()
    outcome, steps = reworded(row, fluent(sentences_of(row)))
    assert outcome == "accepted" and steps is not None
    assert faults(Chain(steps), merge(extract_report(REPORT)), REPORT) == []
    assert [step.evidence for step in steps] == [step.evidence for step in row.steps]


@pytest.mark.parametrize(
    "text",
    [
        "There is a small right pleural effusion.",
        "There is a large left pleural effusion.",
        "There may be a small left pleural effusion.",
        "There is no left pleural effusion.",
        "There is a small left pleural effusion and a pneumothorax.",
        "There is a small left pleural effusion. No fracture.",
        "There is a small left pleural effusion with no pneumothorax.",
        "The report describes a small left pleural effusion.",
        "The small left pleural effusion is unchanged.",
        "A small left pleural effusion zq wx the fnord gloop blarg mumble grok plugh.",
        "left left effusion pleural small of of the",
        "There is a small left left pleural effusion.",
        "",
    ],
)
def test_other_meanings_and_babble_are_refused(text: str) -> None:
    findings = merge(extract_report(REPORT))
    effusion = next(f for f in findings if f.concept == "pleural_effusion")
    step = Step("There is a small left pleural effusion.", "pleura", (effusion,), effusion.evidence)
    row = Example("e", "s", "abnormality_list", "?", "!", steps=(step,), reasoning=step.text, report=REPORT)
    assert reworded(row, f"1. {text}") == ("rejected", None)
    assert reworded(row, "1. I see a small left pleural effusion.")[0] == "accepted"


def test_lines_must_be_those_that_were_sent() -> None:
    row = example()
    good = fluent(sentences_of(row)).splitlines()
    for reply in (
        "",
        "Sure! Here you are:",
        "\n".join(good[:-1]),
        "\n".join(good[::-1]),
        "\n".join([*good, "99. More."]),
    ):
        assert reworded(row, reply) == ("rejected", None), reply


def test_a_bad_sentence_keeps_its_rule_made_words() -> None:
    row = example()
    lines = fluent(sentences_of(row)).splitlines()
    sent = [number for number, step in enumerate(row.steps) if step.findings]
    lines[2] = "3. There is a massive right pneumothorax."
    outcome, steps = reworded(row, "\n".join(lines))
    assert outcome == "repaired" and steps is not None
    assert steps[sent[2]] == row.steps[sent[2]]
    assert not says_the_same(row.steps[sent[2]], "There is a massive right pneumothorax.")


def test_requests_run_side_by_side_within_the_bound_and_are_cached(tmp_path: Path, openai_server: Serve) -> None:
    def answer(prompt: str, number: int) -> tuple[int, str]:
        time.sleep(0.05)
        return 200, fluent(lines_of(prompt))

    rows = [
        replace(row, id=f"e{i}")
        for i in range(12)
        for row in [example(f"{REPORT} Left rib {i} fracture.", style="question")]
    ]
    rows = [example(REPORT.replace("Small", size)) for size in ("Small", "Large", "Moderate", "Tiny")] + rows
    web = openai_server(answer)
    first, counts = refine.refine(rows, llm(web.url, concurrency=3), tmp_path)
    asked = web.asked
    again, _ = refine.refine(rows, llm(web.url, concurrency=3), tmp_path)
    assert 1 < web.most <= 3
    assert counts.total() == len(rows) and counts["failed"] == 0
    assert asked == web.asked <= len(rows), "the second time all comes from the cache"
    assert first == again
    assert any(a.reasoning != b.reasoning for a, b in zip(first, rows, strict=True))


def test_busy_servers_are_asked_again(tmp_path: Path, openai_server: Serve) -> None:
    def answer(prompt: str, number: int) -> tuple[int, str]:
        return ((429, ""), (503, ""))[number % 2] if number <= 3 else (200, fluent(lines_of(prompt)))

    web = openai_server(answer)
    _, counts = refine.refine([example()], llm(web.url), tmp_path)
    assert (web.asked, counts) == (4, {"accepted": 1})


@pytest.mark.parametrize(("status", "tries"), [(400, 1), (500, 3)])
def test_refused_and_hopeless_requests_fall_back(tmp_path: Path, openai_server: Serve, status: int, tries: int) -> None:
    row, web = example(), openai_server(lambda prompt, number: (status, ""))
    rows, counts = refine.refine([row], llm(web.url, retries=2), tmp_path)
    assert rows == [row] and counts == {"failed": 1} and web.asked == tries


def test_a_server_that_is_gone_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, openai_server: Serve
) -> None:
    monkeypatch.setattr("reasoner.llm.GIVE_UP", 3)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        gone = Llm(f"http://127.0.0.1:{free.getsockname()[1]}", "model", backoff_s=0.01)
    with pytest.raises(UserError, match="stopped answering"):
        refine.refine([example()], gone, tmp_path)
    with pytest.raises(UserError, match="no OpenAI-compatible server answers"):
        check(gone)
    web = openai_server(lambda prompt, number: (200, ""))
    with pytest.raises(UserError, match="serves model, not 'other'"):
        check(replace(llm(web.url), model="other"))


def mine_with(folder: Path, chosen: Llm) -> dict[str, Any]:
    rows = [{"study_id": f"s{i}", "report": f"FINDINGS: {size} left pleural effusion."} for i, size in enumerate(SIZES)]
    (folder.parent / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    source = open_source("jsonl", str(folder.parent / "rows.jsonl"), folder, {"require_images": False})
    return mine(source, folder, tasks={"abnormality_list": 1.0}, style="concise", workers=0, llm=chosen)


SIZES = ("Small", "Large", "Moderate", "Tiny")


def test_mining_counts_what_became_of_the_chains(tmp_path: Path, openai_server: Serve) -> None:
    def answer(prompt: str, number: int) -> tuple[int, str]:
        return 200, fluent(lines_of(prompt)) if "small" in prompt else "fnord"

    summary = mine_with(tmp_path / "out", llm(openai_server(answer).url))
    assert summary["refined"] == {"accepted": 1, "rejected": 3} and summary["llm"] == "model"


@pytest.mark.slow
def test_the_babble_of_a_real_vllm_server_is_refused(tmp_path: Path) -> None:
    """`vllm serve` with the tiny model, whose weights are random: every chain must stay as it was."""
    pytest.importorskip("vllm")
    from reasoner.models import tiny

    model = tiny.build(
        tmp_path / "tiny", [refine.SYSTEM, REPORT, *sentences_of(example())] * 8, seed=1, max_position_embeddings=2048
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {
        "model": model,
        "served-model-name": "tiny",
        "host": "127.0.0.1",
        "port": port,
        "dtype": "float32",
        "max-model-len": 2048,
        "max-num-seqs": 8,
    }
    # What `vllm serve` runs; that command itself needs a package named vllm, which the CPU build is not.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--enforce-eager"]
    command += [word for name, value in options.items() for word in (f"--{name}", str(value))]
    cures = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "TORCHDYNAMO_DISABLE": "1"}
    environment = os.environ | cures | {"PYTHONPATH": str(Path(__file__).parents[3])}
    log = (tmp_path / "log").open("w+", encoding="utf-8")
    process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    chosen = Llm(f"http://127.0.0.1:{port}", "tiny", timeout_s=300)
    try:
        deadline = time.monotonic() + 600
        while True:
            try:
                check(chosen)
                break
            except UserError:
                log.seek(0)
                assert process.poll() is None and time.monotonic() < deadline, log.read()[-3000:]
                time.sleep(1)
        summary = mine_with(tmp_path / "out", chosen)
    finally:
        process.terminate()
        process.wait(60)
        log.close()
    assert summary["refined"] == {"rejected": len(SIZES)}, Counter(summary["refined"])


def test_a_damaged_cache_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "llm_cache.sqlite"
    for content in (b"no database at all" * 99, b"SQLite format 3\x00" + b"\xff" * 5000):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"llm_cache.sqlite: the cache of replies is damaged .*delete it"):
            remembered({"model": "m"}, path)
    with pytest.raises(UserError, match="cannot be used"):
        remembered({"model": "m"}, tmp_path)


@pytest.mark.parametrize("content", [5, ["a"], {"a": 1}])
def test_a_reply_that_is_no_text_is_none(tmp_path: Path, openai_server: Any, content: Any) -> None:
    web = openai_server(lambda prompt, number: (200, content))
    body = {"model": "model", "messages": [{"role": "user", "content": "a"}]}
    assert ask([body], Llm(web.url, "model", retries=1, backoff_s=0.01), tmp_path / "cache.sqlite") == [None]
