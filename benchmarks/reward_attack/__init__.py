"""Searches for what the rewards pay without being earned: `python -m benchmarks.reward_attack --data FOLDER`."""
