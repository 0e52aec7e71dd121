"""Judges of the process that stand in for the rules."""
