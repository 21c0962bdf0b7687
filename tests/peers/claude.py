#!/usr/bin/env python3
"""Drives `orch` with the real Claude Code CLI against a loopback stand-in for its API.

Usage: tests/peers/claude.py [--orch PATH] [--prefix DIR] [--version 2.1.330]

Needs node and npm with access to a package registry for the first run, and root or user namespaces:
everything but the installation runs in a network namespace of its own in which only loopback exists,
with a home directory of its own and a key that is none. Prints one line a scenario; exits with 1 if
one is not as it must be.
"""

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
PACKAGE = "@anthropic-ai/claude-code"
PORT = 8124


def install(prefix, version):
    """The CLI in a prefix of its own; its postinstall puts the native binary in place."""
    package = prefix / "node_modules" / PACKAGE
    binary = package / "bin" / "claude.exe"
    if not binary.exists() or binary.stat().st_size < 1 << 20:
        subprocess.run(["npm", "install", "--prefix", prefix, "--no-save", f"{PACKAGE}@{version}"], check=True)
        subprocess.run(["node", package / "install.cjs"], check=True)
    return binary


def scenario_tool(name, **arguments):
    return f"tool.{name}." + json.dumps(arguments).encode().hex()


class Bench:
    def __init__(self, orch, binary, base):
        self.orch, self.base = orch, base
        self.work, self.home, self.state = base / "work", base / "home", base / "state"
        for directory in (self.work, self.home / ".ssh"):
            directory.mkdir(parents=True)
        (self.home / ".ssh" / "id").write_text("SECRETKEY")
        (self.work / "note.txt").write_text("note of the workspace")
        self.log = base / "log.jsonl"
        config = {
            "settings": {"retry_delay": 0.2, "timeout": 20, "clocks": {"first_event": 6, "idle": 6}},
            "providers": {"claude": {"cli_path": str(binary)}},
            "agents": {"a": {"role": "You test.", "provider": "claude", "model": "sonnet",
                             "tools": ["bash", "read", "list_dir", "write"]}},
        }
        (self.work / "orch.yaml").write_text(json.dumps(config))
        config["providers"]["claude"]["native_tools"] = True
        (self.work / "native.yaml").write_text(json.dumps(config))
        config["providers"]["claude"].update(native_tools=False, max_concurrency=1)
        config["agents"]["a"].update(role="You test otherwise.", delegates=["b"], max_turns=2)
        config["agents"]["b"] = {"role": "You help.", "provider": "claude", "model": "haiku"}
        (self.work / "other.yaml").write_text(json.dumps(config))

    def command(self, scenario, *arguments, config="orch.yaml", subscription=False):
        environment = {
            "PATH": "/usr/bin:/bin", "HOME": str(self.home), "ORCH_STATE_DIR": str(self.state),
            **({"CLAUDE_CODE_OAUTH_TOKEN": "oat-dummy-9876543210"} if subscription else
               {"ANTHROPIC_API_KEY": "sk-dummy-0123456789"}),
            "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{PORT}/{scenario}",
        }
        words = [self.orch, "--config", config, "--agent", "a", "--json", *arguments]
        return {"args": words, "env": environment, "cwd": self.work, "text": True,
                "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}

    def run(self, scenario, *arguments, **how):
        self.log.write_text("")
        began = time.monotonic()
        ended = subprocess.run(**self.command(scenario, *arguments, **how), timeout=120)
        took = time.monotonic() - began
        result = json.loads(ended.stdout or "{}")
        return ended.returncode, result, took

    def requests(self):
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line["body"] for line in lines if line["body"] and "messages" in line["body"]]

    def left(self):
        """Processes with the home directory of the bench in their environment."""
        mark = f"HOME={self.home}".encode()
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append((entry / "cmdline").read_bytes())
            except OSError:
                pass
        return found


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--orch", default=HERE.parents[1] / "target" / "debug" / "orch")
    options.add_argument("--prefix", default=pathlib.Path.home() / ".cache" / "orch-peers" / "claude")
    options.add_argument("--version", default="2.1.330")
    options.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = options.parse_args()
    binary = install(pathlib.Path(options.prefix), options.version)
    if not options.inside:
        # As root there is no need for a user namespace, and the sandbox is built as it is for users.
        unshare = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-rn"]
        words = [*unshare, sys.executable, __file__, "--inside", "--orch", options.orch,
                 "--prefix", options.prefix, "--version", options.version]
        sys.exit(subprocess.run(words).returncode)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with tempfile.TemporaryDirectory(dir=pathlib.Path(options.orch).resolve().parent) as base:
        sys.exit(measure(Bench(options.orch, binary, pathlib.Path(base))))


def measure(bench):
    stub = subprocess.Popen([sys.executable, HERE / "messages_stub.py", str(PORT), bench.log],
                            stdout=subprocess.PIPE)
    stub.stdout.readline()
    failures = 0

    def check(name, good, told, took=None):
        nonlocal failures
        failures += not good
        seconds = f"{took:6.2f} s" if took is not None else " " * 8
        print(f"{'ok  ' if good else 'FAIL'} {name:34} {seconds}  {told}", flush=True)

    try:
        code, result, took = bench.run("text", "--prompt", "hi")
        check("success", code == 0 and result["output"] == "Hello from stub"
              and result["cost_usd"] == "0.000479" and result["usage"]["input_tokens"] == 170,
              (code, result.get("output"), result.get("cost_usd")), took)
        names = [tool["name"] for tool in bench.requests()[0]["tools"]]
        check("only our tools are offered", names == ["mcp__orch__bash", "mcp__orch__list_dir",
              "mcp__orch__read", "mcp__orch__write"], names)

        code, result, took = bench.run(scenario_tool("mcp__orch__list_dir", path="."), "--prompt", "hi")
        check("a bridged tool", code == 0 and "note.txt" in result["output"]
              and result["tools"][0]["tool"] == "list_dir" and result["cost_usd"] == "0.000958",
              (code, result.get("tools"), result.get("cost_usd")), took)
        code, result, took = bench.run(scenario_tool("mcp__orch__bash", command="id -u; cat ~/.ssh/id"), "--prompt", "hi")
        check("our bash over the bridge", code == 0 and "SECRETKEY" not in result["output"]
              and result["tools"][0]["tool"] == "bash", (code, result.get("output", "")[:80]), took)

        # Its shell may be another one, which has no /dev/tcp.
        native = "cat ~/.ssh/id; touch made; bash -c 'echo x > /dev/tcp/127.0.0.1/%d' 2>&1 | tail -1" % PORT
        code, result, took = bench.run(scenario_tool("Bash", command=native, description="x"),
                                       "--prompt", "hi", config="native.yaml")
        check("its own bash, confined", code == 0 and "SECRETKEY" not in result["output"]
              and "refused" in result["output"] and (bench.work / "made").exists(),
              (code, result.get("output", "")[:80]), took)

        for prompt in ("/help", "-p", f"see @{bench.work}/note.txt", "@note.txt"):
            code, result, took = bench.run("echo", "--prompt", prompt)
            text = result.get("output", "")
            sent = json.dumps(bench.requests())
            check(f"prompt {prompt.replace(str(bench.work), '…')!r}", code == 0 and "note of the workspace" not in sent
                  and "user texts" in text, (code, text[:80]), took)

        _, first, _ = bench.run("echo", "--prompt", "one", "--session", "s")
        code, second, took = bench.run("echo", "--prompt", "two", "--session", "s")
        check("a conversation goes on", second["output"] == 'user texts: ["one", "two"]'
              and second["cost_usd"] == first["cost_usd"], (second["output"], second["cost_usd"]), took)

        code, third, took = bench.run("echo", "--prompt", "three", "--session", "s", config="other.yaml")
        system = json.dumps(bench.requests()[0]["system"])
        check("a changed system prompt takes effect", third["output"] == 'user texts: ["one", "two", "three"]'
              and "You test otherwise." in system, (code, third["output"]), took)

        code, result, took = bench.run(scenario_tool("mcp__orch__delegate", agent="b", prompt="help me"),
                                       "--prompt", "hi", "--budget", "1", config="other.yaml")
        check("an agent on the CLI calls another one", code == 0 and result["tools"][0]["tool"] == "delegate"
              and result["tools"][0]["ok"] and result["attempts"] == 2,
              (code, result.get("output", "")[:60], result.get("cost_usd")), took)
        code, result, took = bench.run(scenario_tool("mcp__orch__list_dir", path=".") + ".always", "--prompt", "hi",
                                       config="other.yaml")
        check("max_turns", code == 10 and len(bench.requests()) == 2, (code, len(bench.requests())), took)

        resets = int(time.time()) + 3600
        code, result, took = bench.run(f"limit.{resets}", "--prompt", "hi", subscription=True)
        error = result["error"]
        check("a used-up limit tells when it is refilled", code == 5 and 3000 < (error["retry_after_s"] or 0) < 3700,
              (code, error["message"], error["retry_after_s"]), took)
        code, result, took = bench.run("text", "--prompt", "hi", subscription=True)
        check("and nobody asks before", code == 5 and not bench.requests(),
              (code, (result["error"] or {}).get("message")), took)
        code, result, took = bench.run("text", "--prompt", "hi")
        check("but with another login", code == 0, code, took)

        for status, exit_code, kind, requests in ((401, 4, "auth", 1), (429, 5, "provider", 4),
                                                  (529, 5, "provider", 4), (400, 5, "provider", None)):
            code, result, took = bench.run(str(status), "--prompt", "hi")
            error = result.get("error") or {}
            count = len(bench.requests())
            check(f"API {status}", code == exit_code and error["class"] == kind and error["status"] == status
                  and (requests is None or count == requests) and result["cost_usd"] == "0.000000",
                  (code, error.get("message"), f"{count} requests"), took)
        code, result, took = bench.run("429.after.2", "--prompt", "hi")
        delays = [attempt.get("delay_ms", 0) for attempt in result["error"]["attempts"]][:-1]
        check("429 with retry-after", code == 5 and all(delay >= 2000 for delay in delays), delays, took)
        code, result, took = bench.run("529.once", "--prompt", "hi")
        check("529 once", code == 0 and result["attempts"] == 2, (code, result.get("attempts")), took)

        code, result, took = bench.run("hang", "--prompt", "hi", "--timeout", "5")
        check("hang", code == 6 and took < 16, (code, (result.get("error") or {}).get("message")), took)
        code, result, took = bench.run("stall", "--prompt", "hi", "--timeout", "6")
        check("stall in the middle", code == 6 and took < 20 and result["output"].startswith("Hello"),
              (code, result.get("output"), result.get("cost_usd"), result.get("cost_source")), took)

        slow = scenario_tool("mcp__orch__bash", command="sleep 1000")
        for name, number in (("SIGINT", signal.SIGINT), ("SIGTERM", signal.SIGTERM), ("SIGKILL", signal.SIGKILL)):
            run = subprocess.Popen(**bench.command(slow, "--prompt", "hi"))
            time.sleep(4)
            began = time.monotonic()
            run.send_signal(number)
            run.communicate(timeout=30)
            left = bench.left()
            while left and time.monotonic() - began < 15:
                time.sleep(0.1)
                left = bench.left()
            check(f"{name} in a tool", not left, (run.returncode, f"{len(left)} processes left"),
                  time.monotonic() - began)
        fled = scenario_tool("Bash", command="setsid sleep 1000 & sleep 999", description="x")
        words = ("--prompt", "hi", "--sandbox", "off")
        run = subprocess.Popen(**bench.command(fled, *words, config="native.yaml"))
        began = time.monotonic()
        while not any(b"1000" in line for line in bench.left()) and time.monotonic() - began < 20:
            time.sleep(0.1)
        run.kill()
        run.communicate(timeout=30)
        time.sleep(1)
        left = len(bench.left())
        code, result, took = bench.run("text", *words)
        check("what a killed orch left ends at the next start", code == 0 and left > 0 and not bench.left(),
              f"{left} processes left, then {len(bench.left())}", took)
    finally:
        stub.terminate()
    print(f"{'all as it must be' if not failures else f'{failures} failed'}")
    return 1 if failures else 0


if __name__ == "__main__":
    main()
