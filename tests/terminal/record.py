#!/usr/bin/env python3
"""Records sessions of the tool on a terminal: tests/terminal/record.py TOOL MODEL

Each session is typed into a terminal of 100 columns by tmux, and what stands there in the end becomes a file of its
name beside this one. They show what the machine printed on which it ran; `commands.txt` has those that need no terminal
and are the same on every machine, and tests/tool_line.rs runs them again. It needs tmux, bash and man.
"""

import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
NAME = f"record-{os.getpid()}"

#: Names of keys, as tmux has them; all else is text.
KEYS = ("Enter", "Up", "Down", "Left", "Home", "End", "BSpace", "Tab", "C-c", "C-d", "C-a", "C-w")

#: A rig that is the same everywhere: two dies, and a CPU of known speed.
RIG = '[{"profile": "k80", "count": 2}, {"kind": "cpu", "name": "a CPU", "total_bytes": 34359738368, ' \
      '"read_bandwidth": 4e10, "host_bandwidth": 4e10, "flops": 4e11}]'


def tmux(*args: str) -> str:
    return subprocess.run(["tmux", *args], check=True, stdout=subprocess.PIPE, universal_newlines=True).stdout


class Session:
    """A terminal with bash, in which `rekindle` is the tool."""

    def __init__(self, folder: Path, colours: bool = False) -> None:
        self.colours = colours
        env = [f"PATH={folder}:{os.environ['PATH']}", "PS1=$ ", f"HOME={folder}", "LC_ALL=C.UTF-8"]
        env.append("TERM=screen-256color")
        command = "env " + " ".join(map(shlex.quote, env)) + " bash --norc --noprofile -i"
        tmux("new-session", "-d", "-s", NAME, "-x", "100", "-y", "60", "-c", str(folder), command)
        time.sleep(0.6)

    def keys(self, *keys: str, wait: float = 0.4) -> None:
        for key in keys:
            tmux("send-keys", "-t", NAME, *([] if key in KEYS else ["-l", "--"]), key)
        time.sleep(wait)

    def line(self, text: str, wait: float = 1.0) -> None:
        self.keys(text, "Enter", wait=wait)

    def paste(self, text: str) -> None:
        tmux("set-buffer", "-b", NAME, text)
        tmux("paste-buffer", "-p", "-d", "-b", NAME, "-t", NAME)
        time.sleep(0.4)

    def screen(self) -> str:
        text = tmux("capture-pane", "-p", *(["-e"] if self.colours else []), "-S", "-200", "-t", NAME)
        return "\n".join(line.rstrip() for line in text.rstrip().split("\n")) + "\n"

    def until(self, mark: str, seconds: float = 10) -> str:
        end = time.time() + seconds
        while time.time() < end:
            if mark in self.screen():
                return self.screen()
            time.sleep(0.02)
        raise SystemExit(f"{mark!r} never came:\n{self.screen()}")

    def close(self) -> None:
        tmux("kill-session", "-t", NAME)


def chat(s: Session) -> str:
    s.line("rekindle chat bible.gguf --template plain.jinja -n 12 --threads 1", wait=2)
    s.line("/help")
    s.keys("And the king saif", "BSpace", "d", "Enter", wait=1.5)
    s.keys("Up", "C-a", "Now ", "End", " unto", "Enter", wait=1.5)
    s.paste("And God said,\nLet there be light:\nand there was")
    s.keys("Enter", wait=1.5)
    for line in ("/save talk.jsonl", "/reset", "/load talk.jsonl", "/system Be brief.", "/plan", "/nonsense"):
        s.line(line)
    s.keys("C-c", "C-d", wait=1)
    s.line("cat talk.jsonl")
    s.line("rekindle chat bible.gguf --template plain.jinja -n 12 --threads 1", wait=1.5)
    s.keys("Up", "Up", wait=0.5)
    s.keys("C-c", "C-d", wait=1)
    return s.screen()


def progress(s: Session) -> str:
    s.line("rekindle run bible.gguf -f long.txt -n 8 --ctx 8192 --batch 16 --threads 1 >out.txt", wait=0)
    during = s.until("reading the prompt")
    s.until("ended by", 60)
    return during + "--- and when it has been read:\n" + s.screen()


def lines(*commands: str, wait: float = 1.5):
    def play(s: Session) -> str:
        for command in commands:
            s.line(command, wait=wait)
        return s.screen()
    return play


def completions(s: Session) -> str:
    s.line("source <(rekindle help bash)")
    s.keys("rekindle perp", "Tab", "--str", "Tab", wait=0.6)
    s.keys("C-c")
    s.keys("rekindle plan --dr", "Tab", "Tab", wait=0.6)
    s.keys("C-c")
    return s.screen()


def manual(s: Session) -> str:
    s.line("rekindle help man > rekindle.1; MANWIDTH=90 man -P cat ./rekindle.1 | head -40", wait=3)
    return s.screen()


SESSIONS = {
    "devices": (lines("rekindle devices", "rekindle devices --devices k80:2"), False),
    "help": (lines("rekindle rum bible.gguf", "rekindle", "rekindle run bible.gguf --ctxx 3",
                   "rekindle tokenize --help",
                   "rekindle --version"), False),
    "anywhere": (lines("rekindle --ctx=64 plan --devices cpu bible.gguf | head -3",
                       "rekindle tokenize bible.gguf --json -p 'And God'", "rekindle chat --json bible.gguf"), False),
    "run": (lines("echo 'And God said' | rekindle run bible.gguf -n 12 --threads 1",
                  "rekindle run bible.gguf -q -p 'And God said' -n 12",
                  "rekindle run bible.gguf -p 'And God said' -n 12 --temp 1 --json 2>/dev/null"), False),
    "progress": (progress, False),
    "chat": (chat, False),
    "plan": (lines("rekindle plan deepseek-r1-14b.gguf --devices k80:1 --ctx 32768", wait=4), False),
    "colours": (lines("rekindle plan deepseek-r1-14b.gguf --devices k80:2", wait=4), True),
    "completions": (completions, False),
    "manual": (manual, False),
}

#: Run again by the test: their output is the same on every machine.
COMMANDS = [
    "rekindle rum bible.gguf",
    "rekindle plan",
    "rekindle run bible.gguf --ctxx 3",
    "rekindle plan bible.gguf --stop x",
    "rekindle chat bible.gguf --json",
    "rekindle tokenize --json bible.gguf -p 'And God said'",
    "rekindle plan --help",
    f"rekindle --ctx=512 plan --devices '{RIG}' bible.gguf --threads 2",
    f"rekindle plan bible.gguf --threads 2 --ctx 512 --reserve 11.15GiB --devices '{RIG}'",
    "rekindle plan bible.gguf --devices k80:1 --ask context --json",
]


def main() -> None:
    if len(sys.argv) < 3:
        raise SystemExit("usage: record.py TOOL MODEL [FOLDER of header-only models] [SESSION...]")
    tool, model = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "rekindle").symlink_to(tool)
        (folder / "bible.gguf").symlink_to(model)
        (folder / "plain.jinja").write_text("{% for m in messages %}{{ m.content }} {% endfor %}")
        (folder / "long.txt").write_text("And God said, Let there be light: and there was light. " * 250)
        headers = Path(sys.argv[3]) if len(sys.argv) > 3 else None
        if headers:
            (folder / "deepseek-r1-14b.gguf").symlink_to((headers / "deepseek-r1:14b.gguf").resolve())
        for key, (play, colours) in SESSIONS.items():
            if (sys.argv[4:] and key not in sys.argv[4:]) or (key in ("plan", "colours") and not headers):
                continue
            session = Session(folder, colours)
            try:
                text = play(session)
            finally:
                session.close()
            (HERE / f"{key}.txt").write_text(re.sub(re.escape(name), "~", text))
            print(key)
        done = ""
        for command in COMMANDS:
            said = subprocess.run(["sh", "-c", f"exec 2>&1; {command}"], cwd=folder, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, universal_newlines=True,
                                  env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"})
            done += f"$ {command}\n{said.stdout}"
        (HERE / "commands.txt").write_text(done)


if __name__ == "__main__":
    main()
