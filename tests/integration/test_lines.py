"""A file of text lines through `kcat -P -l` and `kcat -C`: what comes out is the same file, byte by byte.

The lines are real ones, of this repository and of the texts, sources and licences of the system, gathered to BYTES; from the
second round on each line carries the round's number, so that repeated lines differ. kcat itself drops empty lines: there are none.
BYTES=1000000000 for the long run.
"""
import filecmp
import os
import shutil
import subprocess
import tempfile
import time

import balsa

BYTES = int(os.environ.get("BYTES", "50000000"))
LIMIT_S = 120 + BYTES // 2_000_000
PLACES = (balsa.ROOT, "/usr/share/common-licenses", "/usr/share/doc", "/usr/share/perl", "/usr/share/dict", "/usr/include", "/usr/lib/python3")
LINE_SIZE_MAX = 100_000
# topic: kcat's options
CASES = {
    "plain": [],
    "idempotent-zstd": ["-z", "zstd", "-X", "enable.idempotence=true"],
}


def files():
    for place in PLACES:
        for directory, names, entries in sorted(os.walk(place)):
            names[:] = sorted(name for name in names if name not in ("build", ".git"))
            for entry in sorted(entries):
                path = os.path.join(directory, entry)
                if os.path.isfile(path) and os.path.getsize(path) < 10_000_000:
                    yield path


def lines_of(path):
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        return []
    if b"\0" in data:
        return []
    return [line for line in data.split(b"\n") if 0 < len(line) < LINE_SIZE_MAX]


def write_text(path):
    """Returns (bytes, lines)."""
    size = count = turn = 0
    with open(path, "wb") as out:
        while size < BYTES:
            before = size
            suffix = b" #%d\n" % turn if turn else b"\n"
            for source in files():
                chunk = b"".join(line + suffix for line in lines_of(source))
                count += chunk.count(b"\n")
                size += out.write(chunk)
                if size >= BYTES:
                    break
            if size == before:
                raise RuntimeError("no text was found")
            turn += 1
    return size, count


def through(broker, topic, options, path, out_path, size):
    start = time.monotonic()
    done = subprocess.run(["kcat", "-P", "-b", broker.address, "-t", topic, "-p", "0", *options, "-l", path], capture_output=True,
                          timeout=LIMIT_S, check=False)
    produced = time.monotonic()
    balsa.check(done.returncode == 0 and not done.stderr, f"{topic}: produce: {done.stderr[-300:]}")
    with open(out_path, "wb") as out:
        done = subprocess.run(["kcat", "-C", "-q", "-e", "-b", broker.address, "-t", topic, "-p", "0", "-o", "beginning", "-X",
                               "queued.min.messages=1000000"], stdout=out,
                              stderr=subprocess.PIPE, timeout=LIMIT_S, check=False)
    consumed = time.monotonic()
    balsa.check(done.returncode == 0, f"{topic}: consume: {done.stderr[-300:]}")
    balsa.check(filecmp.cmp(path, out_path, shallow=False), f"{topic}: {os.path.getsize(out_path)} bytes came out, {size} went in")
    print(f"  {topic}: in {size / 1e6 / (produced - start):.0f} MB/s, out {size / 1e6 / (consumed - produced):.0f} MB/s", flush=True)


def main():
    if not balsa.have("kcat"):
        balsa.skip("lines", "kcat is not installed")
        balsa.finish()
    directory = tempfile.mkdtemp(prefix="balsa-lines-")
    try:
        path = os.path.join(directory, "in")
        size, count = write_text(path)
        print(f"  {count} lines, {size} bytes", flush=True)
        with balsa.Broker(shards=2, settings={"log.segment.bytes": 64 << 20}) as broker:
            for topic, options in CASES.items():
                through(broker, topic, options, path, os.path.join(directory, "out"), size)
            print(f"  resident: {broker.resident_kib() >> 10} MiB", flush=True)
            balsa.check(broker.stop() == 0, "clean stop")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    balsa.finish()


main()
