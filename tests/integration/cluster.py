"""A cluster of real brokers on this machine: start, kill, stop, pause, wipe, ask, and compare what the replicas have on disk."""
import hashlib
import os
import re
import shutil
import struct
import sys
import tempfile
import time

import balsa
import history
import wire

sys.path.insert(0, os.path.join(balsa.ROOT, "scripts", "lib"))
import cluster_metadata  # noqa: E402

LOGS = os.path.join(balsa.ROOT, "build", "test", "logs")
READY_S = 60
LOG_SIZE_MAX = 20 << 20
BATCH_HEAD = struct.Struct(">8xi31xqh")  # of a record batch, up to the producer's epoch
BATCH_SIZE_END = 12  # what its size counts from
PARTITION = re.compile(r"^(?P<topic>.+)-(?P<number>\d+)\.(?P<group>\d+)(\.(?P<index>\d+))?$")


def describe(digests):
    """Where replicas differ: {broker: (bytes in all, the first segment that not all have alike)}."""
    told = {}
    for number, segments in digests.items():
        if segments is None:
            told[number] = "no directory, or two"
            continue
        odd = [(name, size) for name, size, digest in segments
               if any(other is None or (name, size, digest) not in other for other in digests.values())]
        told[number] = (sum(size for _, size, _ in segments), odd[0] if odd else None)
    return told


class Node(balsa.Broker):
    """One broker of a cluster."""

    def __init__(self, cluster, number, host, command):
        super().__init__(shards=cluster.shards, data=os.path.join(cluster.home, str(number)), command=command, host=host)
        self.cluster = cluster
        self.number = number
        self.peer_port = balsa.free_port()
        self.is_paused = False

    @property
    def peer_address(self):
        return f"{self.host}:{self.peer_port}"

    def args(self):
        self.settings = {
            "node.id": self.number,
            "listeners": f"PLAINTEXT://{self.address},PEER://{self.peer_address}",
            "controller.listener.names": "PEER",
            "controller.quorum.bootstrap.servers": ",".join(node.peer_address for node in self.cluster.seeds),
            "default.replication.factor": min(3, len(self.cluster.nodes)),
            **self.cluster.settings,
            **self.cluster.own.get(self.number, {}),
        }
        return super().args()

    def pause(self):
        super().pause()
        self.is_paused = True

    def resume(self):
        super().resume()
        self.is_paused = False

    def kill(self):
        super().kill()
        self.is_paused = False

    def metadata(self, timeout_s=2):
        return cluster_metadata.metadata(self.host, self.port, timeout_s)


class Cluster:
    """Brokers 1 to count, of which the first 1, 3 or 5 are seeds. With it as a context all are started and wait_ready() was true.

    hosts: their addresses; commands: words before the program (a network namespace); data: {number: directory};
    own: {number: settings that only this broker has}."""

    def __init__(self, count=3, shards=1, settings=None, hosts=None, commands=None, data=None, seed_count=None, own=None):
        self.home = tempfile.mkdtemp(prefix="balsa-cluster-")
        self.shards = shards
        self.settings = dict(settings or {})
        self.own = own or {}
        self.hosts = hosts or {}
        self.commands = commands or {}
        self.data = data or {}
        self.failed_before = balsa.counts()[1]
        self.nodes = {}
        for number in range(1, count + 1):
            self.add(number)
        self.seeds = [self.nodes[n] for n in range(1, (seed_count or max(n for n in (1, 3, 5) if n <= count)) + 1)]

    def add(self, number):
        """One more broker, not started yet."""
        node = Node(self, number, self.hosts.get(number, "127.0.0.1"), self.commands.get(number))
        if number in self.data:
            node.data = self.data[number]
        self.nodes[number] = node
        return node

    def __getitem__(self, number):
        return self.nodes[number]

    @property
    def addresses(self):
        return ",".join(node.address for node in self.nodes.values())

    def running(self):
        return [node for node in self.nodes.values() if node.is_running()]

    def answering(self):
        return [node for node in self.running() if not node.is_paused]

    # ---- What is done to brokers ----

    def start(self, *numbers, wait=True):
        """Those brokers at once; all without numbers."""
        numbers = numbers or tuple(self.nodes)
        for number in numbers:
            self.nodes[number].start(wait=False)
        if wait:
            self.wait_accepting(*numbers)
        return self

    def wait_accepting(self, *numbers, timeout_s=READY_S):
        for number in numbers:
            node = self.nodes[number]
            if not balsa.wait_until(node.accepts, timeout_s, 0.005):
                raise RuntimeError(f"broker {number} does not accept connections after {timeout_s} s:\n{node.log_tail()}")

    def kill(self, *numbers):
        """kill -9 of all of them before any is waited for."""
        nodes = [self.nodes[number] for number in numbers or self.nodes]
        for node in nodes:
            node.process.kill()
        for node in nodes:
            node.process.wait()
            node.is_paused = False

    def stop(self, number, timeout_s=60):
        return self.nodes[number].stop(timeout_s)

    def pause(self, number):
        self.nodes[number].pause()

    def resume(self, number):
        self.nodes[number].resume()

    def wipe(self, number):
        """Empties the disk of a broker that does not run."""
        node = self.nodes[number]
        assert not node.is_running()
        shutil.rmtree(node.data)

    # ---- What they say ----

    def metadata(self, of=None):
        """What the first broker that answers knows; None: none answers."""
        for node in [self.nodes[of]] if of else self.answering():
            try:
                return node.metadata()
            except OSError:
                continue
        return None

    def leader_of(self, topic, partition, timeout_s=30):
        """Number of the leader, by the word of a broker that claims no other."""
        def ask():
            for node in self.answering():
                try:
                    found = [p for p in node.metadata().topics.get(topic, []) if p.number == partition]
                except OSError:
                    continue
                if found and found[0].leader in self.nodes and self.nodes[found[0].leader] in self.answering():
                    return found[0].leader
            return None
        leader = balsa.wait_until(ask, timeout_s, 0.02)
        if leader is None:
            raise RuntimeError(f"{topic}-{partition} has no leader after {timeout_s} s:\n{self.tails()}")
        return leader

    def controller(self, timeout_s=30):
        def ask():
            for node in self.answering():
                try:
                    at = node.metadata().controller
                except OSError:
                    continue
                if at in self.nodes and self.nodes[at] in self.answering():
                    return at
            return None
        at = balsa.wait_until(ask, timeout_s, 0.02)
        if at is None:
            raise RuntimeError(f"no controller after {timeout_s} s:\n{self.tails()}")
        return at

    def wait_ready(self, timeout_s=READY_S):
        """Until each running broker knows a controller and all that run."""
        numbers = {node.number for node in self.answering()}
        views = {}

        def is_ready():
            for node in self.answering():
                try:
                    views[node.number] = node.metadata()
                except OSError as error:
                    views[node.number] = error
                    return False
                if views[node.number].controller < 0 or not numbers <= set(views[node.number].brokers):
                    return False
            return True
        if not balsa.wait_until(is_ready, timeout_s, 0.02):
            raise RuntimeError(f"the cluster is not ready after {timeout_s} s: {views}\n{self.tails()}")
        return self

    def create(self, topic, partitions, factor=None, config=None, timeout_s=60):
        """A topic whose partitions are all led and in sync on the brokers that run."""
        from confluent_kafka.admin import AdminClient, NewTopic
        admin = AdminClient({"bootstrap.servers": self.addresses, **history.CLIENT})
        wish = NewTopic(topic, partitions, replication_factor=factor or min(3, len(self.nodes)), config=config or {})
        admin.create_topics([wish], operation_timeout=timeout_s, request_timeout=timeout_s)[topic].result(timeout_s)
        self.wait_led(topic, timeout_s)

    def wait_led(self, topic, timeout_s=60):
        """Until every running broker says that each partition has a leader that runs, and all say the same."""
        views = {}

        def is_led():
            views.clear()
            for node in self.answering():
                try:
                    views[node.number] = [p.leader for p in node.metadata().topics.get(topic, [])]
                except OSError as error:
                    views[node.number] = error
                    return False
            first = next(iter(views.values()))
            led_by = {node.number for node in self.answering()}
            return first and all(view == first for view in views.values()) and set(first) <= led_by
        if not balsa.wait_until(is_led, timeout_s, 0.02):
            short = {number: view[:20] if isinstance(view, list) else view for number, view in views.items()}
            raise RuntimeError(f"{topic} is not led by running brokers after {timeout_s} s: {short}\n{self.tails()}")

    def write(self, topic, partition, value, timeout_s=30):
        """One record by hand to whoever leads, again until it is acknowledged: its offset; None: not within the time."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            try:
                leader = self.nodes[self.leader_of(topic, partition, end - time.monotonic())]
                with wire.Client(leader.port, 3, leader.host) as client:
                    error, offset = client.produce(topic, partition, wire.batch([value]))
                if error == wire.NONE:
                    return offset
            except (OSError, RuntimeError):
                pass
            time.sleep(0.02)
        return None

    # ---- What they have on disk ----

    def directories_of(self, number, topic, partition):
        """Of a replica: its own, a staging, one that still goes."""
        folder = os.path.join(self.nodes[number].data, "topics")
        found = []
        for name in os.listdir(folder) if os.path.isdir(folder) else []:
            match = PARTITION.match(name)
            if match and match["topic"] == topic and int(match["number"]) == partition:
                found.append(os.path.join(folder, name))
        return found

    def directories(self, topic, partition):
        """Broker -> names of all that it has of a partition, for messages."""
        found = {n: [os.path.basename(path) for path in self.directories_of(n, topic, partition)] for n in self.nodes}
        return {number: names for number, names in found.items() if names}

    def directory(self, number, topic, partition):
        """Of a replica; None when there is none, or more than one."""
        found = self.directories_of(number, topic, partition)
        return found[0] if len(found) == 1 else None

    def size(self, number, topic, partition):
        """Bytes of all segments of a replica; -1: it has no directory, or is being replaced."""
        folder = self.directory(number, topic, partition)
        try:
            return sum(entry.stat().st_size for entry in os.scandir(folder) if entry.name.endswith(".log")) if folder else -1
        except FileNotFoundError:
            return -1

    def caught_up(self, topic, timeout_s):
        """Waits until each replica has on its disk what the fullest of its partition has now; returns those that have not:
        {(partition, broker): (bytes, wanted)}."""
        replicas = [(p.number, n) for p in self.metadata().topics[topic] for n in p.replicas]
        wanted = {}
        for partition, number in replicas:
            wanted[partition] = max(wanted.get(partition, 0), self.size(number, topic, partition))
        behind = {}

        def is_done():
            behind.clear()
            for partition, number in replicas:
                size = self.size(number, topic, partition)
                if size < wanted[partition]:
                    behind[partition, number] = size, wanted[partition]
            return not behind
        balsa.wait_until(is_done, timeout_s, 0.05)
        return behind

    def digest(self, number, topic, partition):
        """[(segment, size, digest)] of a replica."""
        folder = self.directory(number, topic, partition)
        if folder is None:
            return None
        result = []
        for name in sorted(os.listdir(folder)):
            if not name.endswith(".log"):
                continue
            digest = hashlib.sha256()
            size = 0
            with open(os.path.join(folder, name), "rb") as segment:
                while block := segment.read(1 << 20):
                    digest.update(block)
                    size += len(block)
            result.append((name, size, digest.hexdigest()[:16]))
        return result

    def producer_epochs(self, number, topic, partition):
        """{(producer id, epoch)} of all batches that a replica has on its disk."""
        folder = self.directory(number, topic, partition)
        found = set()
        for name in sorted(os.listdir(folder)) if folder else []:
            if name.endswith(".log"):
                with open(os.path.join(folder, name), "rb") as segment:
                    while len(head := segment.read(BATCH_HEAD.size)) == BATCH_HEAD.size:
                        size, producer, epoch = BATCH_HEAD.unpack(head)
                        found.add((producer, epoch))
                        segment.seek(size + BATCH_SIZE_END - BATCH_HEAD.size, os.SEEK_CUR)
        return found

    def check_producers(self, what, topic):
        """No producer had to take a new epoch: it would if its batches seemed out of order, and what it does not know to be there it
        then sends again as new (librdkafka's way out; those records are there twice)."""
        for partition in self.metadata().topics[topic]:
            epochs = self.producer_epochs(partition.replicas[0], topic, partition.number)
            balsa.check(len({epoch for _, epoch in epochs}) <= 1, f"{what}: {topic}-{partition.number} has batches of several producer epochs: {epochs}")

    def check_replicas(self, what, topic, timeout_s=30):
        """Once nothing is written any more: all replicas of each partition have the same segments, byte by byte."""
        metadata = self.metadata()
        differing = {}

        def all_agree():
            differing.clear()
            for partition in metadata.topics[topic]:
                try:
                    digests = {n: self.digest(n, topic, partition.number) for n in partition.replicas}
                except FileNotFoundError:  # a segment that went meanwhile
                    digests = {0: None}
                if None in digests.values() or len({str(d) for d in digests.values()}) != 1:
                    differing[partition.number] = digests
            return not differing
        balsa.wait_until(all_agree, timeout_s, 0.5)
        told = [f"{topic}-{partition}: {describe(digests)}" for partition, digests in list(differing.items())[:3]]
        return balsa.check(not differing, f"{what}: {len(differing)} partitions differ between their replicas: {'; '.join(told)}")

    # ---- The end ----

    def tails(self, lines=15):
        return "".join(f"---- broker {node.number}\n{node.log_tail(lines)}" for node in self.nodes.values())

    def keep_logs(self):
        """Copies the logs to where they survive the test; the end of a very long one."""
        script = os.path.splitext(os.path.basename(sys.argv[0]))[0]
        os.makedirs(LOGS, exist_ok=True)
        for node in self.nodes.values():
            target = os.path.join(LOGS, f"{script}-{node.number}.log")
            if os.path.exists(node.log_path):
                with open(node.log_path, "rb") as source, open(target, "wb") as out:
                    source.seek(max(os.path.getsize(node.log_path) - LOG_SIZE_MAX, 0))
                    shutil.copyfileobj(source, out)
        print(f"  the brokers' logs: {LOGS}/{script}-*.log{'; their data: ' + self.home if os.environ.get('KEEP') else ''}", flush=True)

    def close(self):
        for node in self.nodes.values():
            code = node.process.poll() if node.process else None
            if code not in (None, 0, -9):
                balsa.check(False, f"broker {node.number} ended by itself with code {code}:\n{node.log_tail()}")
            if code is None and node.process:
                node.process.kill()
                node.process.wait()
        has_failed = balsa.counts()[1] > self.failed_before
        if has_failed:
            self.keep_logs()
        if not (has_failed and os.environ.get("KEEP")):
            shutil.rmtree(self.home, ignore_errors=True)

    def __enter__(self):
        try:
            return self.start().wait_ready()
        except BaseException:
            self.failed_before = -1
            self.close()
            raise

    def __exit__(self, kind, *_):
        if kind is not None:
            self.failed_before = -1
        self.close()


def need(test):
    """Skips the whole test when a package it needs is not there."""
    try:
        import confluent_kafka  # noqa: F401
        import crc32c  # noqa: F401
    except ImportError as error:
        balsa.skip(test, str(error))
        balsa.finish()
