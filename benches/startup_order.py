#!/usr/bin/env python3
"""Writes src/startup.ld: which functions a short run calls, so that the linker puts them side by side.

A page of the program that is touched brings its neighbours into memory; functions that are strewn
over the whole text bring nearly all of it. Run on request, after `cargo build --release`, when what a
run does at its start has changed much; it needs `qemu-x86_64` (Debian: qemu-user) and `nm`:

    python3 benches/startup_order.py

A name that no longer exists matches nothing and does no harm, so the list ages gracefully.
"""

import bisect
import collections
import http.server
import json
import pathlib
import re
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
agents:
  a0: {{role: You are a., provider: stub, model: stub-model, tools: [read, list_dir, grep, glob]}}
  a1: {{role: You are b., provider: stub, model: stub-model}}
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


def called(directory, arguments, known, starts):
    """The names of the functions that one run calls, by address."""
    log = directory / "translated.log"
    subprocess.run(
        ["qemu-x86_64", "-d", "in_asm", "-D", log, BINARY, *arguments],
        cwd=directory,
        env={"PATH": "/usr/bin:/bin", "HOME": str(directory), "ORCH_STATE_DIR": str(directory / "state")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=300,
        check=True,
    )
    hit = set()
    with log.open(errors="replace") as lines:
        for line in lines:
            if found := re.match(r"0x([0-9a-f]+):", line):
                address = int(found[1], 16)
                place = bisect.bisect_right(starts, address) - 1
                if place >= 0 and address < known[place][1]:
                    hit.add(place)
    return [known[place][2] for place in sorted(hit)]


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
    """The name without what differs from build to build."""
    plain = re.sub(r"17h[0-9a-f]{16}E.*", "17h*", name)
    return re.sub(r"\.(llvm|constprop|isra|part|cold)\..*", "*", plain)


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Model)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    known = list(functions())
    starts = [function[0] for function in known]
    patterns = {}
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        url = f"http://127.0.0.1:{server.server_port}"
        (directory / "orch.yaml").write_text(CONFIG.format(url=url))
        config = ["--config", "orch.yaml"]
        for arguments in (
            [*config, "--agent", "a1", "--prompt", "Say hello."],
            [*config, "--agent", "a0", "--prompt", "Take a look."],
            [*config, "--all", "--prompt", "Say hello.", "--json"],
        ):
            for name in called(directory, arguments, known, starts):
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
