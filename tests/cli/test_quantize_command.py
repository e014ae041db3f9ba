"""`isobatch quantize` from a shell."""

import json
from pathlib import Path

import pytest
from shell import run, run_on_terminal

from isobatch.checkpoint import bundled_folder

BUNDLED = str(bundled_folder())


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("quantized") / "int8"
    ran = run("quantize", BUNDLED, str(out), "--json")
    assert (ran.returncode, ran.stderr) == (0, b"")
    report = json.loads(ran.stdout)
    assert report["out"] == str(out)
    assert report["out_bytes"] < 0.27 * report["float32_bytes"]
    assert [each["kind"] for each in report["rounding"]][:2] == ["word", "query"]
    return out


def test_the_folder_is_accepted_like_any_checkpoint(quantized: Path) -> None:
    texts = ["Today is a nice day!", "But what about tomorrow? Im not sure."]
    ran = [
        run("classify", "--model", model, "--precision", "int8", *texts)
        for model in (BUNDLED, str(quantized))
    ]
    assert ran[0].returncode == 0
    assert ran[1].stdout == ran[0].stdout
    for command in ("info", "lesson"):
        assert run(command, str(quantized)).returncode == 0


def test_a_terminal_gets_a_table_and_the_sizes(tmp_path: Path) -> None:
    shown = run_on_terminal("quantize", BUNDLED, str(tmp_path / "int8"))
    for words in ("query", "│", "24.1 MB", "26.5% of float32's 90.9 MB", str(tmp_path / "int8")):
        assert words in shown


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["quantize"], 2, "MODEL"),
        (["quantize", BUNDLED], 2, "OUT"),
        (["quantize", BUNDLED, BUNDLED], 2, "is the checkpoint itself"),
        (["quantize", BUNDLED, "{out}"], 2, "is not empty"),
        (["quantize", "{out}", "{out}/again"], 4, "is quantized already"),
        (["quantize", "./missing", "{out}/new"], 4, "./missing"),
        (["quantize", BUNDLED, "/proc/nowhere/int8"], 4, "cannot be written"),
    ],
)
def test_errors_have_their_exit_code(
    arguments: list[str], code: int, words: str, quantized: Path
) -> None:
    ran = run(*(argument.format(out=quantized) for argument in arguments))
    assert ran.returncode == code, ran.stderr.decode()
    assert words in ran.stderr.decode()
    assert b"Traceback" not in ran.stderr
