"""Real clients: what one produces comes out of every other as it went in, in order, at offsets dense from 0.

Each client writes RECORDS records of 0 bytes to 1 MB, with keys, headers and timestamps, with every codec, plain and idempotent, with
acks 0, 1 and all, to topics that it creates by asking for them; then each client reads all that all have written, by assignment.
Besides, each looks offsets up by time and uses the administration it offers. The programs are in clients/, one for each library.

RECORDS=1000000 for the long run; CLIENTS="kcat kafkajs" for some of them; WRITE_TABLE=1 renews docs/COMPATIBILITY.md.
"""
import collections
import glob
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

import balsa
import kafka_dump

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "clients"))
import matrix  # noqa: E402
import prepare  # noqa: E402
import records  # noqa: E402

RECORDS = int(os.environ.get("RECORDS", "20000"))
CLIENTS = os.environ.get("CLIENTS", " ".join(prepare.MAKERS)).split()
SHARDS = int(os.environ.get("SHARDS", "2"))
LIMIT_S = 120 + RECORDS // 500
PARTITIONS = 4
KCAT_HEADERS = [(b"from", b"kcat"), (b"empty", b"")]

# These answer the end of the partition when no record is as late as asked.
END_FOR_NONE = {"kafkajs", "franz-go"}

rows = collections.defaultdict(dict)


def worker(client, command, *args, limit_s=LIMIT_S):
    """Runs one command of a client's program, counts its claims, returns its notes and the seconds it took."""
    start = time.monotonic()
    try:
        done = subprocess.run([*command, *args], capture_output=True, text=True, errors="replace", timeout=limit_s, check=False)
    except subprocess.TimeoutExpired as error:
        balsa.check(False, f"{client} {' '.join(args[:4])}: no end after {limit_s} s: {str(error.stdout)[-400:]} {str(error.stderr)[-400:]}")
        return [], limit_s
    took = time.monotonic() - start
    notes = []
    for line in done.stdout.splitlines():
        if line.startswith(("ok ", "FAIL ")):
            balsa.check(line.startswith("ok "), f"{client} {args[0]}: {line[5:]}")
        else:
            notes.append(line)
    balsa.check(done.returncode == 0, f"{client} {' '.join(args[:4])}: exit {done.returncode}: {done.stderr[-2000:]}")
    return notes, took


class Input:
    """The records of each way, for strict clients and for others."""

    def __init__(self, directory):
        self.paths = {}
        self.expected = {}
        self.counts = {}
        now_ms = int(time.time() * 1000)
        for seed, (way, (_, _, _, share)) in enumerate(matrix.WAYS.items()):
            for is_strict in (False, True):
                path = os.path.join(directory, f"{way}-{is_strict}")
                made = records.generate(seed, int(RECORDS * share), PARTITIONS, now_ms, is_strict=is_strict)
                self.expected[way, is_strict], _ = records.write(path, made)
                self.paths[way, is_strict] = path
                self.counts[way] = int(RECORDS * share)

    def of(self, client, way):
        is_strict = client in matrix.STRICT
        return self.paths[way, is_strict], self.expected[way, is_strict]


def topic_of(client, way):
    return f"{client}-{way}"


def produce(broker, client, command, inputs):
    seconds = 0
    for way, (codec, acks, idempotent, _) in matrix.WAYS.items():
        path, _ = inputs.of(client, way)
        _, took = worker(client, command, "produce", broker.address, topic_of(client, way), path, codec, acks, idempotent)
        seconds += took
    total = sum(inputs.counts.values())
    rows[client]["produced"] = (total, seconds)
    print(f"  {client}: {total} produced in {seconds:.1f} s", flush=True)


def compare_kcat(path, entries, window):
    """kcat sets no timestamps, the same headers for all, and null for what is empty: rebuild what is due around the time that was found."""
    due = collections.defaultdict(list)
    for partition, _, key, value, _ in records.read(path):
        due[partition].append((key or None, value or None))
    for partition in range(PARTITIONS):
        expected = []
        for (key, value), entry in zip(due[partition], entries[partition]):
            key_value, whole = records.body(entry[1], key, value, KCAT_HEADERS)
            expected.append((entry[1], records.digest(whole), records.digest(key_value)))
            if not window[0] <= entry[1] <= window[1]:
                return f"partition {partition} offset {entry[0]}: timestamp {entry[1]}"
        if len(due[partition]) != len(entries[partition]):
            return f"partition {partition}: {len(entries[partition])} records where {len(due[partition])} were due"
        wrong = records.compare(expected, entries[partition])
        if wrong:
            return f"partition {partition}: {wrong}"
    return None


def consume(broker, client, command, producers, inputs, directory, window):
    out = os.path.join(directory, f"out-{client}")
    os.mkdir(out)
    topics = [topic_of(producer, way) for producer in producers for way in matrix.WAYS]
    _, took = worker(client, command, "consume", broker.address, out, *topics, limit_s=LIMIT_S * len(producers))
    total = 0
    for producer in producers:
        for way in matrix.WAYS:
            path, expected = inputs.of(producer, way)
            entries = {p: records.found(out, topic_of(producer, way), p) for p in range(PARTITIONS)}
            total += sum(len(e) for e in entries.values())
            if producer == "kcat":
                balsa.check((wrong := compare_kcat(path, entries, window)) is None, f"{client} reads {topic_of(producer, way)}: {wrong}")
                continue
            for partition in range(PARTITIONS):
                wrong = records.compare(expected.get(partition, []), entries[partition])
                balsa.check(wrong is None, f"{client} reads {topic_of(producer, way)}-{partition}: {wrong}")
    rows[client]["consumed"] = (total, took)
    print(f"  {client}: {total} consumed in {took:.1f} s", flush=True)
    shutil.rmtree(out)


def first_at(expected, timestamp):
    return next((offset for offset, entry in enumerate(expected) if entry[0] >= timestamp), -1)


def offsets(broker, client, command, producer, inputs):
    way = "gzip"
    _, expected = inputs.of(producer, way)
    times = sorted(entry[0] for p in expected for entry in expected[p])
    asked = [times[0] - 1, times[0], times[len(times) // 3], times[len(times) // 2] + 1, times[-1], times[-1] + 1]
    notes, _ = worker(client, command, "offsets", broker.address, topic_of(producer, way), *[str(t) for t in asked])
    answers = [json.loads(line[8:]) for line in notes if line.startswith("offsets ")]
    if not balsa.check(len(answers) == 1, f"{client}: offsets are answered"):
        return
    answer = answers[0]
    for partition, entries in expected.items():
        p = str(partition)
        what = f"{client}: partition {p}"
        balsa.check(answer["earliest"][p] == 0 and answer["latest"][p] == len(entries), f"{what}: first and last offset")
        for t in asked:
            due = first_at(entries, t)
            if due == -1 and client in END_FOR_NONE:
                due = len(entries)
            balsa.check(answer[str(t)][p] == due, f"{what}: offset for time {t} is {answer[str(t)][p]}, not {due}")
        if "max" in answer:
            highest = max(entry[0] for entry in entries)
            balsa.check(answer["max_time"][p] == highest and answer["max"][p] == first_at(entries, highest),
                        f"{what}: offset of the highest time is {answer['max'][p]} ({answer['max_time'][p]})")


def kcat_headers(broker, command, producer):
    notes, _ = worker("kcat", command, "headers", broker.address, topic_of("kcat", "lz4"))
    text = [json.loads(line[8:]) for line in notes if line.startswith("headers ")]
    balsa.check(text == [["", "from=kcat,empty="]], f"kcat prints the headers that it sent, not {text}")
    notes, _ = worker("kcat", command, "headers", broker.address, topic_of(producer, "lz4"))
    text = [json.loads(line[8:]) for line in notes if line.startswith("headers ")]
    balsa.check(text and any("größe=" in line for line in text[0]), f"kcat prints the headers of {producer}")


def dump(broker, clients):
    """Kafka's own dump tool on a partition of each client, each time another codec."""
    class_path, why = kafka_dump.prepare()
    if class_path is None or RECORDS > 100000:
        balsa.skip("dump", why or "too many records for the dump tool")
        return
    for client, way in zip(clients, itertools.cycle(matrix.WAYS)):
        directories = glob.glob(os.path.join(broker.data, "topics", f"{topic_of(client, way)}-1.*"))
        balsa.check(directories and kafka_dump.check_below(class_path, directories[0]) > 0, f"segments of {topic_of(client, way)} were dumped")


def table():
    lines = ["| client | version | produced and read back | read of all clients' | offsets | administration |", "|---|---|---|---|---|---|"]
    for client in rows:
        row = rows[client]
        lines.append(f"| {row['name']} | {row['version']} | {row['produced'][0]:,} records, {row['produced'][1]:.0f} s "
                     f"| {row['consumed'][0]:,} records, {row['consumed'][1]:.0f} s | {row['offsets']} | {row['admin']} |")
    return "\n".join(lines)


def check_document(ready):
    """What docs/COMPATIBILITY.md says of clients and versions is what is tested."""
    balsa.check(matrix.section(matrix.document(), "matrix") == matrix.table(), "docs/COMPATIBILITY.md tells what clients are tested with: WRITE_TABLE=1")
    results = matrix.section(matrix.document(), "clients")
    versions = matrix.pinned()
    for client in ready:
        name, version = rows[client]["name"], rows[client]["version"]
        pinned = versions.get(client, "")
        balsa.check(f"{version} ".startswith(f"{pinned} ".lstrip()), f"{client} is {version}, and {pinned} is to be tested")
        balsa.check(f"| {name} | {pinned}" in results, f"docs/COMPATIBILITY.md has results of {name} {pinned}")


def claims(call, *args):
    """Runs a part of the test and says how it went, for the table."""
    good, bad, _ = balsa.counts()
    call(*args)
    good_after, bad_after, _ = balsa.counts()
    return f"{good_after - good} claims" + (f", {bad_after - bad} broken" if bad_after > bad else "")


def main():
    ready, missing = prepare.commands(CLIENTS)
    for name, why in missing.items():
        balsa.skip(name, why)
    if not ready:
        balsa.finish()
    directory = tempfile.mkdtemp(prefix="balsa-clients-")
    try:
        inputs = Input(directory)
        with balsa.Broker(shards=SHARDS, settings={"num.partitions": PARTITIONS}) as broker:
            begin_ms = int(time.time() * 1000)
            for client, command in ready.items():
                notes, _ = worker(client, command, "version")
                words = " ".join(notes).removeprefix("note version ").split(" ")
                number = next(i for i, word in enumerate(words) if word[0].isdigit())
                rows[client].update(name=" ".join(words[:number]), version=" ".join(words[number:]))
                produce(broker, client, command, inputs)
            window = (begin_ms, int(time.time() * 1000))
            others = [name for name in ready if name != "kcat"]
            for client, command in ready.items():
                consume(broker, client, command, list(ready), inputs, directory, window)
                rows[client]["offsets"] = claims(offsets, broker, client, command, others[0], inputs) if others else ""
                rows[client]["admin"] = claims(worker, client, command, "admin", broker.address)
            if "kcat" in ready and others:
                kcat_headers(broker, ready["kcat"], others[0])
            print(f"  resident: {broker.resident_kib() >> 10} MiB", flush=True)
            balsa.check(broker.stop() == 0, f"clean stop: {broker.log_tail()}")
            dump(broker, ready)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print(table())
    if os.environ.get("WRITE_TABLE"):
        matrix.write("clients", table())
        matrix.write("matrix", matrix.table())
    check_document(ready)
    balsa.finish()


main()
