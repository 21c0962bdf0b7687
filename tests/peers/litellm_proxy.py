#!/usr/bin/env python3
r"""Talks to LiteLLM's proxy, a model server that none of us wrote, with the real `orch`.

Run on request, never by the tests; it builds an environment of its own under `target/`:

    cargo build
    python3 tests/peers/litellm_proxy.py

The proxy answers with models of its `mock_response` kind, so no vendor is asked and nothing leaves this
machine; what streams, what a tool call and what a refusal look like is LiteLLM's own. Each line of the
output is one conversation: what was expected, and what came. The exit code is the number of those that
differ.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv

PACKAGE = "litellm[proxy]==1.108.7"
ROOT = pathlib.Path(__file__).resolve().parents[2]
HOME = ROOT / "target" / "litellm-proxy"
ORCH = ROOT / "target" / "debug" / "orch"
KEY = "sk-proxy-0123456789abcdef"

# What the proxy is told to answer with, by model.
MODELS = {
    "plain": {"mock_response": "The quick brown fox jumps over the lazy dog. " * 20},
    "tools": {"mock_response": "set by the hook"},
    "limited": {"mock_response": "litellm.RateLimitError"},
    "broken": {"mock_response": "litellm.InternalServerError"},
    "small": {"mock_response": "litellm.ContextWindowExceededError"},
    "cut": {"mock_response": "Exception: mock_streaming_error"},
    "slow": {"mock_response": "late", "mock_delay": 20},
    "rationed": {"mock_response": "one a minute", "rpm": 1},
}

# Runs inside the proxy: notes each call, and makes `tools` ask for two files, then tell what they held.
HOOK = '''
import json
from litellm.integrations.custom_logger import CustomLogger
from litellm.types.utils import ModelResponse


def asks(messages):
    calls = [
        {"id": f"call_{name}", "type": "function",
         "function": {"name": "read", "arguments": json.dumps({"path": f"{name}.txt"})}}
        for name in ("one", "two")
    ]
    return ModelResponse(model="tools", choices=[{"index": 0, "finish_reason": "tool_calls",
        "message": {"role": "assistant", "content": None, "tool_calls": calls}}])


class Hook(CustomLogger):
    async def async_pre_call_hook(self, user_api_key_dict, cache, data, call_type):
        with open("requests.jsonl", "a") as log:
            log.write(json.dumps({"model": data["model"], "stream": data.get("stream")}) + "\\n")
        if data["model"] == "tools":
            told = [m["content"] for m in data["messages"] if m["role"] == "tool"]
            data["mock_response"] = f"read: {told}" if told else asks(data["messages"])
        return data


hook = Hook()
'''


def environment():
    """The interpreter of an environment that has the proxy."""
    python = HOME / "bin" / "python"
    if not (HOME / "bin" / "litellm").exists():
        venv.create(HOME, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", PACKAGE], check=True)
    return python


def start(directory, port):
    """Starts the proxy and waits until it answers."""
    models = [
        {"model_name": name, "litellm_params": {"model": f"openai/{name}", "api_key": "none", **told}}
        for name, told in MODELS.items()
    ]
    config = {
        "model_list": models,
        "litellm_settings": {"callbacks": "hook.hook", "num_retries": 0, "telemetry": False},
        "router_settings": {"num_retries": 0, "disable_cooldowns": True,
            "optional_pre_call_checks": ["enforce_model_rate_limits"]},
        "general_settings": {"master_key": KEY},
    }
    (directory / "config.yaml").write_text(json.dumps(config))
    (directory / "hook.py").write_text(HOOK)
    # A proxy where nobody listens: whatever it would fetch from elsewhere fails at once.
    nowhere = "http://127.0.0.1:9"
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "HTTP_PROXY": nowhere,
        "HTTPS_PROXY": nowhere,
        "NO_PROXY": "127.0.0.1",
    }
    log = open(directory / "proxy.log", "wb")
    command = [HOME / "bin" / "litellm", "--config", "config.yaml", "--host", "127.0.0.1",
        "--port", str(port), "--telemetry", "False"]
    process = subprocess.Popen(command, cwd=directory, env=env, stdout=log, stderr=log)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health/liveliness", timeout=2)
            return process
        except OSError:
            time.sleep(0.5)
    process.terminate()
    sys.exit(f"the proxy does not start:\n{(directory / 'proxy.log').read_text()[-3000:]}")


def configuration(port):
    """One agent a model, and some that differ in more than that."""
    def agent(model, provider="proxy", **more):
        return {"role": "You are terse.", "provider": provider, "model": model,
            "tools": ["read"], **more}
    agents = {model: agent(model) for model in MODELS}
    agents |= {
        "fallen": agent("limited", fallback=["proxy/plain"]),
        "unknown": agent("no-such-model"),
        "locked": agent("plain", provider="refused"),
        "keyless": agent("plain", provider="open"),
        "native": agent("plain", provider="messages"),
    }
    base = f"http://127.0.0.1:{port}"
    return {
        "settings": {"max_retries": 1, "retry_delay": 0.1, "enable_circuit_breaker": False,
            "clocks": {"first_event": 5}},
        "providers": {
            "proxy": {"kind": "openai", "base_url": f"{base}/v1", "api_key_env": "PROXY_KEY"},
            "refused": {"kind": "openai", "base_url": f"{base}/v1", "api_key_env": "WRONG_KEY"},
            "open": {"kind": "openai", "base_url": f"{base}/v1"},
            "messages": {"kind": "anthropic", "base_url": base, "api_key_env": "PROXY_KEY"},
        },
        "agents": agents,
    }


class Conversations:
    """Runs `orch` against the proxy and compares."""

    def __init__(self, directory):
        self.directory = directory
        self.log = directory / "requests.jsonl"
        self.wrong = 0

    def requests(self):
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0

    def run(self, *args):
        env = {"PATH": "/usr/bin:/bin", "HOME": str(self.directory), "PROXY_KEY": KEY,
            "WRONG_KEY": "sk-wrong-0123456789", "ORCH_STATE_DIR": str(self.directory / "state")}
        before = self.requests()
        ran = subprocess.run([ORCH, "--config", "orch.yaml", *args], cwd=self.directory, env=env,
            capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120, check=False)
        return ran, self.requests() - before

    def ask(self, agent, *more, form="json"):
        ran, requests = self.run("--agent", agent, "--prompt", "Say something.", "--output", form, *more)
        lines = ran.stdout.splitlines()
        events = [json.loads(line) for line in lines] if form == "stream-json" else []
        result = events[-1] if events else json.loads(ran.stdout)
        return ran.returncode, requests, result, events

    def expect(self, name, got, expected):
        same = got == expected
        self.wrong += not same
        print(f"{'ok  ' if same else 'DIFF'} {name}: {json.dumps(got)}")
        if not same:
            print(f"     expected {json.dumps(expected)}")

    def fails(self, agent, code, classes, requests):
        got_code, got_requests, result, _ = self.ask(agent)
        error = result["error"]
        attempts = [(attempt["class"], attempt.get("status")) for attempt in error["attempts"]]
        self.expect(agent, [got_code, attempts, got_requests], [code, classes, requests])
        print(f"     {error['message'][:160]}")


def converse(talk):
    """Every conversation, one after another."""
    code, requests, result, events = talk.ask("plain", form="stream-json")
    deltas = [event["text"] for event in events if event["type"] == "text.delta"]
    talk.expect("streaming", [code, requests, len(deltas) > 5, "".join(deltas) == result["output"]],
        [0, 1, True, True])
    talk.expect("streaming, usage told", [result["usage"]["output_tokens"] > 0, result["model"]],
        [True, "proxy/plain"])

    code, requests, result, _ = talk.ask("tools")
    tools = [(tool["tool"], tool["ok"]) for tool in result["tools"]]
    told = all(word in result["output"] for word in ("first file", "second file"))
    talk.expect("tools", [code, requests, tools, told, result["turns"]],
        [0, 2, [("read", True), ("read", True)], True, 2])

    talk.fails("limited", 5, [("rate_limited", 429), ("rate_limited", 429)], 2)
    talk.fails("broken", 5, [("server", 500), ("server", 500)], 2)
    talk.fails("small", 5, [("context_length", 400)], 1)
    talk.fails("cut", 5, [("overloaded", 529), ("overloaded", 529)], 2)
    talk.fails("slow", 6, [("first_event_timeout", None), ("first_event_timeout", None)], 2)
    talk.fails("unknown", 5, [("not_found", 400)], 1)
    talk.fails("locked", 4, [("auth", 400)], 0)
    # This release fails by itself where no key is sent and no database is there.
    talk.fails("keyless", 5, [("server", 500), ("server", 500)], 0)

    code, requests, result, _ = talk.ask("fallen")
    talk.expect("fallback", [code, requests, result["model"], len(result["fallbacks"])],
        [0, 3, "proxy/plain", 1])

    first = talk.ask("rationed")
    code, requests, result, _ = talk.ask("rationed", "--timeout", "5")
    error = result["error"]
    talk.expect("a ration of the proxy's own", [first[0], code, error["attempts"][0]["class"], requests],
        [0, 5, "rate_limited", 2])
    print(f"     {error['message'][:160]} | retry after {error['retry_after_s']}")

    code, requests, result, _ = talk.ask("native")
    talk.expect("the Messages API", [code, requests, result["output"][:9]], [0, 1, "The quick"])

    ran, _ = talk.run("--health", "--agent", "plain", "--json")
    talk.expect("health", [ran.returncode, json.loads(ran.stdout)["plain"]["healthy"]], [0, True])
    ran, _ = talk.run("--costs", "--json")
    costs = json.loads(ran.stdout)
    talk.expect("costs", [ran.returncode, costs["by_model"]["proxy/plain"]["output_tokens"] > 0], [0, True])


def main():
    python = environment()
    version = "import importlib.metadata as m; print(m.version('litellm'))"
    told = subprocess.run([python, "-c", version], capture_output=True, text=True, check=True)
    print(f"LiteLLM {told.stdout.strip()}, {ORCH}")
    with tempfile.TemporaryDirectory() as name, socket.socket() as free:
        directory = pathlib.Path(name)
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        (directory / "orch.yaml").write_text(json.dumps(configuration(port)))
        (directory / "one.txt").write_text("the first file\n")
        (directory / "two.txt").write_text("the second file\n")
        proxy = start(directory, port)
        talk = Conversations(directory)
        try:
            converse(talk)
        finally:
            proxy.terminate()
            proxy.wait(30)
    print(f"{talk.wrong} differ")
    return talk.wrong


if __name__ == "__main__":
    sys.exit(main())
