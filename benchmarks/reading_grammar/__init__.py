"""A grammar of readings and answers whose meaning is known: does the reader read as a person reads?

    python -m benchmarks.reading_grammar [--held-back] [--kind KIND] [--group GROUP] [--show 20] [--json]

Constructions (`sentences.txt`, `layouts.py`, `answers.txt`, `mutations.py`, `pairs.py`) are composed with findings,
sides, severities and organs into some thousands of cases. They were written without looking at the reader; the truth
of a case is what a careful human reader would say, and what two radiologists would disagree on was left out.

Half of the constructions is held back from development (`split.py`): of these only totals are ever printed.
"""
