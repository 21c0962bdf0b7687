#!/usr/bin/env python3
# case.py BASE ORCH: runs the case that BASE/case.json describes, every placeholder filled in: its setup, the tool through
# `orch tool`, its check. Writes BASE/state/result and BASE/state/meta.json. Exit 0 when the outcome is as the case expects.
import fcntl, glob, json, os, signal, socket, struct, subprocess, sys, time
base, orch = sys.argv[1:3]
case = json.load(open(os.path.join(base, "case.json")))
state, work, corpus = (os.path.join(base, n) for n in ("state", "work", "corpus"))
result, meta, pids = (os.path.join(state, n) for n in ("result", "meta.json", "pids"))

def shell(command):
    return subprocess.run(["bash", "-c", command], cwd=work, stdin=subprocess.DEVNULL, env=dict(os.environ, HOME=os.path.join(base, "home"))).returncode

def background(*argv):
    p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with open(pids, "a") as f: f.write(f"{p.pid}\n")

def await_servers(count):
    until = time.monotonic() + 60
    while len(glob.glob(os.path.join(state, "ready-*"))) < count:
        if time.monotonic() > until: sys.exit("a server of the case does not start")
        time.sleep(0.01)

def loopback_up():
    with socket.socket() as s:
        fcntl.ioctl(s, 0x8914, struct.pack("16sh", b"lo", 0x1 | 0x40))

def call():
    params = json.dumps(case["params"])
    # A longer argument than the kernel takes goes through stdin.
    piped = len(params.encode()) > 100_000
    argv = [orch, "tool", case["tool"], "-" if piped else params, "--json", "--config", os.path.join(base, "conf", "team.yaml")]
    start = time.monotonic()
    p = subprocess.run(argv, cwd=work, env=case["env"], input=params.encode() if piped else b"", capture_output=True)
    ms = round((time.monotonic() - start) * 1000)
    try: out = json.loads(p.stdout)
    except ValueError: out = {}
    status = {0: "ok", 1: "error", 6: "timeout", 9: "refused"}.get(p.returncode)
    if status is None or "content" not in out or out.get("status") != status:
        sys.exit(f"orch broke: exit {p.returncode}\n{p.stdout[:2000]!r}\n{p.stderr[:2000]!r}")
    return out["content"], {"status": status, "exit_code": out.get("exit_code"), "elapsed_ms": ms}

if case["isolated"]:
    loopback_up()
    if case.get("names"):
        conf = os.path.join(state, "resolv.conf")
        with open(conf, "w") as f: f.write("nameserver 127.0.0.1\n")
        subprocess.run(["mount", "--bind", conf, "/etc/resolv.conf"], check=True)
        background(sys.executable, os.path.join(corpus, "dns.py"), json.dumps(case["names"]), os.path.join(state, "ready-dns"))
try:
    servers = 1 if case.get("names") else 0
    await_servers(servers)
    for command in case["setup"]:
        shell(command)
        servers += command.count("/srv.py ")
        await_servers(servers)
    with open(result, "w", newline="") as f:
        for _ in range(case["repeat"]):
            content, seen = call()
            f.write(content)
    with open(meta, "w") as f: json.dump(seen, f)
    verdict = shell(case["check"])
    if verdict != 0:
        print(f"{case['id']} ({case['expect']}): {case['why']}\n  {json.dumps(seen)}\n  {open(result, newline='').read()[:600]!r}")
finally:
    if os.path.exists(pids):
        for pid in open(pids).read().split():
            try: os.kill(int(pid), signal.SIGKILL)
            except OSError: pass
sys.exit(0 if verdict == 0 else 1)
