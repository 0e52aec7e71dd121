"""Rewards: a completion and its reference in, numbers with evidence out."""
