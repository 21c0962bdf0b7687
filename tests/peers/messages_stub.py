#!/usr/bin/env python3
"""A stand-in for Anthropic's Messages API on loopback, for driving the real CLI without any network.

The scenario is the first part of the path, so that it is chosen by the base URL:
http://127.0.0.1:PORT/SCENARIO. Every request is appended to the log as one JSON line.

  text                 answers `Hello from stub`
  echo                 answers with every user text it was sent, as JSON
  tool.NAME.HEXJSON    calls tool NAME with these parameters (JSON in hex), then answers with its result;
                       with `.always` behind it, calls it again and again
  hang                 never answers
  drip                 one word a second, for a hundred seconds
  stall                begins to answer and goes silent
  NNN                  answers with this HTTP status and the matching error body
  NNN.once             the same once, then `text`
  NNN.after.SECONDS    the same with a `retry-after` header
  limit.EPOCH          429 as a subscription's used-up limit that resets at EPOCH
"""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

USAGE = {"input_tokens": 100, "cache_creation_input_tokens": 30, "cache_read_input_tokens": 40}
ERRORS = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error",
    404: "not_found_error", 413: "request_too_large", 429: "rate_limit_error",
    500: "api_error", 503: "api_error", 529: "overloaded_error",
}
log_lock = threading.Lock()
failed_once = set()


def texts(messages, role):
    """The texts of one role, without what the CLI adds itself."""
    found = []
    for message in messages:
        if message["role"] != role:
            continue
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        found += [b["text"] for b in blocks
                  if b["type"] == "text" and not b["text"].startswith("<system-reminder>")]
    return found


def tool_result(messages):
    """The text of the last tool result, if the last message of the user holds one."""
    # The CLI may add a message of its own behind it, with what is left of the budget.
    content = [message for message in messages if message["role"] == "user"][-1]["content"]
    for block in reversed(content if isinstance(content, list) else []):
        if block["type"] == "tool_result":
            inner = block.get("content", "")
            if isinstance(inner, list):
                inner = "".join(part.get("text", "") for part in inner)
            return f"tool said (is_error={block.get('is_error')}): {inner}"
    return None


class Stub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def do_GET(self):
        self.note(None)
        self.send_json(404, {"type": "error", "error": {"type": "not_found_error", "message": "stub"}})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
        self.note(body)
        scenario = self.path.split("/")[1]
        if "messages" not in self.path or "count_tokens" in self.path:
            return self.send_json(200, {"input_tokens": 100})
        try:
            self.answer(scenario, body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def note(self, body):
        line = {"at": time.time(), "method": self.command, "path": self.path, "body": body,
                "authorization": bool(self.headers.get("authorization") or self.headers.get("x-api-key"))}
        with log_lock, open(self.server.log, "a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")

    def send_json(self, status, value, headers=()):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("request-id", "req_stub")
        for name, text in headers:
            self.send_header(name, text)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def answer(self, scenario, body):
        code, _, once = scenario.partition(".")
        if code.isdigit():
            if once == "once" and scenario in failed_once:
                return self.send_text(body, "Hello from stub")
            failed_once.add(scenario)
            status = int(code)
            return self.send_json(status, {"type": "error", "error": {
                "type": ERRORS.get(status, "api_error"), "message": f"stub: {status}"}},
                [("retry-after", once.split(".")[1])] if once.startswith("after.") else [])
        if code == "limit":
            return self.send_json(429, {"type": "error", "error": {
                "type": "rate_limit_error", "message": "This request would exceed your account's rate limit."}}, [
                ("anthropic-ratelimit-unified-status", "rejected"),
                ("anthropic-ratelimit-unified-reset", once),
                ("anthropic-ratelimit-unified-representative-claim", "five_hour"),
                ("anthropic-ratelimit-unified-overage-status", "rejected")])
        if scenario == "hang":
            time.sleep(3600)
        elif scenario == "drip":
            self.send_text(body, " ".join(f"word{n}" for n in range(100)), pause=1.0)
        elif scenario == "stall":
            self.begin(body)
            self.block(0, {"type": "text", "text": ""}, [{"type": "text_delta", "text": "Hello"}], end=False)
            time.sleep(3600)
        elif scenario == "echo":
            self.send_text(body, "user texts: " + json.dumps(texts(body["messages"], "user")))
        elif scenario.startswith("tool."):
            _, name, arguments, *always = scenario.split(".")
            result = tool_result(body["messages"])
            if result is not None and not always:
                return self.send_text(body, result)
            self.send_tool(body, name, bytes.fromhex(arguments).decode())
        else:
            self.send_text(body, "Hello from stub")

    def event(self, kind, value):
        data = f"event: {kind}\ndata: {json.dumps({'type': kind, **value})}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def begin(self, body):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("request-id", "req_stub")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self.event("message_start", {"message": {
            "id": f"msg_stub_{time.time_ns()}", "type": "message", "role": "assistant",
            "model": body["model"], "content": [], "stop_reason": None, "stop_sequence": None,
            "usage": {**USAGE, "output_tokens": 1}}})

    def block(self, index, start, deltas, pause=0.0, end=True):
        self.event("content_block_start", {"index": index, "content_block": start})
        for delta in deltas:
            self.event("content_block_delta", {"index": index, "delta": delta})
            time.sleep(pause)
        if end:
            self.event("content_block_stop", {"index": index})

    def end_message(self, reason):
        self.event("message_delta", {"delta": {"stop_reason": reason, "stop_sequence": None},
                                     "usage": {"output_tokens": 20}})
        self.event("message_stop", {})
        self.wfile.write(b"0\r\n\r\n")

    def send_text(self, body, text, pause=0.0):
        if not body.get("stream"):
            return self.send_json(200, {
                "id": "msg_stub", "type": "message", "role": "assistant", "model": body["model"],
                "content": [{"type": "text", "text": text}], "stop_reason": "end_turn",
                "stop_sequence": None, "usage": {**USAGE, "output_tokens": 20}})
        words = text.split(" ")
        pieces = [(" " if n else "") + word for n, word in enumerate(words)] if pause else [text]
        self.begin(body)
        self.block(0, {"type": "text", "text": ""},
                   [{"type": "text_delta", "text": piece} for piece in pieces], pause)
        self.end_message("end_turn")

    def send_tool(self, body, name, arguments):
        self.begin(body)
        self.block(0, {"type": "tool_use", "id": f"toolu_{time.time_ns()}", "name": name, "input": {}},
                   [{"type": "input_json_delta", "partial_json": arguments}])
        self.end_message("tool_use")


def main():
    port, log = int(sys.argv[1]), sys.argv[2]
    server = ThreadingHTTPServer(("127.0.0.1", port), Stub)
    server.daemon_threads = True
    server.log = log
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
