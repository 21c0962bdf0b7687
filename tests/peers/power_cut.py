#!/usr/bin/env python3
"""Cuts the power of a store at every moment of real runs, and looks what is left of it.

usage: power_cut.py ORCH [--seed N]

A library that is loaded into ORCH notes every write, truncation and sync of the store's two files, and the body of every
request to the model. From these notes the files are made as a disk may hold them after a power cut at each moment: what
was synced, and of what was not, nothing, all, one file's alone, or some of its sectors. Each must be a sound database that
has every request that was made by then in its ledger, totals that are the sum of its attempts, and every turn whose process
had ended. At last the same is judged with one file's syncs left out: then faults must be found.

Needs a C compiler, and an ORCH that loads libraries: not one that is linked statically. Fails with what was wrong first.
"""

import argparse
import http.server
import json
import os
import pathlib
import random
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading

# Notes are `kind, file, offset or length, size` and what was written: w, t(runcated), b(egan to sync), s(ynced), P(OST).
LIBRARY = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#define REAL(name) static __typeof__(name) *real; if (!real) real = dlsym(RTLD_NEXT, #name)
static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
static void note(char kind, int file, int64_t at, int64_t size, const void *data) {
    static int notes = -1;
    if (notes < 0) notes = open(getenv("NOTES"), O_WRONLY | O_APPEND | O_CREAT, 0600);
    char head[24] = {kind, file};
    memcpy(head + 8, &at, 8);
    memcpy(head + 16, &size, 8);
    struct iovec parts[2] = {{head, 24}, {(void *)data, size}};
    REAL(writev);
    pthread_mutex_lock(&one);
    if (real(notes, parts, data ? 2 : 1) < 24) abort();
    pthread_mutex_unlock(&one);
}
static int file_of(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    path[size < 0 ? 0 : size] = 0;
    const char *name = strrchr(path, '/');
    return !name ? 0 : !strcmp(name, "/orch.db") ? 1 : !strcmp(name, "/orch.db-wal") ? 2 : 0;
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    REAL(pwrite64);
    int file = file_of(fd);
    ssize_t done = real(fd, data, size, at);
    if (file && done > 0) note('w', file, at, done, data);
    return done;
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return pwrite64(fd, data, size, at); }
#define SYNC(name) int name(int fd) { REAL(name); int file = file_of(fd); if (file) note('b', file, 0, 0, 0); \
    int done = real(fd); if (file && !done) note('s', file, 0, 0, 0); return done; }
SYNC(fdatasync)
SYNC(fsync)
int ftruncate64(int fd, off64_t size) {
    REAL(ftruncate64);
    int file = file_of(fd), done = real(fd, size);
    if (file && !done) note('t', file, size, 0, 0);
    return done;
}
int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }
// A server acts on a request once it has its body, which is a JSON object.
static void sent(int fd, const struct iovec *parts, int count) {
    int kind;
    socklen_t size = sizeof kind;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &kind, &size)) return;
    for (int part = 0; part < count; part++) {
        const char *data = parts[part].iov_base;
        if (!parts[part].iov_len) continue;
        if (*data == '{' || memmem(data, parts[part].iov_len, "\r\n\r\n{", 5)) return note('P', 0, 0, 0, 0);
    }
}
#define ONE(data, size) &(struct iovec){(void *)data, size}, 1
ssize_t send(int fd, const void *data, size_t size, int flags) {
    REAL(send);
    sent(fd, ONE(data, size));
    return real(fd, data, size, flags);
}
ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    sent(fd, ONE(data, size));
    return real(fd, data, size);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    sent(fd, parts, count);
    return real(fd, parts, count);
}
"""
HEAD = struct.Struct("<cB6xqq")
EXITED = HEAD.pack(b"E", 0, 0, 0)
FILES = (1, 2)
NAMES = {1: "orch.db", 2: "orch.db-wal"}


class Model(http.server.BaseHTTPRequestHandler):
    """Answers every request in the same way."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        choice = {"message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 10, "completion_tokens": 5}
        chunk = {"choices": [{"delta": choice["message"], "finish_reason": "stop"}], "usage": usage}
        body = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode()
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def events(notes):
    at = 0
    while at < len(notes):
        kind, file, place, size = HEAD.unpack_from(notes, at)
        at += HEAD.size
        yield kind.decode(), file, place, notes[at : at + size]
        at += size


def apply(content, event):
    kind, _, at, data = event
    if kind == "w":
        content.extend(bytes(max(0, at - len(content))))
        content[at : at + len(data)] = data
    else:
        del content[at:]
        content.extend(bytes(at - len(content)))


def sectors(event):
    """What may reach the disk of a write, each part alone."""
    kind, file, at, data = event
    if kind != "w":
        return [event]
    edges = [0, *range(512 - at % 512, len(data), 512), len(data)]
    return [(kind, file, at + a, data[a:b]) for a, b in zip(edges, edges[1:])]


def images(synced, behind, chance):
    """The files as they may be found."""

    def image(take):
        made = {file: bytearray(synced[file]) for file in FILES}
        for file in FILES:
            for event in behind[file]:
                for part in sectors(event) if take == "some" else [event]:
                    if take == "all" or take == file or (take == "some" and chance.random() < 0.5):
                        apply(made[file], part)
        return made

    yield "what was synced", image("none")
    if any(behind.values()):
        for take in ("all", *FILES, "some", "some"):
            yield f"and {NAMES.get(take, take)}", image(take)


def fault(directory, image, posts, ended):
    """What is wrong with files that were found; nothing in most cases."""
    for path in directory.iterdir():
        path.unlink()
    for file in FILES:
        (directory / NAMES[file]).write_bytes(image[file])
    try:
        database = sqlite3.connect(directory / NAMES[1])
        one = lambda query: database.execute(query).fetchone()
        if one("PRAGMA quick_check") != ("ok",):
            return "the database is damaged"
        if one("SELECT count(*) FROM sqlite_schema") == (0,):
            return f"{posts} requests, and no table" if posts else None
        if one("SELECT count(*) FROM attempts")[0] < posts:
            return f"fewer attempts than {posts} requests"
        if one("SELECT count(*) FROM session_turns")[0] < ended:
            return f"fewer turns than {ended} runs"
        spent = one("SELECT ifnull(sum(iif(state = 'held', held, 0)), 0), ifnull(sum(cost), 0) FROM attempts")
        if spent != one("SELECT ifnull(sum(held), 0), ifnull(sum(spent), 0) FROM totals WHERE scope GLOB 'day/*'"):
            return "totals are not the sum of the attempts"
        return None
    except sqlite3.Error as error:
        return str(error)
    finally:
        database.close()


def judge(notes, chance, every, turns=True, unsynced=None):
    """Looks at every `every`th moment; the number of files that were looked at, and the first fault."""
    synced, behind = {f: bytearray() for f in FILES}, {f: [] for f in FILES}
    begun = dict.fromkeys(FILES, 0)
    posts = ended = looked = 0
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        for number, event in enumerate(events(notes)):
            kind, file = event[:2]
            if kind == "P":
                posts += 1
            elif kind == "E":
                ended += turns
            elif kind == "b":
                begun[file] = len(behind[file])
            elif kind == "s":
                # The file itself was made, whatever is left out.
                if file != unsynced or not synced[file]:
                    for done in behind[file][: begun[file]]:
                        apply(synced[file], done)
                    del behind[file][: begun[file]]
            else:
                behind[file].append(event)
            # Before the first page is whole SQLite has a journal beside it, which is not followed here.
            if not synced[1] or (number % every and kind not in "PE"):
                continue
            for what, image in images(synced, behind, chance):
                looked += 1
                wrong = fault(pathlib.Path(directory), image, posts, ended)
                if wrong:
                    return looked, f"event {number}, {what}: {wrong}"
    return looked, None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("orch", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    asked = parser.parse_args()
    chance = random.Random(asked.seed)
    print(f"seed {asked.seed}")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Model)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as made:
        place = pathlib.Path(made)
        source, library = place / "notes.c", place / "notes.so"
        source.write_text(LIBRARY)
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, source, "-ldl", "-lpthread"], check=True)

        def notes_of(times, agents, *args, lines=""):
            state, notes = place / "state", place / "notes"
            subprocess.run(["rm", "-rf", state, notes], check=True)
            url = f"http://127.0.0.1:{server.server_port}"
            config = place / "orch.yaml"
            config.write_text(
                f"providers: {{stub: {{kind: openai, base_url: '{url}', prices: {{m: {{input: 1, output: 2}}}}}}}}\nagents:\n"
                + "".join(f"  a{n}: {{role: R, provider: stub, model: m}}\n" for n in range(agents))
            )
            env = {"HOME": made, "PATH": os.environ["PATH"], "ORCH_STATE_DIR": state, "NOTES": notes}
            command = [asked.orch.resolve(), "--config", config, *args]
            for _ in range(times):
                run = {"env": env | {"LD_PRELOAD": library}, "cwd": made, "input": lines.encode()}
                subprocess.run(command, check=True, capture_output=True, **run)
                with notes.open("ab") as file:
                    file.write(EXITED)
            return notes.read_bytes()

        prompts = notes_of(60, 1, "--agent", "a0", "--prompt", "hello")
        session = "".join("hello\n" + "/new\n" * (n % 5 == 4) for n in range(600))
        failed = False
        for what, notes, every, turns in [
            ("60 prompts, one after the other", prompts, 1, True),
            ("16 agents at once, eight times", notes_of(8, 16, "--all", "--prompt", "hello"), 5, False),
            ("a session of 600 prompts", notes_of(1, 1, lines=session), 100, False),
        ]:
            looked, wrong = judge(notes, chance, every, turns)
            print(f"{what}: {looked} power cuts, {wrong or 'nothing lost'}")
            failed |= wrong is not None
        for file, name in NAMES.items():
            looked, wrong = judge(prompts, chance, 1, unsynced=file)
            print(f"without the syncs of {name}: {wrong or 'NOTHING FOUND'}")
            failed |= wrong is None
    sys.exit(failed)


if __name__ == "__main__":
    main()
