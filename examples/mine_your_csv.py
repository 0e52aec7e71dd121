"""Mine reports from a CSV of your own: columns of your choosing in; chains, questions and answers out.

    python examples/mine_your_csv.py
    python examples/mine_your_csv.py --csv my.csv --study ID --patient MRN --findings TEXT --impression SUMMARY

Takes about 2 seconds and needs neither images nor Ray. The CSV that comes with it, `examples/reports.csv`, is invented;
four of its rows cannot be used, to show where such rows go.

The CSV becomes JSON lines, which the source `jsonl` reads. On the command line the second half is
`reasoner mine --source jsonl --input outputs/examples/csv/reports.jsonl --output outputs/examples/csv/data`.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import pyarrow.parquet as pq

from reasoner.mining.pipeline.run import mine
from reasoner.schema import Example
from reasoner.sources import open_source


def to_json_lines(table: Path, lines: Path, columns: argparse.Namespace) -> None:
    """One JSON object per row of the CSV, under the names that the source `jsonl` knows.

    Keep rows that look wrong: the miner puts them into quarantine with the reason, so that nothing is lost silently.
    """
    with table.open(newline="", encoding="utf-8-sig") as source, lines.open("w", encoding="utf-8") as sink:
        rows = csv.DictReader(source)
        wanted = [columns.study, columns.patient, columns.findings, columns.impression, columns.image]
        for name in filter(None, wanted):
            if name not in (rows.fieldnames or ()):
                raise SystemExit(f"{table}: no column '{name}'; it has {', '.join(rows.fieldnames or ())}")
        for row in rows:
            study = {
                "study_id": row[columns.study],
                "patient_id": row[columns.patient],  # all studies of a patient go to the same split
                "report": f"FINDINGS: {row[columns.findings]}\nIMPRESSION: {row[columns.impression]}",
            }
            if columns.image:
                study["images"] = [str((table.parent / row[columns.image]).resolve())]
            sink.write(json.dumps(study, ensure_ascii=False) + "\n")


def show(example: Example) -> None:
    """One mined row: each step of the chain with the words of the report behind it."""
    print(f"\n{example.study_id} ({example.split}): {example.question}")
    for step in example.steps:
        words = example.report[step.evidence.start : step.evidence.end] if step.evidence else "(the report is silent)"
        print(f"  {step.text:55s} <- {' '.join(words.split())}")
    print(f"  answer: {example.answer}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, default=Path(__file__).with_name("reports.csv"))
    parser.add_argument("--output", type=Path, default=Path("outputs/examples/csv"))
    parser.add_argument("--study", default="Accession", help="column with the identifier of the study")
    parser.add_argument("--patient", default="Patient", help="column with the identifier of the patient")
    parser.add_argument("--findings", default="Description", help="column with the findings section")
    parser.add_argument("--impression", default="Conclusion", help="column with the impression section")
    parser.add_argument("--image", help="column with the path of the picture, relative to the CSV (default: none)")
    args = parser.parse_args()

    lines, data = args.output / "reports.jsonl", args.output / "data"
    args.output.mkdir(parents=True, exist_ok=True)
    to_json_lines(args.csv, lines, args)
    source = open_source("jsonl", str(lines), data)
    summary = mine(source, data, tasks={"abnormality_list": 1.0, "binary": 0.5}, workers=0)

    print(f"read {summary['studies']['read']} studies, mined {summary['studies']['mined']}")
    print("examples per task and split:", summary["examples"])
    print("quarantined:", summary["quarantined"])
    for line in (data / "quarantine.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        print(f"  {Path(row['where']).name}: {row['reason']}; {' '.join(row['detail'].split())}")

    for file in sorted((data / "examples").glob("*.parquet")):
        for row in pq.read_table(file).to_pylist():
            if row["task"] == "abnormality_list":
                show(Example.from_dict(row))


if __name__ == "__main__":
    main()
