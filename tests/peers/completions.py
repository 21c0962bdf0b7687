#!/usr/bin/env python3
"""Asks bash, zsh and fish what the generated scripts complete, and mandoc whether it can read the manual.

usage: completions.py ORCH

Needs bash, zsh, fish and mandoc (Debian: `apt-get install zsh fish mandoc`); fails with the reason where one is missing.
"""

import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

# What is typed, what must be offered, what must not.
CASES = [
    ("orch --ag", ["--agent", "--agents-only"], ["--explain"]),
    ("orch che", ["check"], []),
    ("orch check --expl", ["--explain"], ["--export"]),
    ("orch --output ", ["stream-json", "mermaid"], ["check"]),
    ("orch --agent x --sandbox ", ["landlock"], ["check"]),
    ("orch tool --sandbox ", ["landlock"], []),
    ("orch completions ", ["fish", "zsh"], ["init"]),
    ("orch --agent ", ["coder", "reviewer"], ["error", "release"]),
    ("orch --agent co", ["coder"], ["error", "reviewer"]),
    ("orch check --explain rev", ["reviewer"], ["error", "coder"]),
    ("orch --task ", ["release"], ["error", "coder"]),
    ("orch --agent coder --model gpt4o-m", ["gpt4o-mini"], ["error", "sonnet"]),
    ("orch --config named.yaml --agent ", ["other"], ["error", "coder"]),
    ("orch --config broken.yaml --agent ", [], ["error", "coder", "mapping"]),
    ("orch --all --agents-only ", ["coder", "reviewer"], ["error", "release"]),
    ("orch --all --agents-only coder,", ["coder,reviewer"], ["error", "coder,coder"]),
    ("orch --resume ", [], ["error", "trust"]),
]
CONFIGURATIONS = {
    # Its role is mistyped, and it asks for trust: names are names.
    "orch.yaml": "mcp_servers: {m: {command: [x]}}\nagents:\n  coder: {rloe: R}\n  reviewer: {role: R}\n"
                 "tasks:\n  release: {steps: [{agent: coder, prompt: x}]}\n",
    "named.yaml": "agents: {other: {role: R}}\n",
    "broken.yaml": "agents: {",
}
PATIENCE = 5


def run(words, **more):
    """What a program says, on both streams: a completion says nothing but names."""
    done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=60, **more)
    return done.stdout + done.stderr


def bash(directory, line):
    program = """source "$1/script.bash"; words=($2); [[ $2 == *" " ]] && words+=("")
COMP_WORDS=("${words[@]}"); COMP_CWORD=$((${#words[@]}-1)); COMPREPLY=()
_orch orch "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"; printf '%s\\n' "${COMPREPLY[@]}" """
    return run(["bash", "-c", program, "bash", directory, line], cwd=directory)


def fish(directory, line):
    return run(["fish", "-c", f"source {directory}/script.fish; complete -C '{line}'"], cwd=directory)


def zsh(directory, line):
    """A shell on a terminal of its own: what it completes can only be seen."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(directory)
        os.environ.update(TERM="xterm", HOME=directory, PS1="READY ")
        os.execvp("zsh", ["zsh", "-f", "-i"])
    seen = ""

    def until(words):
        nonlocal seen
        end = time.monotonic() + PATIENCE
        while not all(word in seen for word in words) and time.monotonic() < end:
            if select.select([terminal], [], [], 0.1)[0]:
                seen += os.read(terminal, 65536).decode(errors="replace")

    def say(text):
        os.write(terminal, text.encode())

    until(["READY "])
    say(f"fpath=({directory}/functions $fpath); autoload -U compinit; compinit -u -D; setopt no_beep; "
        "unsetopt auto_menu list_ambiguous; echo LOADED-$((1+1))\n")
    until(["LOADED-2"])
    seen = ""
    say(line + "\t")
    wanted = next(offered for typed, offered, _ in CASES if typed == line)
    until(wanted)
    quiet = time.monotonic() + 0.5
    while time.monotonic() < quiet:
        if select.select([terminal], [], [], 0.1)[0]:
            seen += os.read(terminal, 65536).decode(errors="replace")
    os.kill(child, signal.SIGKILL)
    os.close(terminal)
    os.waitpid(child, 0)
    return seen


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    orch = os.path.abspath(sys.argv[1])
    missing = [name for name in ("bash", "zsh", "fish", "mandoc") if shutil.which(name) is None]
    if missing:
        sys.exit(f"not installed: {', '.join(missing)}")
    failed = 0
    with tempfile.TemporaryDirectory() as directory:
        os.mkdir(f"{directory}/functions")
        os.mkdir(f"{directory}/bin")
        os.symlink(orch, f"{directory}/bin/orch")
        os.environ.update(PATH=f"{directory}/bin:{os.environ['PATH']}", ORCH_STATE_DIR=f"{directory}/state")
        for name, text in CONFIGURATIONS.items():
            with open(f"{directory}/{name}", "w", encoding="utf-8") as file:
                file.write(text)
        for shell, path in (("bash", "script.bash"), ("fish", "script.fish"), ("zsh", "functions/_orch")):
            with open(f"{directory}/{path}", "w", encoding="utf-8") as file:
                file.write(run([orch, "completions", shell]))
        for name, ask in (("bash", bash), ("fish", fish), ("zsh", zsh)):
            for line, offered, others in CASES:
                answer = ask(directory, line)
                wrong = [word for word in offered if word not in answer]
                wrong += [word for word in others if word in answer]
                failed += bool(wrong)
                print(f"{'FAIL' if wrong else 'ok  '} {name}: {line!r} {wrong or ''}")
        for command in ([], ["check"], ["init"], ["tool"], ["prices"]):
            page = f"{directory}/page.1"
            with open(page, "w", encoding="utf-8") as file:
                file.write(run([orch, "man", *command]))
            lint = subprocess.run(["mandoc", "-Tlint", "-W", "error", page], capture_output=True, text=True, check=False)
            failed += lint.returncode != 0
            print(f"{'ok  ' if lint.returncode == 0 else 'FAIL'} mandoc: man {' '.join(command)} {lint.stdout}")
    sys.exit(failed != 0)


if __name__ == "__main__":
    main()
