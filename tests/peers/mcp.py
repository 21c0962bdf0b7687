#!/usr/bin/env python3
"""Drives `orch` with real MCP servers of package registries, over standard streams and over HTTP.

Usage: tests/peers/mcp.py [--orch PATH] [--prefix DIR]

Needs python3, node, npm, git, access to package registries for the first run, and root or user namespaces:
everything but the installation runs in a network namespace of its own in which only loopback exists. The
servers run in the sandbox that `orch` gives them; the model is a stand-in that calls the tools it is told to.
Prints one line a check; exits with 1 if one is not as it must be. Run on request, never by the tests.
"""

import argparse
import http.server
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
GIT = "mcp-server-git==2026.10.19"
EVERYTHING = "@modelcontextprotocol/server-everything@2026.8.31"


def install(prefix):
    """The servers in a prefix of their own."""
    git = prefix / "venv" / "bin" / "mcp-server-git"
    if not git.exists():
        python = next(path for path in ("/usr/bin/python3", sys.executable) if os.access(path, os.X_OK))
        subprocess.run([python, "-m", "venv", prefix / "venv"], check=True)
        subprocess.run([prefix / "venv" / "bin" / "pip", "install", "--quiet", GIT], check=True)
    everything = prefix / "node_modules" / "@modelcontextprotocol" / "server-everything" / "dist" / "index.js"
    if not everything.exists():
        subprocess.run(["npm", "install", "--prefix", prefix, "--no-save", EVERYTHING], check=True)
    return git, everything


class Model(http.server.BaseHTTPRequestHandler):
    """Calls the tools that the prompt lists, as JSON, in one turn; then says what they gave."""

    protocol_version = "HTTP/1.1"
    offered = []

    def log_message(self, *_):
        pass

    def do_GET(self):
        data = json.dumps({"object": "list", "data": [{"id": "m", "object": "model"}]}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        Model.offered = [tool["function"]["name"] for tool in body.get("tools", [])]
        last = body["messages"][-1]
        if last["role"] == "tool":
            results = [m["content"] for m in body["messages"] if m["role"] == "tool"]
            delta, finish = {"role": "assistant", "content": json.dumps(results)}, "stop"
        else:
            calls = [{"index": i, "id": str(i), "type": "function",
                      "function": {"name": name, "arguments": json.dumps(arguments)}}
                     for i, (name, arguments) in enumerate(json.loads(last["content"]))]
            delta, finish = {"role": "assistant", "content": None, "tool_calls": calls}, "tool_calls"
        chunk = {"id": "c", "object": "chat.completion.chunk", "model": "m"}
        lines = [{**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
                 {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}]
        data = "".join(f"data: {json.dumps(line)}\n\n" for line in lines) + "data: [DONE]\n\n"
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("content-length", str(len(data.encode())))
        self.end_headers()
        self.wfile.write(data.encode())


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def left(mark):
    """Command lines of processes that hold this text."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
        except OSError:
            continue
        if mark.encode() in line and int(entry.name) != os.getpid():
            found.append(line)
    return found


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--orch", default=HERE.parents[1] / "target" / "debug" / "orch")
    options.add_argument("--prefix", default=HERE.parents[1] / "target" / "peers" / "mcp", type=pathlib.Path)
    options.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = options.parse_args()
    prefix = options.prefix.resolve()
    git, everything = install(prefix)
    if not options.inside:
        # As root there is no need for a user namespace, and the sandbox is built as it is for users.
        unshare = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-rn"]
        words = [*unshare, sys.executable, __file__, "--inside", "--orch", options.orch, "--prefix", prefix]
        sys.exit(subprocess.run(words).returncode)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    model = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Model)
    threading.Thread(target=model.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(dir=pathlib.Path(options.orch).resolve().parent) as base:
        sys.exit(measure(options.orch, prefix, git, everything, model.server_port, pathlib.Path(base)))


def measure(orch, prefix, git, everything, model_port, base):
    work, home = base / "work", base / "home"
    for directory in (work, home / ".ssh"):
        directory.mkdir(parents=True)
    (home / ".ssh" / "id").write_text("SECRETKEY")
    who = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    for words in (["init", "-q"], [*who, "commit", "-q", "--allow-empty", "-m", "the first commit"]):
        subprocess.run(["git", *words], cwd=work, check=True)
    (work / "new.txt").write_text("new")
    port = free_port()
    sandbox = {"read": [str(prefix)], "network": "deny"}
    config = {
        "settings": {"max_retries": 0},
        "providers": {"stub": {"kind": "openai", "base_url": f"http://127.0.0.1:{model_port}/v1"}},
        "mcp_servers": {
            "git": {"command": [str(git), "--repository", str(work)], "sandbox": sandbox, "timeout": 60},
            "all": {"command": ["node", str(everything), "stdio"], "sandbox": sandbox, "timeout": 60},
            "web": {"url": f"http://127.0.0.1:{port}/mcp", "timeout": 60},
        },
        "agents": {"a": {"role": "R", "provider": "stub", "model": "m", "mcp_servers": ["git", "all", "web"]}},
    }
    (work / "orch.yaml").write_text(json.dumps(config))
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "ORCH_STATE_DIR": str(base / "state")}
    web = subprocess.Popen(["node", everything, "streamableHttp"], env={**environment, "PORT": str(port)},
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    failures = 0

    def check(name, good, told):
        nonlocal failures
        failures += not good
        print(f"{'ok  ' if good else 'FAIL'} {name:44} {told}", flush=True)

    def run(*words):
        began = time.monotonic()
        ended = subprocess.run([orch, "--config", "orch.yaml", "--json", *words], env=environment, cwd=work,
                               stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=180)
        return ended.returncode, json.loads(ended.stdout or "{}"), time.monotonic() - began

    def calls(*wanted):
        code, result, took = run("--agent", "a", "--prompt", json.dumps(wanted))
        return code, result, json.loads(result.get("output") or "[]"), took

    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        code, result, said, took = calls(["git__git_status", {"repo_path": str(work)}],
                                         ["git__git_log", {"repo_path": str(work)}],
                                         ["all__echo", {"message": "over streams"}],
                                         ["web__echo", {"message": "over http"}])
        prefixes = sorted({name.split("__")[0] for name in Model.offered})
        check("tools of all three are offered", prefixes == ["all", "git", "web"],
              f"{len(Model.offered)} tools of {prefixes}, {took:.1f} s")
        check("no warning", code == 0 and result["warnings"] == [], (code, result.get("warnings")))
        said += [""] * 4
        check("git_status of a real repository", "new.txt" in said[0], said[0].splitlines()[-1:])
        check("git_log of a real repository", "the first commit" in said[1], said[1].strip().splitlines()[-1:])
        check("a tool over standard streams", "over streams" in said[2], said[2])
        check("a tool over HTTP", "over http" in said[3], said[3])
        code, result, said, _ = calls(["git__git_log", {"repo_path": str(home)}])
        check("a tool that fails is told to the model", code == 0 and result["tools"][0]["ok"] is False, said)
        code, health, took = run("--health")
        check("health of all three", code == 0 and health["a"]["healthy"], f"{health['a']['message']}, {took:.1f} s")
        web.terminate()
        web.wait()
        code, health, _ = run("--health")
        check("health names the one that is gone", code == 1 and "`web`" in health["a"]["message"],
              health["a"]["message"][:100])
        code, result, said, _ = calls(["all__echo", {"message": "still here"}])
        check("a run goes on without it", code == 0 and "still here" in said[0]
              and "`web`" in result["warnings"][0], result["warnings"][0][:100])
        config["mcp_servers"]["web"]["required"] = True
        (work / "orch.yaml").write_text(json.dumps(config))
        code, result, _ = run("--agent", "a", "--prompt", "[]")
        check("unless it is required", code == 9 and "`web`" in result["error"]["message"],
              (code, result["error"]["message"][:80]))
        del config["mcp_servers"]["web"]
        config["agents"]["a"]["mcp_servers"] = ["git", "all"]
        (work / "orch.yaml").write_text(json.dumps(config))
        killed = subprocess.Popen([orch, "--config", "orch.yaml", "--agent", "a", "--prompt",
                                   json.dumps([["all__trigger-long-running-operation", {"duration": 60, "steps": 2}]])],
                                  env=environment, cwd=work, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL)
        began = time.monotonic()
        while len(left(str(everything))) < 1 and time.monotonic() - began < 60:
            time.sleep(0.1)
        time.sleep(2)
        killed.kill()
        killed.wait()
        began = time.monotonic()
        while (left(str(git)) or left(str(everything))) and time.monotonic() - began < 15:
            time.sleep(0.05)
        check("no server outlives a killed orch", not left(str(git)) and not left(str(everything)),
              f"{time.monotonic() - began:.2f} s")
    finally:
        if web.poll() is None:
            web.terminate()
    print("all as it must be" if not failures else f"{failures} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    main()
