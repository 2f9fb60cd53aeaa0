"""Kafka's own command-line tools, from the released Java artefacts, each doing its job: what it prints is looked at, and what it changed.

Against one broker of two shards, then against three brokers, where partitions also move and leaders are elected. BROKERS="3" for one of
them. The tools run in one virtual machine (java/Tools.java). They come with Maven once (kafka_dump.py); without java, mvn or a network this skips.
"""
import base64
import json
import os
import re
import subprocess
import tempfile
import threading

import balsa
import cluster
import kafka_dump

HERE = os.path.dirname(os.path.abspath(__file__))
JAVA = ["java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Dfile.encoding=UTF-8"]
COUNTS = [int(n) for n in os.environ.get("BROKERS", "1 3").split()]
TOOLS = {
    "kafka-topics": "org.apache.kafka.tools.TopicCommand",
    "kafka-configs": "kafka.admin.ConfigCommand",
    "kafka-console-producer": "kafka.tools.ConsoleProducer",
    "kafka-console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "kafka-producer-perf-test": "org.apache.kafka.tools.ProducerPerformance",
    "kafka-consumer-perf-test": "org.apache.kafka.tools.ConsumerPerformance",
    "kafka-verifiable-producer": "org.apache.kafka.tools.VerifiableProducer",
    "kafka-verifiable-consumer": "org.apache.kafka.tools.VerifiableConsumer",
    "kafka-get-offsets": "org.apache.kafka.tools.GetOffsetShell",
    "kafka-delete-records": "org.apache.kafka.tools.DeleteRecordsCommand",
    "kafka-log-dirs": "org.apache.kafka.tools.LogDirsCommand",
    "kafka-reassign-partitions": "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
    "kafka-leader-election": "org.apache.kafka.tools.LeaderElectionCommand",
    "kafka-broker-api-versions": "kafka.admin.BrokerApiVersionsCommand",
    "kafka-consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-transactions": "org.apache.kafka.tools.TransactionsCommand",
    "kafka-acls": "kafka.admin.AclCommand",
}
ALONE = {"kafka-verifiable-producer"}  # prints its sums when its process ends
NOISE = re.compile(r"^(log4j:|SLF4J:).*\n?", re.MULTILINE)


class Tools:
    """One set of brokers and how the tools reach them."""

    def __init__(self, class_path, addresses, brokers):
        self.class_path = class_path
        self.addresses = addresses
        self.brokers = brokers
        self.factor = min(brokers, 3)
        self.files = []
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen([*JAVA, "-cp", class_path, os.path.join(HERE, "java", "Tools.java")], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=self.log, text=True)

    def run(self, tool, *args, text="", timeout_s=180, server="--bootstrap-server"):
        """(code, standard output, both outputs)"""
        args = [*([server, self.addresses] if server else []), *args]
        if tool in ALONE:
            command = [*JAVA, "-cp", self.class_path, TOOLS[tool], *args]
            done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=timeout_s, check=False)
            return done.returncode, done.stdout, done.stdout + NOISE.sub("", done.stderr)
        lines = [TOOLS[tool], text, str(len(args)), *args]
        watch = threading.Timer(timeout_s, self.process.kill)
        watch.start()
        try:
            self.process.stdin.write("".join(base64.b64encode(line.encode()).decode() + "\n" for line in lines))
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        finally:
            watch.cancel()
        if not answer:
            self.log.seek(0)
            raise RuntimeError(f"{tool} {' '.join(args)}: no answer in {timeout_s} s: {self.log.read()[-800:]}")
        code, *outputs = answer.rstrip("\n").split(" ")
        out, err = (base64.b64decode(one).decode() for one in outputs)
        return int(code), out, out + NOISE.sub("", err)

    def expect(self, tool, *args, has=(), lacks=(), code=0, **how):
        """Runs it, and looks for each of `has`, regular expressions of lines, in what it prints."""
        ended, out, all_out = self.run(tool, *args, **how)
        name = f"{tool} {' '.join(a if len(a) < 60 else a[:57] + '...' for a in args)} ({self.brokers} brokers)"
        balsa.check(ended == code, f"{name}: code {ended}: {all_out[-800:]}")
        for one in has:
            balsa.check(re.search(one, all_out, re.MULTILINE), f"{name}: no {one!r} in: {all_out[-800:]}")
        for one in lacks:
            balsa.check(not re.search(one, all_out, re.MULTILINE), f"{name}: {one!r} in: {all_out[-800:]}")
        return out

    def file(self, content):
        """The path of a file with this, as JSON unless it is text."""
        handle, path = tempfile.mkstemp(suffix=".json", text=True)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content if isinstance(content, str) else json.dumps(content))
        self.files.append(path)
        return path

    def close(self):
        self.process.kill()
        self.process.wait()
        self.log.close()
        for path in self.files:
            os.unlink(path)


def topics(tools):
    create = ["--create", "--topic", "tools", "--partitions", "3", "--replication-factor", str(tools.factor), "--config", "retention.ms=86400000"]
    tools.expect("kafka-topics", *create, has=[r"^Created topic tools\.$"])
    tools.expect("kafka-topics", *create, code=1, has=["already exists"])
    tools.expect("kafka-topics", *create, "--if-not-exists")
    tools.expect("kafka-topics", "--list", has=["^tools$"])
    tools.expect("kafka-topics", "--alter", "--topic", "tools", "--partitions", "5")
    tools.expect("kafka-topics", "--describe", "--topic", "tools", has=[
        rf"^Topic: tools\s+TopicId: \S{{22}}\s+PartitionCount: 5\s+ReplicationFactor: {tools.factor}\s+Configs: .*retention\.ms=86400000",
        r"^\s+Topic: tools\s+Partition: 4\s+Leader: \d+\s+Replicas: [\d,]+\s+Isr: [\d,]+"])
    tools.expect("kafka-topics", "--describe", "--under-replicated-partitions", lacks=["Partition:"])
    tools.expect("kafka-topics", "--create", "--topic", "short-lived", "--partitions", "1", "--replication-factor", "1")
    tools.expect("kafka-topics", "--delete", "--topic", "short-lived")
    tools.expect("kafka-topics", "--describe", "--topic", "short-lived", code=1, has=["does not exist"])


def configs(tools):
    one = ["--entity-type", "topics", "--entity-name", "tools"]
    tools.expect("kafka-configs", *one, "--alter", "--add-config", "max.message.bytes=200000,cleanup.policy=[delete]",
                 has=[r"^Completed updating config for topic tools\.$"])
    tools.expect("kafka-configs", *one, "--describe", has=[
        r"^  max\.message\.bytes=200000 sensitive=false synonyms=\{DYNAMIC_TOPIC_CONFIG:max\.message\.bytes=200000, "
        r"DEFAULT_CONFIG:message\.max\.bytes=1048588\}$", r"^  cleanup\.policy=delete "])
    tools.expect("kafka-configs", *one, "--alter", "--delete-config", "max.message.bytes", has=["Completed"])
    tools.expect("kafka-configs", *one, "--describe", has=["retention.ms=86400000"], lacks=["max.message.bytes"])
    tools.expect("kafka-configs", *one, "--alter", "--add-config", "retention.ms=soon", code=1, has=["Invalid value soon for configuration retention.ms"])
    every = ["--entity-type", "brokers", "--entity-default"]
    tools.expect("kafka-configs", *every, "--alter", "--add-config", "log.retention.ms=777000000", has=["^Completed updating default config for brokers"])
    tools.expect("kafka-configs", *every, "--describe", has=[r"^  log\.retention\.ms=777000000 sensitive=false "
                                                             r"synonyms=\{DYNAMIC_DEFAULT_BROKER_CONFIG:log\.retention\.ms=777000000"])
    tools.expect("kafka-configs", "--entity-type", "brokers", "--entity-name", "1", "--describe", "--all", has=[
        r"^  log\.retention\.ms=777000000 ", r"^  inter\.broker\.protocol\.version=3\.9 "])
    tools.expect("kafka-configs", *every, "--alter", "--delete-config", "log.retention.ms", has=["Completed"])
    tools.expect("kafka-configs", "--entity-type", "brokers", "--entity-name", "1", "--alter", "--add-config", "num.io.threads=4", code=1,
                 has=["num.io.threads cannot be altered while brokers run"])


def console(tools):
    lines = [f"key-{n}:value {n} äöü" for n in range(50)]
    tools.expect("kafka-console-producer", "--topic", "tools", "--property", "parse.key=true", "--property", "key.separator=:",
                 text="\n".join(lines) + "\n")
    out = tools.expect("kafka-console-consumer", "--topic", "tools", "--from-beginning", "--max-messages", "50", "--timeout-ms", "60000",
                       "--property", "print.key=true", "--property", "key.separator=:", has=["^Processed a total of 50 messages$"])
    balsa.check(sorted(out.splitlines()) == sorted(lines), f"console: {len(out.splitlines())} lines of 50: {out[-300:]}")


def performance(tools):
    tools.expect("kafka-topics", "--create", "--topic", "perf", "--partitions", "3", "--replication-factor", str(tools.factor))
    tools.expect("kafka-producer-perf-test", "--topic", "perf", "--num-records", "20000", "--record-size", "100", "--throughput", "-1",
                 "--producer-props", f"bootstrap.servers={tools.addresses}", "acks=all", "compression.type=lz4", server=None,
                 has=[r"^20000 records sent, [\d.]+ records/sec"])
    out = tools.expect("kafka-consumer-perf-test", "--topic", "perf", "--messages", "20000", "--timeout", "60000")
    rows = [line.split(", ") for line in out.splitlines() if re.match(r"^\d{4}-", line)]
    balsa.check(rows and rows[-1][4] == "20000", f"kafka-consumer-perf-test: {out[-500:]}")


def notes(out, name):
    return [note for note in (json.loads(line) for line in out.splitlines() if line.startswith("{")) if note["name"] == name]


def verifiable(tools):
    tools.expect("kafka-topics", "--create", "--topic", "verified", "--partitions", "1", "--replication-factor", str(tools.factor))
    out = tools.expect("kafka-verifiable-producer", "--topic", "verified", "--max-messages", "500")
    balsa.check([(n["sent"], n["acked"]) for n in notes(out, "tool_data")] == [(500, 500)], f"kafka-verifiable-producer: {out[-300:]}")
    balsa.check(sorted(n["offset"] for n in notes(out, "producer_send_success")) == list(range(500)), "its records have offsets 0 to 499")
    out = tools.expect("kafka-verifiable-consumer", "--topic", "verified", "--group-id", "verifiers", "--max-messages", "500", "--reset-policy", "earliest")
    balsa.check(sum(n["count"] for n in notes(out, "records_consumed")) == 500, f"kafka-verifiable-consumer: {out[-500:]}")
    committed = [o["offset"] for n in notes(out, "offsets_committed") if n["success"] for o in n["offsets"]]
    balsa.check(committed and committed[-1] == 500, f"kafka-verifiable-consumer commits: {committed}")


def groups(tools):
    tools.expect("kafka-consumer-groups", "--list", has=["^verifiers$"])
    tools.expect("kafka-consumer-groups", "--describe", "--group", "verifiers", has=[r"^verifiers\s+verified\s+0\s+500\s+500\s+0\s+"])
    tools.expect("kafka-consumer-groups", "--describe", "--group", "verifiers", "--state", has=[r"^verifiers\s.*\sEmpty\s+0"])
    reset = ["--reset-offsets", "--group", "verifiers", "--topic", "verified"]
    tools.expect("kafka-consumer-groups", *reset, "--to-offset", "123", "--dry-run", has=[r"\bverifiers\s+verified\s+0\s+123\b"])
    tools.expect("kafka-consumer-groups", "--describe", "--group", "verifiers", has=[r"^verifiers\s+verified\s+0\s+500\s"])
    tools.expect("kafka-consumer-groups", *reset, "--to-offset", "123", "--execute", has=[r"\bverifiers\s+verified\s+0\s+123\b"])
    tools.expect("kafka-consumer-groups", "--describe", "--group", "verifiers", has=[r"^verifiers\s+verified\s+0\s+123\s+500\s+377\s"])
    tools.expect("kafka-consumer-groups", "--delete-offsets", "--group", "verifiers", "--topic", "verified", has=["Successful"])
    tools.expect("kafka-consumer-groups", "--delete", "--group", "verifiers", has=[r"Deletion of requested consumer groups \('verifiers'\) was successful"])
    tools.expect("kafka-consumer-groups", "--list", lacks=["^verifiers$"])


def offsets(tools):
    out = tools.expect("kafka-get-offsets", "--topic", "perf")
    found = dict(re.findall(r"^(perf:\d):(\d+)$", out, re.MULTILINE))
    balsa.check(len(found) == 3 and sum(int(o) for o in found.values()) == 20000, f"kafka-get-offsets: {out}")
    tools.expect("kafka-get-offsets", "--topic", "verified", "--time", "-2", has=["^verified:0:0$"])
    tools.expect("kafka-get-offsets", "--topic", "verified", "--time", "4102444800000", lacks=["verified:0:"])
    tools.expect("kafka-get-offsets", "--topic-partitions", "verified:0", "--time", "max-timestamp", has=[r"^verified:0:\d+$"])


def records_and_logs(tools):
    wish = tools.file({"partitions": [{"topic": "verified", "partition": 0, "offset": 100}], "version": 1})
    tools.expect("kafka-delete-records", "--offset-json-file", wish, has=[r"^partition: verified-0\s+low_watermark: 100$"])
    tools.expect("kafka-get-offsets", "--topic", "verified", "--time", "-2", has=["^verified:0:100$"])
    wish = tools.file({"partitions": [{"topic": "verified", "partition": 0, "offset": 501}], "version": 1})
    tools.expect("kafka-delete-records", "--offset-json-file", wish, has=["^partition: verified-0\\s+error: .*OffsetOutOfRange"])
    out = tools.expect("kafka-log-dirs", "--describe", "--topic-list", "perf")
    told = json.loads(next((line for line in out.splitlines() if line.startswith("{")), "{}"))
    sizes = [p["size"] for b in told.get("brokers", []) for d in b["logDirs"] for p in d["partitions"] if d["error"] is None]
    balsa.check(len(sizes) == 3 * tools.factor and min(sizes) > 0, f"kafka-log-dirs: {out[-500:]}")
    tools.expect("kafka-transactions", "describe-producers", "--topic", "verified", "--partition", "0", has=["^ProducerId\\s+ProducerEpoch"])
    tools.expect("kafka-acls", "--list", code=1, has=["SecurityDisabledException: No Authorizer is configured"])


def api_versions(tools):
    out = tools.expect("kafka-broker-api-versions", has=[
        r"Produce\(0\): 0 to \d+ \[usable: \d+\]", r"IncrementalAlterConfigs\(44\): 0 to 1 \[usable: 1\]", r"AlterClientQuotas\(49\): UNSUPPORTED"])
    balsa.check(len(re.findall(r"^\S+:\d+ \(id: \d+ rack: \S+\) -> \($", out, re.MULTILINE)) == tools.brokers, f"kafka-broker-api-versions: {out[:300]}")


def elections(tools):
    tools.expect("kafka-leader-election", "--election-type", "preferred", "--topic", "perf", "--partition", "0",
                 has=[r"^(Successfully completed leader election \(PREFERRED\)|Valid replica already elected) for partitions perf-0"])
    tools.expect("kafka-leader-election", "--election-type", "preferred", "--all-topic-partitions")


def moves(tools):
    """perf goes to other replicas, in another order; a partition that does not move is told to be complete."""
    wish = tools.file({"version": 1, "topics": [{"topic": "verified"}]})
    tools.expect("kafka-reassign-partitions", "--topics-to-move-json-file", wish, "--broker-list", "1,2,3", "--generate", has=[
        "^Current partition replica assignment$", "^Proposed partition reassignment configuration$"])
    wanted = {"version": 1, "partitions": [{"topic": "perf", "partition": p, "replicas": [3 - p, (4 - p) % 3 + 1 if p else 1]} for p in range(2)]}
    wish = tools.file(wanted)
    tools.expect("kafka-reassign-partitions", "--reassignment-json-file", wish, "--execute", has=["^Successfully started partition reassignments for perf-0,perf-1$"])

    def is_over():
        return "still in progress" not in tools.run("kafka-reassign-partitions", "--reassignment-json-file", wish, "--verify", "--preserve-throttles")[1]
    balsa.check(balsa.wait_until(is_over, 120, 1), "the reassignment ends")
    tools.expect("kafka-reassign-partitions", "--reassignment-json-file", wish, "--verify", has=[
        r"^Reassignment of partition perf-0 is completed\.$", r"^Reassignment of partition perf-1 is completed\.$"])
    out = tools.expect("kafka-topics", "--describe", "--topic", "perf")
    for one in wanted["partitions"]:
        replicas = ",".join(str(r) for r in one["replicas"])
        balsa.check(re.search(rf"Partition: {one['partition']}\s.*Replicas: {replicas}\s", out), f"perf-{one['partition']} is on {replicas}: {out}")
    tools.expect("kafka-reassign-partitions", "--list", has=["No partition reassignments found"])
    tools.expect("kafka-leader-election", "--election-type", "preferred", "--all-topic-partitions")
    balsa.check(balsa.wait_until(lambda: re.search(r"Partition: 0\s+Leader: 3\s", tools.run("kafka-topics", "--describe", "--topic", "perf")[1]), 60, 1),
                "perf-0 is led by its first replica")


def all_tools(tools):
    parts = [topics, configs, console, performance, verifiable, offsets, groups, records_and_logs, api_versions, elections]
    try:
        for part in parts + ([moves] if tools.brokers >= 3 else []):
            failed = balsa.counts()[1]
            part(tools)
            print(f"  {tools.brokers} brokers: {part.__name__} {'done' if balsa.counts()[1] == failed else 'FAILED'}", flush=True)
    finally:
        tools.close()


def dumps(class_path, directories):
    """kafka-dump-log on the segments of brokers that have stopped."""
    for directory in directories:
        balsa.check(kafka_dump.check_below(class_path, directory) > 0, f"kafka-dump-log: segments below {directory}")


def main():
    class_path, why = kafka_dump.prepare()
    if class_path is None:
        balsa.skip("tools", why)
        balsa.finish()
    if 1 in COUNTS:
        with balsa.Broker(shards=2) as broker:
            all_tools(Tools(class_path, broker.address, 1))
            broker.stop()
            dumps(class_path, [broker.data])
    if 3 in COUNTS:
        cluster.need("tools")
        with cluster.Cluster(3, shards=2) as brokers:
            all_tools(Tools(class_path, brokers.addresses, 3))
            for number in brokers.nodes:
                brokers.stop(number)
            dumps(class_path, [brokers[1].data])
    balsa.finish()


if __name__ == "__main__":
    main()
