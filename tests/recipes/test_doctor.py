from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recipes import doctor

ROOT = Path(__file__).parents[2]


def reasoner(broken: dict[str, str], folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """`reasoner COMMAND` where the modules of `broken` hold that code instead of their own."""
    for name, code in broken.items():
        (folder / f"{name}.py").write_text(code, encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    args = [sys.executable, "-m", "recipes.cli", *command]
    return subprocess.run(args, env=env, cwd=folder, capture_output=True, encoding="utf-8", timeout=300)


BROKEN = {
    "torch": "raise OSError('libtorch.so: cannot open shared object file')",
    "transformers": "raise RuntimeError('operator nms does not exist')",
    "pydantic": "import sys; sys.exit(0)",
    "yaml": "raise ImportError('no yaml here')",
    "rich": "1 / 0",
    "psutil": "raise SystemError",
}


def test_it_starts_whatever_is_broken_and_names_it(tmp_path):
    done = reasoner(BROKEN, tmp_path, "doctor", "--quick")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    lines = done.stdout.splitlines()
    for name in ("torch", "transformers", "pydantic", "pyyaml", "rich", "psutil"):
        [number] = [n for n, line in enumerate(lines) if line.split()[:2] == ["fix", name]]
        advice = "is mended" if name == "transformers" else f"--force-reinstall {name}=="
        if name == "torch" and "+" in lines[number]:
            advice = "make clean-venv setup"
        assert "does not load" in lines[number] and advice in lines[number + 1]
    assert "libtorch.so: cannot open shared object file" in done.stdout
    assert any(line.split()[:2] == ["ok", "numpy"] for line in lines)


@pytest.mark.parametrize(("code", "end"), [("import os; os._exit(7)", "exit code 7"), ("import os; os.abort()", "-6")])
def test_an_import_that_ends_the_process_is_named(code, end, tmp_path, monkeypatch):
    (tmp_path / "deadly.py").write_text(code, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    errors = doctor.look(["json", "deadly", "csv"]).errors
    assert errors.pop("deadly", "").endswith(f"{end})") and errors == {"json": None, "csv": None}


@pytest.mark.parametrize(
    "code",
    [
        "raise RuntimeError('broken')",
        "raise ImportError('x' * 3000)",
        "import os; os.abort()",
    ],
)
def test_the_culprit_is_named_and_what_needs_it_waits(code, tmp_path):
    done = reasoner({"numpy": code}, tmp_path, "doctor", "--quick")
    lines = done.stdout.splitlines()
    assert done.returncode == 1 and max(map(len, lines)) < 250
    fixes = {line.split()[1]: (line, lines[n + 1]) for n, line in enumerate(lines) if line.startswith("fix ")}
    assert "--force-reinstall numpy==" in fixes.pop("numpy")[1]
    assert "transformers" in fixes and "accelerate" in fixes
    for name, (_, advice) in fixes.items():
        assert "is mended" in advice or name == "GPU", (name, advice)
    assert {"ok", "rich"} <= {word for line in lines for word in line.split()}


def test_the_engine_is_imported_too(tmp_path):
    [name] = doctor.installed_engines()
    lines = reasoner({"vllm": "1 / 0"}, tmp_path, "doctor", "--quick").stdout.splitlines()
    [found] = [n for n, line in enumerate(lines) if line.startswith("fix ")]
    assert lines[found].split()[1] == name and "ZeroDivisionError" in lines[found]


def test_what_nobody_came_to_is_not_ok(monkeypatch):
    monkeypatch.setattr(doctor.sys, "executable", "/bin/false")
    libraries = doctor.look(["numpy"])
    assert next(doctor.packages({"numpy": ""}, libraries)).status == "?"


def test_packages_come_after_what_they_need():
    modules = doctor.order(["trl", "transformers", "numpy", "pyyaml", "torch"])
    assert modules.index("numpy") < modules.index("transformers") < modules.index("trl") and "yaml" in modules[:2]


@pytest.mark.parametrize("module", ["pydantic", "yaml", "rich", "psutil"])
def test_a_broken_package_is_one_line_for_every_other_command(module, tmp_path):
    done = reasoner({module: BROKEN[module]}, tmp_path, "mine", "--dry-run")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: a library does not load (") and done.stderr.count("\n") == 1
    assert done.stderr.endswith("; `reasoner doctor` says what to fix\n")


def test_only_the_standard_library_is_imported_before_the_command_is_known():
    code = "import sys, recipes.cli as cli, recipes.doctor; cli.build_parser(); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True
    ).stdout.split()
    ours = {"reasoner", "recipes", "__main__"}
    site = {"_distutils_hack", "_virtualenv"}  # what an installation hooks into Python's start
    found = {name.partition(".")[0] for name in loaded if not name.startswith("__editable__")}
    assert found - ours - site <= sys.stdlib_module_names


@pytest.mark.parametrize(
    ("version", "versions", "serves"),
    [
        ("2.13.0+cpu", "==2.13.0", True),
        ("2.13.1", "==2.13.0", False),
        ("5.17.3", "<5.18,>=5.17", True),
        ("5.18.0", "<5.18,>=5.17", False),
        ("1.9", "<2", True),
        ("2.0.0rc1", "<2", False),
        ("2", ">=2", True),
        ("10.0", ">=9.1", True),
        ("1.0", "", True),
    ],
)
def test_versions(version, versions, serves):
    assert doctor._serves(version, versions) is serves


@pytest.mark.parametrize("module", ["torch", "numpy", "transformers"])
@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_a_library_that_training_needs_and_does_not_load_is_one_line(stage, module, tmp_path):
    done = reasoner({module: "raise RuntimeError('broken\\nsecond line')"}, tmp_path, stage, "--dry-run")
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ") and done.stderr.endswith("; `reasoner doctor` says what to fix\n")


def test_a_server_that_does_not_answer_is_named_with_the_fix():
    [check] = doctor.asked(["http://127.0.0.1:9"], "phantom")
    assert check.status == "fix" and "http://127.0.0.1:9" in check.found and "start it" in check.fix


def test_a_recipe_that_is_none_is_refused(capsys):
    from recipes.cli import main

    assert main(["doctor", "--recipe", "nope", "--quick"]) == 2
    assert "'nope' is no recipe; known: chestx_reasoner_7b" in capsys.readouterr().err
