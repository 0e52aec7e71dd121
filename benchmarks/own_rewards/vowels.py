"""A reward of what any text has more or less of, so that each step of GRPO moves the weights, whatever the policy says.

A penalty, of the letters that are no vowels: a malformed completion earns nothing (`gate`), and a policy that writes no
answer yet would not move at all.
"""

from rewards.registry import Score, reward


@reward("vowels")
def vowels(completion: str) -> Score:
    share = sum(letter in "aeiou" for letter in completion) / max(1, len(completion))
    return Score(share - 1, parts={"length": len(completion)})
