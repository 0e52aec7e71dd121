"""Conversations with the policy's own earlier answers."""

from __future__ import annotations

from recipes.own_turns import with_own_turns


def turn(role, text):
    return {"role": role, "content": [{"type": "text", "text": text}]}


def chat(questions, answers):
    messages = [turn("user", questions[0])]
    for answer, question in zip(answers, questions[1:], strict=True):
        messages += [turn("assistant", answer), turn("user", question)]
    return messages


def words(prompt):
    return [message["content"][0]["text"] for message in prompt]


def run(prompts, fits=lambda prompt: True, rounds=2):
    asked = []

    def say(batch):
        asked.append([words(prompt) for prompt in batch])
        return [f"own {len(asked)} after {words(prompt)[-1]}" for prompt in batch]

    own, kept = with_own_turns(prompts, rounds, say, fits, lambda text: turn("assistant", text))
    return [words(prompt) for prompt in own], kept, asked


def test_each_turn_is_asked_after_the_policys_own_answers():
    prompts = [chat(["a", "b", "c"], ["ref a", "ref b"]), chat(["x", "y"], ["ref x"]), chat(["alone"], [])]
    own, kept, asked = run(prompts)
    assert own == [
        ["a", "own 1 after a", "b", "own 2 after b", "c"],
        ["x", "own 1 after x", "y"],
        ["alone"],
    ]
    assert kept == 0 and words(prompts[0]) == ["a", "ref a", "b", "ref b", "c"], "the data set's stay as they are"
    assert [len(batch) for batch in asked] == [3, 3], "every process asks as many"
    assert asked[1][0] == ["a", "own 1 after a", "b"]


def test_a_conversation_that_grows_too_long_goes_on_from_the_reference():
    prompts = [chat(["a", "b", "c"], ["ref a", "ref b"]), chat(["x", "y", "z"], ["ref x", "ref y"])]
    own, kept, _ = run(prompts, fits=lambda prompt: "own 1 after a" not in words(prompt))
    assert own[0] == ["a", "ref a", "b", "own 2 after b", "c"]
    assert own[1] == ["x", "own 1 after x", "y", "own 2 after y", "z"] and kept == 1
    own, kept, _ = run(prompts, fits=lambda prompt: len(prompt) < 5)
    assert own == [words(prompt) for prompt in prompts] and kept == 2, "found too long at the end"
