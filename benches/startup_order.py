#!/usr/bin/env python3
"""Writes src/startup.ld: which functions a short run calls, so that the linker puts them side by side.

A page of the program that is touched brings its neighbours into memory; functions that are strewn
over the whole text bring nearly all of it. Run on request, after `cargo build --release`, when what a
run does at its start has changed much, on x86-64; it needs `nm`:

    python3 benches/startup_order.py

A name that no longer exists matches nothing and does no harm, so the list ages gracefully.
"""

import collections
import ctypes
import http.server
import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = ROOT / "target/release/orch"
LIST = ROOT / "src/startup.ld"

CONFIG = """
settings: {{max_retries: 0}}
providers:
  stub: {{kind: openai, base_url: "{url}"}}
  claude: {{cli_path: {cli}}}
agents:
  a0: {{role: You are a., provider: stub, model: stub-model, tools: [read, list_dir, grep, glob]}}
  a1: {{role: You are b., provider: stub, model: stub-model}}
  a2: {{role: You are c., provider: claude, model: sonnet, tools: [bash]}}
"""

# An agent CLI that answers at once.
CLI = """#!/bin/sh
[ "$1" = --version ] && { echo '2.1.330 (Claude Code)'; exit; }
read -r prompt
echo '{"type":"system","subtype":"init","session_id":"s","model":"m","apiKeySource":"ANTHROPIC_API_KEY"}'
echo '{"type":"result","subtype":"success","is_error":false,"num_turns":1,"result":"Hello","total_cost_usd":0.01}'
"""


class Model(http.server.BaseHTTPRequestHandler):
    """Asks for one tool where it is offered, then answers; in chunks, as model servers do."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        asks = "tools" in request and "look" in json.dumps(request) and not any(
            message["role"] == "tool" for message in request["messages"]
        )
        delta = {"role": "assistant", "content": "Hello."}
        if asks:
            call = {"name": "list_dir", "arguments": '{"path": "."}'}
            delta = {"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": call}]}
        choices = [
            {"index": 0, "delta": delta, "finish_reason": None},
            {"index": 0, "delta": {}, "finish_reason": "tool_calls" if asks else "stop"},
        ]
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        events = [{"id": "1", "model": "stub-model", "choices": [choice]} for choice in choices]
        events.append({"id": "1", "model": "stub-model", "choices": [], "usage": usage})
        lines = [f"data: {json.dumps(event)}\n\n" for event in events] + ["data: [DONE]\n\n", ""]
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for line in lines:
            self.wfile.write(f"{len(line):x}\r\n{line}\r\n".encode())

    def log_message(self, *_):
        pass


def functions():
    """Every function of the program as (start, end, name), by address."""
    listed = subprocess.run(["nm", "-S", "-n", BINARY], capture_output=True, text=True, check=True)
    for line in listed.stdout.splitlines():
        if found := re.fullmatch(r"([0-9a-f]+) ([0-9a-f]+) [tTwW] (\S+)", line):
            start = int(found[1], 16)
            yield start, start + int(found[2], 16), found[3]


TRACEME, PEEKUSER, POKEUSER, CONT, DETACH, SETOPTIONS = 0, 3, 6, 7, 17, 0x4200
# Follow threads, children and programs that are started, and let none of them outlive this script.
OPTIONS = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 20
STARTED = 4  # the event of a program that was started
RIP = 16 * 8  # where `struct user` has the instruction pointer
WALL = 0x40000000
TRAP = b"\xcc"

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def plant(pid, starts):
    """Puts a trap at the beginning of every function; returns what stood there."""
    first = min(starts)
    with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
        memory.seek(first)
        text = bytearray(memory.read(max(starts) + 1 - first))
        stood = {start: bytes([text[start - first]]) for start in starts}
        for start in starts:
            text[start - first : start - first + 1] = TRAP
        memory.seek(first)
        memory.write(text)
    return stood


def called(directory, arguments, starts):
    """Where the functions begin that one run calls, those of its own processes included."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(directory),
        "ORCH_STATE_DIR": str(directory / "state"),
    }
    child = os.fork()
    if child == 0:
        os.chdir(directory)
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(nothing, stream)
        libc.ptrace(TRACEME, 0, None, None)
        os.kill(os.getpid(), signal.SIGSTOP)
        os.execve(BINARY, [str(BINARY), *arguments], environment)
    os.waitpid(child, 0)
    libc.ptrace(SETOPTIONS, child, None, OPTIONS)
    libc.ptrace(CONT, child, None, None)
    hit, stood, code = set(), {}, None
    while True:
        try:
            pid, status = os.waitpid(-1, WALL)
        except ChildProcessError:
            break
        if not os.WIFSTOPPED(status):
            code = status if pid == child else code
            continue
        stop, event = os.WSTOPSIG(status), status >> 16
        if event == STARTED:
            if os.readlink(f"/proc/{pid}/exe") != str(BINARY):
                libc.ptrace(DETACH, pid, None, None)
                continue
            stood = plant(pid, starts)
        at = libc.ptrace(PEEKUSER, pid, RIP, None) - 1
        is_ours = stop == signal.SIGTRAP and not event and at in stood
        if is_ours:
            hit.add(at)
            with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
                memory.seek(at)
                memory.write(stood[at])
            libc.ptrace(POKEUSER, pid, RIP, at)
        passed = None if stop in (signal.SIGTRAP, signal.SIGSTOP) else stop
        libc.ptrace(CONT, pid, None, passed)
    if code != 0:
        raise SystemExit(f"{arguments} ended with {code}")
    return hit


# Bytes of functions never called that a pattern may bring along for each one that is: what a function
# left where it is costs, since the kernel maps sixteen pages round the one that is touched.
NEIGHBOURHOOD = 32 << 10


def worth_it(patterns, known):
    """The patterns that bring little along which is never called, the purest first."""
    hot, cold = collections.Counter(), collections.Counter()
    count = collections.Counter()
    for start, end, name in known:
        shape = pattern(name)
        if shape in patterns:
            into = hot if name in patterns[shape] else cold
            into[shape] += end - start
            count[shape] += name in patterns[shape]
    share = {shape: cold[shape] / (hot[shape] + cold[shape] or 1) for shape in patterns}
    kept = [shape for shape in patterns if cold[shape] < count[shape] * NEIGHBOURHOOD]
    return sorted(kept, key=lambda shape: round(share[shape], 1))


def pattern(name):
    """The name without what differs from build to build: hashes of crates, and places counted behind them."""
    plain = re.sub(r"17h[0-9a-f]{16}E.*", "17h*", name)
    if plain.startswith("_R"):
        plain = re.sub(r"Cs[0-9A-Za-z]+_", "Cs*_", plain)
        plain = re.sub(r"B[0-9A-Za-z]*_", "B*_", plain)
    return re.sub(r"\.(llvm|constprop|isra|part|cold)\..*", "*", plain)


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Model)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    known = list(functions())
    names = collections.defaultdict(list)
    for start, _, name in known:
        names[start].append(name)
    patterns = {}
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        url = f"http://127.0.0.1:{server.server_port}"
        cli = directory / "claude"
        cli.write_text(CLI)
        cli.chmod(0o755)
        (directory / "orch.yaml").write_text(CONFIG.format(url=url, cli=cli))
        config = ["--config", "orch.yaml"]
        for arguments in (
            [*config, "--agent", "a1", "--prompt", "Say hello."],
            [*config, "--agent", "a0", "--prompt", "Take a look."],
            [*config, "--all", "--agents-only", "a0,a1", "--prompt", "Say hello.", "--json"],
            [*config, "tool", "bash", '{"command": "true"}', "--agent", "a2"],
            [*config, "--agent", "a2", "--prompt", "Say hello."],
        ):
            for start in sorted(called(directory, arguments, names.keys())):
                for name in names[start]:
                    patterns.setdefault(pattern(name), set()).add(name)
    kept = worth_it(patterns, known)
    lines = "".join(f"    *(.text.{shape} .text.unlikely.{shape})\n" for shape in kept)
    LIST.write_text(
        "/* What a short run calls, side by side: written by benches/startup_order.py, given to the linker\n"
        "   by build.rs. */\n"
        f"SECTIONS {{\n  .text.startup_order : {{\n{lines}  }}\n}}\nINSERT BEFORE .text;\n"
    )
    print(f"{len(kept)} of {len(patterns)} names in {LIST.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
