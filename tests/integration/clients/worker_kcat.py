"""kcat as producer and consumer: the program itself, driven through its pipes.

-E: it does not end because all brokers are away for a moment. As a producer it can set no timestamps and only headers that are the same for
all records of a run, so records are sent in one run per partition; as a consumer it prints headers without their sizes, so they are left out of the digest and looked at by test_clients.py.
"""
import json
import os
import re
import signal
import subprocess
import time

import records

report = records.Report()
BROKERS = int(os.environ.get("BROKERS", "1"))
HAS_KILLS = os.environ.get("KILLS", "0") != "0"
DELIMITER = b"\x01<balsa>\x02"
KEY_DELIMITER = b"\x03<key>\x04"


def version():
    text = subprocess.run(["kcat", "-V"], capture_output=True, text=True, check=False).stdout
    report.note("version kcat " + re.search(r"Version (\S+)", text).group(1) + " (librdkafka " + re.search(r"librdkafka (\S+)", text).group(1) + ")")


def produce(broker, topic, path, codec, acks, idempotent):
    runs = {}
    sent = 0
    for partition, _, key, value, _ in records.read(path):
        runs.setdefault(partition, []).append((key or b"") + KEY_DELIMITER + (value or b"") + DELIMITER)
        sent += 1
    errors = []
    for partition, messages in sorted(runs.items()):
        done = subprocess.run(["kcat", "-P", "-E", "-b", broker, "-t", topic, "-p", str(partition), "-z", codec, "-D", DELIMITER, "-K", KEY_DELIMITER,
                               "-Z", "-H", "from=kcat", "-H", "empty=", "-X", f"acks={acks}", "-X", f"enable.idempotence={'true' if idempotent == '1' else 'false'}",
                               "-X", "message.max.bytes=1048588", "-X", "linger.ms=20"],
                              input=b"".join(messages), capture_output=True, timeout=600, check=False)
        # that a broker is gone is said, and no harm
        if done.returncode or b"Delivery failed" in done.stderr or (done.stderr and not HAS_KILLS):
            errors.append(done.stderr.decode(errors="replace"))
    report.check(not errors, f"{sent} sent {errors[:3]}")


def consume(broker, out, *topics):
    digests = records.Digests(out)
    for topic in topics:
        process = subprocess.Popen(["kcat", "-C", "-q", "-e", "-E", "-b", broker, "-t", topic, "-o", "beginning", "-X", "auto.offset.reset=error", "-X", "fetch.wait.max.ms=50",
                                    "-f", "%p %o %T %K %S\n%k%s"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while True:
            line = process.stdout.readline()
            if not line:
                break
            partition, offset, timestamp, key_size, size = (int(word) for word in line.split())
            key = None if key_size < 0 else process.stdout.read(key_size)
            value = None if size < 0 else process.stdout.read(size)
            digests.add(topic, partition, offset, timestamp, key, value, None)
        report.check(process.wait() == 0, f"{topic} read to its end {process.stderr.read().decode(errors='replace')}")
    digests.close()


def headers(broker, topic):
    """What kcat says about headers of all records of a topic, as a set."""
    text = subprocess.run(["kcat", "-C", "-q", "-e", "-b", broker, "-t", topic, "-o", "beginning", "-f", "%h\n"],
                          capture_output=True, timeout=120, check=True).stdout
    text = text.decode(errors="replace")  # values are cut out of a text anywhere, also within a letter
    print("headers " + json.dumps(sorted(set(text.split("\n")))))


def offsets(broker, topic, *times):
    def ask(what, partitions):
        text = subprocess.run(["kcat", "-Q", "-b", broker] + [word for p in partitions for word in ("-t", f"{topic}:{p}:{what}")],
                              capture_output=True, text=True, timeout=60, check=True).stdout
        return {int(p): int(o) for p, o in re.findall(r"\[(\d+)\] offset (-?\d+)", text)}

    listed = json.loads(subprocess.run(["kcat", "-L", "-J", "-b", broker, "-t", topic], capture_output=True, timeout=60, check=True).stdout)
    partitions = [p["partition"] for p in listed["topics"][0]["partitions"]]
    answer = {"earliest": ask(-2, partitions), "latest": ask(-1, partitions)}
    answer.update({t: ask(t, partitions) for t in times})
    print("offsets " + json.dumps(answer))


def admin(broker):
    listed = json.loads(subprocess.run(["kcat", "-L", "-J", "-b", broker], capture_output=True, timeout=60, check=True).stdout)
    report.check(len(listed["brokers"]) == BROKERS and listed["controllerid"] in [b["id"] for b in listed["brokers"]],
                 "the brokers and their controller are listed")
    done = subprocess.run(["kcat", "-C", "-e", "-b", broker, "-t", "nowhere-kcat"], capture_output=True, text=True, timeout=60, check=False)
    report.check(done.returncode != 0 and "Unknown topic" in done.stderr, f"an unknown topic is an error: {done.stderr[-200:]}")
    listed = json.loads(subprocess.run(["kcat", "-L", "-J", "-b", broker], capture_output=True, timeout=60, check=True).stdout)
    report.check("nowhere-kcat" not in [t["topic"] for t in listed["topics"]], "and is not created by it")


def member(broker, topic, group, commit):
    """kcat commits by itself, after five seconds (its -X hands auto.commit.interval.ms to the topic, where it does nothing) and when it leaves; it
    leaves when it is interrupted. So both ways to commit are the same here."""
    leaving = records.Leaving()
    process = subprocess.Popen(["kcat", "-G", group, "-q", "-b", broker, "-X", "auto.offset.reset=earliest", "-X", "session.timeout.ms=6000",
                                "-X", "heartbeat.interval.ms=500", "-u", "-f", "have %p %o\n", topic], preexec_fn=records.die_with_parent)
    while process.poll() is None:
        if leaving.is_asked:
            process.send_signal(signal.SIGINT)
            process.wait(30)
        time.sleep(0.05)
    print("left" if leaving.is_asked else f"kcat ended: {process.returncode}", flush=True)


records.run({"member": member, "version": version, "produce": produce, "consume": consume, "offsets": offsets, "headers": headers, "admin": admin})
