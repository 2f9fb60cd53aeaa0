"""docs/OPERATIONS.md, procedure by procedure, on brokers that scripts/cluster starts: every script of scripts/ops does what the page says,
while records are written, and no acknowledged record is lost by any of it."""
import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import balsa
import history
from balsa import check, finish, skip, wait_until

BROKERS = 4
PARTITIONS = 4
LIMIT_S = 300
BALSACTL = os.path.join(os.path.dirname(balsa.BALSAD), "balsactl")


def free_base():
    """A port of which those that scripts/cluster derives are free as well."""
    while True:
        base = random.randrange(10000, 20000)
        try:
            for offset in (0, 100, 200, 10000):
                for number in range(BROKERS):
                    with socket.socket() as probe:
                        probe.bind(("127.0.0.1", base + offset + number))
            return base
        except OSError:
            continue


class Operator:
    """Runs scripts as a person would, with the environment that docs/OPERATIONS.md names."""

    def __init__(self):
        self.home = tempfile.mkdtemp(prefix="balsa-ops-")
        self.base = free_base()
        self.environment = {**{key: value for key, value in os.environ.items() if not key.startswith("BALSA_")}, "BALSA_HOME": self.home,
                            "BALSA_PORT": str(self.base), "BALSAD": balsa.BALSAD, "BALSACTL": BALSACTL}
        self.know(range(1, BROKERS + 1))

    def know(self, brokers):
        def every(offset):
            return ",".join(f"127.0.0.1:{self.base + offset + number - 1}" for number in brokers)
        self.bootstrap = every(0)
        self.environment.update({"BALSA_BOOTSTRAP": every(0), "BALSA_ADMIN": every(200), "BALSA_HTTP": every(100)})

    def run(self, *command, limit_s=LIMIT_S):
        """(exit code, what it said)"""
        program = os.path.join(balsa.ROOT, command[0])
        words = [program] if command[0] == "scripts/cluster" or not command[0].startswith("scripts") else [sys.executable, program]
        done = subprocess.run([*words, *map(str, command[1:])], capture_output=True, text=True, timeout=limit_s, env=self.environment, check=False)
        return done.returncode, done.stdout + done.stderr

    def must(self, *command):
        code, text = self.run(*command)
        check(code == 0, f"{' '.join(map(str, command))}: exit {code}:\n{text}")
        return text

    def ctl(self, *words):
        code, text = self.run(BALSACTL, "--output", "json", *words)
        return json.loads(text) if code == 0 and text.strip() else {}

    def data(self, number):
        return os.path.join(self.home, f"broker-{number}")

    def findings(self, *about):
        return [finding["code"] for finding in self.ctl("explain", *about).get("findings", [])]

    def remove(self):
        self.run("scripts/cluster", "down")
        if not (os.environ.get("KEEP") and balsa.counts()[1]):
            shutil.rmtree(self.home, ignore_errors=True)


def upgrade(operator, load):
    pids = set(re.findall(r"^ +\d+ +(\d+) ", operator.must("scripts/cluster", "status"), re.MULTILINE))
    text = operator.must("scripts/ops/rolling", os.path.join(balsa.ROOT, "scripts/cluster") + " stop $BROKER && " + os.path.join(balsa.ROOT, "scripts/cluster") +
                         " start $BROKER")
    check(f"all {BROKERS} restarted" in text, f"a rolling upgrade ends: {text}")
    after = set(re.findall(r"^ +\d+ +(\d+) ", operator.must("scripts/cluster", "status"), re.MULTILINE))
    check(len(pids) == len(after) == BROKERS and not pids & after, f"every broker is another process: {pids} {after}")
    check(load.wait_acked(1000), "records go on after an upgrade")
    code, text = operator.run("scripts/ops/rolling", "false", 2)
    check(code == 1 and "broker 2" in text, f"a command that fails ends it: {text}")


def lose_a_disk(operator):
    operator.must("scripts/cluster", "kill", 2)
    shutil.rmtree(operator.data(2))
    operator.must("scripts/cluster", "start", 2)
    operator.must("scripts/ops/wait")
    text = operator.must("scripts/ops/verify")
    check("alike" in text, f"replicas are alike after a lost disk: {text}")


def lose_a_broker(operator):
    operator.must("scripts/cluster", "kill", BROKERS)
    shutil.rmtree(operator.data(BROKERS))
    code, text = operator.run("scripts/ops/wait", 3)
    check(code == 1 and f"broker {BROKERS} is not alive" in text, f"a cluster that lacks a broker is not whole: {text}")
    text = operator.must("scripts/ops/remove-broker", BROKERS)
    check("forgotten" in text, f"a dead broker is removed: {text}")
    os.unlink(operator.data(BROKERS) + ".properties")
    operator.know(range(1, BROKERS))
    operator.must("scripts/ops/wait")
    check([broker["node_id"] for broker in operator.ctl("cluster", "status")["brokers"]] == [1, 2, 3], "three brokers are left")
    code, text = operator.run("scripts/ops/remove-broker", 3)
    check(code == 1 and "brokers left" in text, f"three replicas need three brokers: {text}")


def retire_a_broker(operator):
    """One that lives: it joins, takes replicas, and is stopped when the script says so."""
    operator.must("scripts/cluster", "up", BROKERS)
    operator.must(BALSACTL, "partition", "move", "orders", "0", f"{BROKERS},1,2")
    wait_until(lambda: not operator.ctl("partition", "moves").get("moves", [1]), 60, 0.2)
    text = operator.must(BALSACTL, "broker", "decommission", str(BROKERS), "--wait")
    check("no replicas any more" in text, f"a decommission is waited for: {text}")
    command = [sys.executable, os.path.join(balsa.ROOT, "scripts/ops/remove-broker"), str(BROKERS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=operator.environment) as process:
        said = []
        for line in process.stdout:
            said.append(line)
            if "stop it now" in line:
                operator.must("scripts/cluster", "stop", BROKERS)
    check(process.returncode == 0 and "0 replicas are to move" in said[0] and "forgotten" in said[-1], f"a broker that lives is retired: {said}")
    os.unlink(operator.data(BROKERS) + ".properties")


def lose_the_quorum(operator, load):
    for number in (2, 3):
        operator.must("scripts/cluster", "kill", number)
    found = wait_until(lambda: operator.findings("cluster")[:1] == ["NO_CONTROLLER"], 60, 0.2)
    check(found, f"the cluster has no quorum: {operator.findings('cluster')}")
    check(operator.findings("partition", "orders", "0")[:1] == ["NO_QUORUM"], f"nor has a partition: {operator.findings('partition', 'orders', '0')}")
    for number in (2, 3):
        operator.must("scripts/cluster", "start", number)
    operator.must("scripts/ops/wait")
    check(load.wait_acked(1000), "records go on when the quorum is back")


def contents(operator, topic):
    """{partition: [(offset, key, value, headers, time)]} and what the group has committed."""
    from confluent_kafka import Consumer, TopicPartition
    consumer = Consumer({"bootstrap.servers": operator.bootstrap, "group.id": "accountants", "enable.auto.commit": False, "auto.offset.reset": "error"})
    told = {}
    for number in range(PARTITIONS):
        start, end = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=60)
        consumer.assign([TopicPartition(topic, number, start)])
        told[number] = []
        while len(told[number]) < end - start:
            message = consumer.poll(60)
            told[number].append((message.offset(), message.key(), message.value(), message.headers(), message.timestamp()))
    committed = [(one.partition, one.offset) for one in consumer.committed([TopicPartition(topic, n) for n in range(PARTITIONS)], timeout=60)]
    consumer.close()
    return told, committed


def write_oddities(operator):
    """Records with what a backup could forget, and a group that has read some of them."""
    from confluent_kafka import Consumer, Producer, TopicPartition
    producer = Producer({"bootstrap.servers": operator.bootstrap})
    for number in range(300):
        producer.produce("ledger", None if number % 7 == 0 else b"\xff\0%d" % number, None if number % 5 == 0 else b"key %d" % number, number % PARTITIONS,
                         timestamp=1700000000000 + number, headers=[("h", b"\x80"), ("empty", None)] if number % 3 == 0 else None)
    check(producer.flush(60) == 0, "the ledger is written")
    consumer = Consumer({"bootstrap.servers": operator.bootstrap, "group.id": "accountants", "enable.auto.commit": False})
    consumer.commit(offsets=[TopicPartition("ledger", n, 10 + n) for n in range(PARTITIONS)], asynchronous=False)
    consumer.close()


def back_up_and_restore(operator):
    operator.must(BALSACTL, "topic", "create", "ledger", "--partitions", str(PARTITIONS), "--configs", "retention.ms=-1", "--configs",
                  "max.message.bytes=2000000")
    write_oddities(operator)
    before = contents(operator, "ledger")
    kept = os.path.join(operator.home, "backup")
    text = operator.must("scripts/ops/backup", kept)
    check("offsets of 1 groups" in text, f"a backup counts groups: {text}")
    check(operator.run("scripts/ops/backup", kept)[0] == 1, "a directory with a backup is not written to again")
    code, text = operator.run("scripts/ops/restore", kept, "ledger")
    check(code == 1 and "exists" in text, f"a topic that exists is not touched: {text}")
    cold_copy(operator, before)
    operator.must("scripts/cluster", "down")
    for number in (1, 2, 3):
        shutil.rmtree(operator.data(number))
    operator.must("scripts/cluster", "up", 3)
    check(operator.ctl("topic", "list").get("topics") == [], "a new cluster is empty")
    operator.must("scripts/ops/restore", kept)
    after = contents(operator, "ledger")
    check(after[0] == before[0], "every record is as it was")
    check(after[1] == before[1] == [(n, 10 + n) for n in range(PARTITIONS)], f"what a group had committed is: {after[1]}")
    configs = {config["name"]: config["value"] for config in operator.ctl("topic", "describe", "ledger")["configs"]}
    check(configs == {"retention.ms": "-1", "max.message.bytes": "2000000"}, f"and the configuration: {configs}")


def cold_copy(operator, before):
    """All brokers stopped, all directories copied; then every disk is lost."""
    operator.must("scripts/cluster", "down")
    for number in (1, 2, 3):
        shutil.copytree(operator.data(number), operator.data(number) + ".copy")
        shutil.rmtree(operator.data(number))
    for number in (1, 2, 3):
        os.rename(operator.data(number) + ".copy", operator.data(number))
    operator.must("scripts/cluster", "up", 3)
    operator.must("scripts/ops/wait")
    check(contents(operator, "ledger") == before, "a cold copy of all brokers is the cluster as it was")


def size(operator):
    """What scripts/ops/size says of records is what they take."""
    told = operator.must("scripts/ops/size", "1M", "100", 3, 3)
    check("records and indexes          0.1 GB" in told, f"100 MB are 0.1 GB on each of three brokers: {told}")
    sent = sum(topic.stat().st_size for number in (1, 2, 3) for folder in os.scandir(os.path.join(operator.data(number), "topics"))
               for topic in os.scandir(folder.path) if topic.name.endswith(".log"))
    indexes = sum(topic.stat().st_size for number in (1, 2, 3) for folder in os.scandir(os.path.join(operator.data(number), "topics"))
                  for topic in os.scandir(folder.path) if topic.name.endswith("index"))
    check(sent > 1e6 and indexes < sent * 0.03, f"indexes are small beside records: {indexes} {sent}")


def timed(procedure, *arguments):
    started = time.monotonic()
    procedure(*arguments)
    print(f"  {procedure.__name__.replace('_', ' ')}: {time.monotonic() - started:.1f} s", flush=True)


def main():
    try:
        import confluent_kafka  # noqa: F401
    except ImportError as error:
        skip("operations", str(error))
        finish()
    operator = Operator()
    try:
        operator.must("scripts/cluster", "up", BROKERS)
        operator.must(BALSACTL, "topic", "create", "orders", "--partitions", str(PARTITIONS), "--replication-factor", "3")
        operator.must("scripts/ops/wait")
        load = history.Load(operator.bootstrap, "orders", PARTITIONS, random.Random(1), rate=500, sizes=(100, 1000))
        load.start()
        load.wait_acked(500)
        timed(upgrade, operator, load)
        timed(lose_a_disk, operator)
        timed(lose_a_broker, operator)
        timed(retire_a_broker, operator)
        timed(lose_the_quorum, operator, load)
        load.finish()
        history.verify("operations", load, history.read_all(operator.bootstrap, "orders", PARTITIONS))
        operator.must("scripts/ops/verify", "orders")
        timed(size, operator)
        timed(back_up_and_restore, operator)
    finally:
        operator.remove()
    finish()


if __name__ == "__main__":
    main()
