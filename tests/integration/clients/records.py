"""Records as the client programs exchange them, whatever their language: files of frames, and digests of what was consumed.

A frame, all numbers big-endian, size -1 for null:
    u32 size of the rest | u32 partition | body
    body = i64 timestamp | i32 size, key | i32 size, value | u32 count | count times (i32 size, name | i32 size, value)

A consumer writes one file per partition, OUT/<topic>-<partition>, of one entry per record:
    i64 offset | i64 timestamp | 8 bytes: SHA-1 of the body, cut | 8 bytes: SHA-1 of key and value with their sizes, cut
A consumer that cannot see headers exactly leaves the first digest 0.
"""
import functools
import glob
import hashlib
import os
import random
import struct
import ctypes
import signal
import sys
import time

ENTRY = struct.Struct(">qq8s8s")
EDGES = (0, 1, 2, 63, 64, 127, 128, 1023, 1024, 1025, 16383, 16384, 65535, 65536, 65537, 262144, 999000, 1000000)
NAMES = ("trace", "type", "n", "", "größe", "x" * 40)


def soon(condition, brokers):
    """Of several brokers the one that is asked may hear of a change a moment later than the one that made it; so may the next one."""
    end = time.monotonic() + (10 if brokers > 1 else 0)
    while not (is_so := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return is_so


def field(data):
    return struct.pack(">i", -1) if data is None else struct.pack(">i", len(data)) + data


def body(timestamp, key, value, headers):
    """Headers are (name in bytes, value) in order."""
    key_value = field(key) + field(value)
    return key_value, b"".join([struct.pack(">q", timestamp), key_value, struct.pack(">I", len(headers)),
                                *[field(part) for header in headers for part in header]])


def digest(data):
    return hashlib.sha1(data).digest()[:8]


@functools.lru_cache(maxsize=None)
def pool():
    """Text and noise, 2 MiB each: values are cut out of it, some compress well and some not at all."""
    text = bytearray()
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    for name in sorted(glob.glob(os.path.join(root, "*", "*.[ch]"))):
        with open(name, "rb") as file:
            text += file.read()
        if len(text) >= 2 << 20:
            break
    text = bytes(text) * (1 + (2 << 20) // len(text))
    return text[:2 << 20] + random.Random(4711).randbytes(2 << 20)


def _size(rng):
    kind = rng.random()
    if kind < 0.05:
        return 0
    if kind < 0.70:
        return rng.randrange(1, 100)
    if kind < 0.94:
        return rng.randrange(100, 1000)
    if kind < 0.998:
        return rng.randrange(1000, 4000)
    if kind < 0.99998:
        return rng.randrange(4000, 100000)
    return rng.randrange(100000, 1000001)


def generate(seed, count, partitions, now_ms, is_strict=False):
    """Yields (partition, timestamp, key, value, headers), the edge cases of sizes first. Strict: no header without a value, and no
    record with neither key nor value."""
    rng = random.Random(seed)
    data = pool()
    start = now_ms - 24 * 3600 * 1000
    for number in range(count):
        size = EDGES[number] if number < len(EDGES) else _size(rng)
        at = rng.randrange(len(data) - size)
        value = None if number >= len(EDGES) and rng.random() < 0.02 else data[at:at + size]
        kind = rng.random()
        key = None if kind < 0.3 else b"" if kind < 0.32 else data[at:at + 1 + at % 40] if kind < 0.4 else b"key-%d" % (at % 5000)
        if is_strict and key is None and value is None:
            key = b"key"
        names = []
        if rng.random() < 0.3:
            for name in sorted(rng.sample(NAMES, rng.randrange(1, 4))):
                for _ in range(1 + (rng.random() < 0.1)):
                    what = rng.random()
                    text = None if what < 0.1 and not is_strict else b"" if what < 0.2 else data[at // 2:at // 2 + at % 50]
                    names.append((name.encode(), text))
        timestamp = start + number * 10 + rng.randrange(-2000, 2000)
        yield rng.randrange(partitions), timestamp, key, value, names


def write(path, records):
    """Writes frames; returns what a consumer must find: {partition: [entries without offset]}, and bytes of keys and values."""
    expected = {}
    size = 0
    with open(path, "wb") as file:
        for partition, timestamp, key, value, headers in records:
            key_value, whole = body(timestamp, key, value, headers)
            file.write(struct.pack(">II", 4 + len(whole), partition) + whole)
            expected.setdefault(partition, []).append((timestamp, digest(whole), digest(key_value)))
            size += len(key or b"") + len(value or b"")
    return expected, size


def read(path):
    """Yields (partition, timestamp, key, value, headers)."""
    with open(path, "rb") as file:
        while True:
            head = file.read(8)
            if not head:
                return
            size, partition = struct.unpack(">II", head)
            data = file.read(size - 4)
            timestamp, = struct.unpack_from(">q", data)
            at = 8

            def take():
                nonlocal at
                length, = struct.unpack_from(">i", data, at)
                at += 4
                if length < 0:
                    return None
                at += length
                return data[at - length:at]

            key = take()
            value = take()
            count, = struct.unpack_from(">I", data, at)
            at += 4
            yield partition, timestamp, key, value, [(take(), take()) for _ in range(count)]


class Digests:
    """What a consumer found, written where compare() looks for it."""

    def __init__(self, out):
        self.out = out
        self.files = {}

    def add(self, topic, partition, offset, timestamp, key, value, headers):
        file = self.files.get((topic, partition))
        if file is None:
            file = self.files[topic, partition] = open(os.path.join(self.out, f"{topic}-{partition}"), "wb")
        key_value, whole = body(timestamp, key, value, headers or [])
        file.write(ENTRY.pack(offset, timestamp, bytes(8) if headers is None else digest(whole), digest(key_value)))

    def close(self):
        for file in self.files.values():
            file.close()


def found(out, topic, partition):
    """The entries of one partition: [(offset, timestamp, digest, digest of key and value)]."""
    path = os.path.join(out, f"{topic}-{partition}")
    if not os.path.exists(path):
        return []
    with open(path, "rb") as file:
        return list(ENTRY.iter_unpack(file.read()))


def compare(expected, entries, any_time=False):
    """None if the entries are the expected ones, at offsets dense from 0; else what is wrong with the first that is not."""
    for offset, (want, have) in enumerate(zip(expected, entries)):
        if have[0] != offset:
            return f"offset {have[0]} where {offset} was due"
        if not any_time and have[1] != want[0]:
            return f"offset {offset}: timestamp {have[1]} instead of {want[0]}"
        if have[3] != want[2]:
            return f"offset {offset}: other key or value"
        if not any_time and have[2] != bytes(8) and have[2] != want[1]:
            return f"offset {offset}: other headers"
    if len(expected) != len(entries):
        return f"{len(entries)} records where {len(expected)} were due"
    return None


class Report:
    """What a client program says: one line per claim, read by test_clients.py."""

    def __init__(self):
        self.is_good = True

    def check(self, condition, what):
        self.is_good &= bool(condition)
        print(f"{'ok' if condition else 'FAIL'} {what}", flush=True)

    @staticmethod
    def note(what):
        print(f"note {what}", flush=True)

    def expect(self, call, name, what):
        """The call must fail with an error whose text or type contains the name."""
        try:
            result = call()
        except Exception as error:  # pylint: disable=broad-except
            text = f"{type(error).__name__} {error}"
            self.check(name.lower() in text.lower(), f"{what}: {text[:200]}")
        else:
            self.check(False, f"{what}: no error but {result}")


class Leaving:
    """Tells a member of a group that it shall leave: SIGTERM was sent."""

    def __init__(self):
        self.is_asked = False
        signal.signal(signal.SIGTERM, self.ask)

    def ask(self, *_):
        self.is_asked = True


def die_with_parent():
    """For programs that a member is made of: kill -9 of the member is theirs as well (prctl PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def have(partition, offset):
    """A member of a group has read a record; what it says before it commits counts as read."""
    print(f"have {partition} {offset}", flush=True)


def run(commands):
    """main of a client program: COMMAND ARGUMENT..."""
    commands[sys.argv[1]](*sys.argv[2:])
