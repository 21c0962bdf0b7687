#!/usr/bin/env python3
# dns.py TABLE READY: a name server on 127.0.0.1:53, which makes the file READY when it can be asked. TABLE is JSON,
# {name: [[addresses of the first answer], [of the second], ...]};
# the last answer is repeated. Other names do not exist.
import json, socket, struct, sys
table = json.loads(sys.argv[1]); asked = {}
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("127.0.0.1", 53)); s.settimeout(120)
open(sys.argv[2], "w").close()
while True:
    try: q, peer = s.recvfrom(4096)
    except Exception: break
    labels, at = [], 12
    while q[at]:
        labels.append(q[at + 1:at + 1 + q[at]].decode("latin1").lower()); at += 1 + q[at]
    kind = struct.unpack(">H", q[at + 1:at + 3])[0]; question = q[12:at + 5]; name = ".".join(labels)
    answers = table.get(name); found = []
    if answers:
        turn = asked[name, kind] = asked.get((name, kind), -1) + 1
        for a in answers[min(turn, len(answers) - 1)]:
            v6 = ":" in a
            if kind == (28 if v6 else 1):
                found.append(b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 0, 16 if v6 else 4)
                             + socket.inet_pton(socket.AF_INET6 if v6 else socket.AF_INET, a))
    flags = 0x8180 if answers else 0x8183
    s.sendto(q[:2] + struct.pack(">HHHHH", flags, 1, len(found), 0, 0) + question + b"".join(found), peer)
