"""Damage on the disk of a killed broker: a flipped bit, a cut file, a missing file, in the write-ahead log, segments and indexes.

Each case works on a copy of one data directory. Allowed is a start that is refused, with a message that names file and position; or a
broker that runs and serves exactly the records that were acknowledged, at their offsets, except that a partition whose damage the log
names (file and position) may answer KAFKA_STORAGE_ERROR. One loss cannot be told from a torn write: the write-ahead log's last unit.
CASES=400 SEED=1 for a longer sweep.
"""
import collections
import glob
import os
import random
import shutil
import struct
import subprocess
import tempfile
import time

import balsa
import wire

CASES = int(os.environ.get("CASES", "60"))
SEED = int(os.environ.get("SEED", "1"))
PARTITIONS = 4
TOPIC = "damaged"
SETTINGS = {"num.partitions": PARTITIONS, "log.segment.bytes": 1 << 20, "log.index.interval.bytes": 4096, "balsa.wal.file.bytes": 32 << 20,
            "balsa.wal.max.bytes": 128 << 20, "balsa.checkpoint.interval.ms": 1000}
SHARDS = 2

outcomes = collections.Counter()


def fill(broker, rng):
    """Returns {partition: [values]}: some below the last checkpoint, some above it."""
    expected = {p: [] for p in range(PARTITIONS)}
    subprocess.run(["kcat", "-L", "-b", broker.address, "-t", TOPIC, "-X", "allow.auto.create.topics=true"], capture_output=True, timeout=30,
                   check=True)
    with wire.Client(broker.port) as client:
        for count in (900, 300):
            for _ in range(count):
                partition = rng.randrange(PARTITIONS)
                offset = len(expected[partition])
                values = [b"%d/%d:" % (partition, offset + n) + rng.randbytes(rng.choice((0, 10, 100, 1000))) for n in range(20)]
                error, base = client.produce(TOPIC, partition, wire.batch(values, timestamp=1000 + offset))
                if error != wire.NONE or base != offset:
                    raise RuntimeError(f"produce: error {error}, offset {base} instead of {offset}")
                expected[partition] += values
            if count == 900:
                time.sleep(2.5)  # two checkpoints
    return expected


def read_partition(client, partition):
    """(values, error at the end, what is wrong)."""
    values = []
    end = time.monotonic() + 10
    while True:
        error, high_watermark, data = client.fetch(TOPIC, partition, len(values))
        if error in (6, 78) and time.monotonic() < end:  # no leader yet, or it has not committed yet
            time.sleep(0.02)
            continue
        if error != wire.NONE:
            return values, error, None
        before = len(values)
        for base, is_good, found in wire.batches(data):
            if not is_good:
                return values, error, f"a bad batch is served at offset {base}"
            skip = len(values) - base
            if skip < 0:
                return values, error, f"offset {base} comes after {len(values) - 1}"
            values += found[skip:]
        if len(values) >= high_watermark:
            return values, error, None
        if len(values) == before:
            return values, error, f"nothing is served at offset {before}, high watermark {high_watermark}"


def names_place(log, path):
    """Whether a line of the log names the file and a position. Of a missing file of the write-ahead log the one behind it is named."""
    wanted = os.path.join(os.path.basename(os.path.dirname(path)), os.path.basename(path))
    lines = [line for line in log.splitlines() if "position" in line]
    return any(wanted in line or (not os.path.exists(path) and "files before are missing" in line) for line in lines)


def shard_of(name):
    """The shard of topics/<topic>-<n>.<group>/<segment>."""
    return (int(os.path.dirname(name).rsplit(".", 1)[1]) - 1) % SHARDS


def judge(what, broker, path, expected):
    before = listing(broker.data)
    try:
        broker.start(timeout_s=20)
    except RuntimeError:
        log = broker.log_tail(400)
        code = broker.process.poll()
        balsa.check(code is not None and code > 0, f"{what}: the start ends with {code}:\n{broker.log_tail(20)}")
        balsa.check(names_place(log, path), f"{what}: the refusal names {os.path.basename(path)} and a position:\n{broker.log_tail(4)}")
        outcomes["start refused"] += 1
        left = listing(broker.data)
        shard = int(os.path.basename(os.path.dirname(path))) if path.endswith(".wal") else None
        cut = [name for name, size in before.items() if name.endswith(".log") and left.get(name, -1) < size and shard_of(name) == shard]
        balsa.check(not cut, f"{what}: the refused start has cut {cut[:3]}, which perhaps nothing can write again")
        return
    is_wal = path.endswith(".wal")
    refused = lost = 0
    with wire.Client(broker.port) as client:
        for partition in range(PARTITIONS):
            where = f"{what}: partition {partition}"
            try:
                values, error, wrong = read_partition(client, partition)
            except (OSError, struct.error) as failure:
                balsa.check(False, f"{where}: {failure}: exit {broker.process.poll()}\n{broker.log_tail(20)}")
                return
            balsa.check(wrong is None, f"{where}: {wrong}")
            balsa.check(values == expected[partition][:len(values)], f"{where}: other records than were acknowledged")
            if error != wire.NONE:
                refused += 1
                balsa.check(error == wire.KAFKA_STORAGE_ERROR, f"{where}: error {error}")
                balsa.check(f"-{partition}." in path or is_wal, f"{where}: not the partition that is damaged")
            elif wrong is None and len(values) < len(expected[partition]):
                lost += len(expected[partition]) - len(values)
    log = broker.log_tail(400)
    if refused:
        balsa.check(names_place(log, path), f"{what}: the log names {os.path.basename(path)} and a position:\n{broker.log_tail(6)}")
    if lost:
        balsa.check(is_wal and lost <= 20, f"{what}: {lost} records are gone without an error:\n{broker.log_tail(8)}")
        balsa.check("torn" in log, f"{what}: the log tells of the cut tail:\n{broker.log_tail(8)}")
    outcomes["partition refused" if refused else "last unit cut" if lost else "all served"] += 1


def used_size(path):
    """Where the zeros at the end begin."""
    with open(path, "rb") as file:
        return len(file.read().rstrip(b"\0"))


def damage(rng, data):
    """Does one kind of damage to one file; returns (what it was, its path), or None if there is nothing to damage."""
    suffix = rng.choice(("log", "log", "wal", "wal", "index", "timeindex"))
    files = [path for path in sorted(glob.glob(os.path.join(data, "**", f"*.{suffix}"), recursive=True)) if used_size(path)]
    path = rng.choice(files)
    size = used_size(path)
    kind = rng.choice(("flip", "flip", "flip", "cut", "missing"))
    name = os.path.relpath(path, data)
    position = rng.choice((0, rng.randrange(size), rng.randrange(size), rng.randrange(size), size - 1))
    if kind == "flip":
        bit = rng.randrange(8)
        with open(path, "r+b") as file:
            file.seek(position)
            byte = file.read(1)[0]
            file.seek(position)
            file.write(bytes((byte ^ 1 << bit,)))
        return f"{name}: bit {bit} of byte {position} of {size}", path
    if kind == "cut":
        os.truncate(path, position)
        return f"{name}: cut to {position} of {size}", path
    os.unlink(path)
    return f"{name}: missing", path


def lose(pattern):
    def lose_it(data):
        for path in glob.glob(os.path.join(data, pattern)):
            if os.path.isdir(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)
    return lose_it


def cut(name):
    """To LMDB's two meta pages: there is always one behind them that is needed."""
    return lambda data: os.truncate(os.path.join(data, name), 8192)


# What is done, and what the refusal to start must name.
WHOLE = {
    "the local store is missing": (lose("local/data.mdb"), "local/data.mdb: position 0"),
    "the local store's directory is missing": (lose("local"), "local/data.mdb: position 0"),
    "the local store is empty": (lambda data: os.truncate(os.path.join(data, "local/data.mdb"), 0), "local/data.mdb: position 0"),
    "the local store is cut": (cut("local/data.mdb"), "local/data.mdb: position "),
    "the metadata store is missing": (lose("metadata/data.mdb"), "metadata/data.mdb: position 0"),
    "the metadata store is cut": (cut("metadata/data.mdb"), "metadata/data.mdb: position "),
    "a shard's log is missing": (lose("wal/0/1"), "wal/0/1"),
    "all logs are missing": (lose("wal"), "wal/0/"),
    "all but segments is missing": (lose("[!t]*"), "local/data.mdb: position 0"),
}


def refuses(directory, original):
    """More than a file of records is gone: nothing is made up, and nothing of what is left is thrown away."""
    for what, (lose_it, names) in WHOLE.items():
        data = os.path.join(directory, "whole")
        subprocess.run(["cp", "-a", "--sparse=always", original, data], check=True)
        lose_it(data)
        before = listing(data)
        broker = balsa.Broker(shards=SHARDS, data=data, settings=SETTINGS)
        for attempt in (1, 2):
            try:
                broker.start(timeout_s=20)
                balsa.check(False, f"{what}: the broker starts\n{broker.log_tail(10)}")
            except RuntimeError:
                code = broker.process.poll()
                balsa.check(code is not None and code > 0, f"{what}: the start ends with {code}:\n{broker.log_tail(10)}")
            balsa.check(names in broker.log_tail(1000), f"{what}: attempt {attempt}: the refusal names {names}:\n{broker.log_tail(3)}")
        left = listing(data)
        gone = [path for path, size in before.items() if path.startswith("wal/") and left.get(path) != size
                or path.endswith(".log") and path not in left]
        balsa.check(not gone, f"{what}: refusing threw away {gone[:3]}")
        broker.remove()
        os.unlink(broker.log_path)
        shutil.rmtree(data)


def listing(data):
    return {os.path.relpath(path, data): os.path.getsize(path) for path in glob.glob(os.path.join(data, "**"), recursive=True)
            if os.path.isfile(path)}


def main():
    try:
        import crc32c  # noqa: F401
    except ImportError as error:
        balsa.skip("damage", str(error))
        balsa.finish()
    if not balsa.have("kcat"):
        balsa.skip("damage", "kcat is not installed")
        balsa.finish()
    rng = random.Random(SEED)
    directory = tempfile.mkdtemp(prefix="balsa-damage-")
    try:
        original = os.path.join(directory, "original")
        os.mkdir(original)
        with balsa.Broker(shards=SHARDS, data=original, settings=SETTINGS) as broker:
            expected = fill(broker, rng)
            broker.kill()
        refuses(directory, original)
        for number in range(CASES):
            data = os.path.join(directory, f"case-{number}")
            subprocess.run(["cp", "-a", "--sparse=always", original, data], check=True)
            what, path = damage(rng, data)
            broker = balsa.Broker(shards=SHARDS, data=data, settings=SETTINGS)
            try:
                judge(f"seed {SEED}, case {number}: {what}", broker, path, expected)
            finally:
                broker.remove()
            os.unlink(broker.log_path)
            shutil.rmtree(data)
        print("  " + ", ".join(f"{count} {name}" for name, count in outcomes.items()), flush=True)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    balsa.finish()


main()
