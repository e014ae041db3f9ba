"""Executes the fix that a message of Isobatch names: a command, or an edit of config.json.

The text is taken from the message as a reader would take it: a `python -c` command is split as a
shell splits it and its code is executed here, any other command is run by a shell, and
`write "key": value` or `delete "key"` changes the file that the message begins with.
`isobatch convert` is run in this process, and its output takes the place of the folder.
"""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

from isobatch.cli.commands import make_app

_COMMAND = re.compile(
    r"(?:[:(] )?\b((?:mv|rm|rmdir|chmod|iconv|git|accelerate merge|python) ?-?[^)]*)"
)
_DELETED = re.compile(r'[Dd]elete "(\w+)"')
_WRITTEN = re.compile(r'(?:[Ww]rite|line) (?=")')
_KEY = re.compile(r'(?:, )?"(\w+)": ')


def python_code(message: str) -> str | None:
    """Return the code of the first `python -c` command of `message`, unquoted as by a shell."""
    found = re.search(r"python -c ", message)
    if not found:
        return None
    lexer = shlex.shlex(message[found.start() :], posix=True, punctuation_chars=";")
    lexer.whitespace_split = True
    return [lexer.get_token() for _ in range(3)][2]


def run_python_fix(message: str) -> None:
    """Execute the first `python -c` command of `message` in this process."""
    code = python_code(message)
    assert code, f"no python command in: {message}"
    exec(code, {"__name__": "__main__"})


def run_shell_fix(message: str, folder: Path) -> None:
    """Run the shell command of `message` in `folder`."""
    found = _COMMAND.search(message)
    assert found, f"no command in: {message}"
    subprocess.run(found[1], shell=True, check=True, cwd=folder, timeout=60)


def convert_command(message: str) -> list[str]:
    """Return the arguments of the first `isobatch convert` of `message`, as a shell splits them."""
    found = re.search(r"isobatch convert ([^;]*)", message)
    assert found, f"no isobatch convert in: {message}"
    return shlex.split(found[1])


def run_convert_fix(message: str, folder: Path) -> None:
    """Run the `isobatch convert` of `message`, and put its output in the place of `folder`."""
    source, out, *options = convert_command(message)
    assert Path(source) == folder
    assert message.endswith(f"then load {shlex.quote(out)}")
    make_app(["convert"])(["convert", source, out, *options], standalone_mode=False)
    shutil.rmtree(folder)
    Path(out).rename(folder)


def config_edits(message: str) -> tuple[dict[str, object], list[str]]:
    """Return the keys that `message` says to write first, with their values, and to delete."""
    written: dict[str, object] = {}
    if found := _WRITTEN.search(message):
        at = found.end()
        while key := _KEY.match(message, at):
            value, at = json.JSONDecoder().raw_decode(message, key.end())
            written[key[1]] = value
    return written, _DELETED.findall(message)


def edit_config(message: str, path: Path) -> None:
    """Change the JSON file `path` as `message` says."""
    written, deleted = config_edits(message)
    assert written or deleted, f"no edit in: {message}"
    raw = json.loads(path.read_text(encoding="utf-8"))
    for key in deleted:
        raw.pop(key, None)
    path.write_text(json.dumps(raw | written), encoding="utf-8")
