"""A broker whose disk was emptied comes back as a new replica and catches up; a broker that was away while much was written catches up under
load, within the memory and the latency that are promised for the others. AWAY_BYTES=5000000000 SLACK=1 for the long run."""
import threading
import time

import admin
import balsa
import campaign
import cluster
import history
import ops

AWAY_BYTES = campaign.number("AWAY_BYTES", 200_000_000)
PARTITIONS = 6
LEADER_GROWTH_KIB = 2 * (128 + 32) << 10  # of each shard: what it may retain of applied entries, and what links and catch-ups may queue
LATENCY_RATIO = 2
RATE = 2000
CATCH_UP_S = 120 + AWAY_BYTES / 10e6
BEFORE_S = 15 if AWAY_BYTES > 1e9 else 5  # a percentile of few samples is luck


def check_votes(brokers, number):
    """Who empties one disk after the other has nothing but the probes to go by: once they say ready, everything votes that is to."""
    probes = [node.settings["balsa.http.listener"] for node in brokers.nodes.values()]
    balsa.check(balsa.wait_until(lambda: not any(ops.probe(probe) for probe in probes), 180, 0.01), f"disk emptied: not all ready after broker {number}")
    with admin.Admin(admin.address(brokers[number])) as ask:
        voters = [member.node_id for member in ask.QuorumStatus().members if member.is_voter]
        balsa.check(voters == [1, 2, 3], f"all brokers are ready, and {voters} vote in the metadata after broker {number} lost its disk")
        for partition in range(PARTITIONS):
            replicas = ask.PartitionStatus(topic=campaign.TOPIC, partition=partition).replicas
            voters = sorted(replica.node_id for replica in replicas if replica.is_voter)
            balsa.check(voters == [1, 2, 3], f"all brokers are ready, and {voters} vote in partition {partition}")


def wiped():
    own = {number: {"balsa.http.listener": f"127.0.0.1:{balsa.free_port()}", **admin.settings()} for number in (1, 2, 3)}
    with cluster.Cluster(3, shards=2, settings=campaign.SETTINGS, own=own) as brokers, \
            campaign.campaign("disk emptied", brokers, PARTITIONS, rate=4000) as run:
        for number in (1, 2, 3):
            run.load.wait_acked(20000)
            brokers.kill(number)
            brokers.wipe(number)
            run.wait_served()
            started = time.monotonic()
            brokers.start(number)
            check_votes(brokers, number)
            brokers.wait_ready()
            run.wait_in_sync(180)
            print(f"  broker {number} with an emptied disk is back in sync after {time.monotonic() - started:.1f} s", flush=True)
            balsa.check(brokers.digest(number, campaign.TOPIC, 0), f"broker {number} has its replica again")


class Memory(threading.Thread):
    """The most that each of some brokers had in memory."""

    def __init__(self, nodes):
        super().__init__(daemon=True)
        self.nodes = nodes
        self.most = {node.number: node.resident_kib() for node in nodes}
        self.done = threading.Event()

    def run(self):
        while not self.done.wait(0.1):
            for node in self.nodes:
                self.most[node.number] = max(self.most[node.number], node.resident_kib())

    def finish(self):
        self.done.set()
        self.join(10)


def write_much(brokers):
    """AWAY_BYTES into the topic `bulk`, as fast as it goes."""
    from confluent_kafka import Producer
    producer = Producer({"bootstrap.servers": brokers.addresses, **history.CLIENT, **history.PRODUCER, "queue.buffering.max.kbytes": 65536})
    failed = []
    value = bytes(range(256)) * 400
    for turn in range(AWAY_BYTES // len(value)):
        while True:
            try:
                producer.produce("bulk", value, partition=turn % PARTITIONS, on_delivery=lambda error, _: failed.append(error) if error else None)
                break
            except BufferError:
                producer.poll(0.01)
        producer.poll(0)
    balsa.check(producer.flush(history.GIVE_UP_S) == 0 and not failed, f"bulk: {len(failed)} records not written: {failed[:2]}")


def away():
    settings = {**campaign.SETTINGS, "log.segment.bytes": 64 << 20}
    with cluster.Cluster(3, shards=2, settings=settings) as brokers:
        brokers.create("bulk", PARTITIONS)
        with campaign.campaign("away", brokers, PARTITIONS, rate=RATE, sizes=(100, 1000), window=200000) as run:
            time.sleep(1)
            victim = brokers.leader_of(campaign.TOPIC, 0)
            brokers.kill(victim)
            run.wait_served()
            write_much(brokers)
            time.sleep(3)
            before_from = time.monotonic()
            time.sleep(BEFORE_S)
            before = run.load.latencies(before_from, time.monotonic())
            others = [node for node in brokers.running()]
            memory = Memory(others)
            start_kib = dict(memory.most)
            memory.start()
            started = time.monotonic()
            brokers.start(victim)
            behind = brokers.caught_up("bulk", CATCH_UP_S)
            balsa.check(not behind, f"away: not caught up after {CATCH_UP_S:.0f} s: {behind}\n{brokers.tails()}")
            run.wait_in_sync(CATCH_UP_S)
            took = time.monotonic() - started
            memory.finish()
            during = run.load.latencies(started, time.monotonic())
            grown = {n: memory.most[n] - start_kib[n] for n in start_kib}
            p99 = [history.percentile(values, 0.99) for values in (before, during)]
            print(f"  {AWAY_BYTES / 1e6:.0f} MB while away: caught up in {took:.1f} s under {RATE} records/s; ack p99 {1000 * p99[0]:.1f} ms before, "
                  f"{1000 * p99[1]:.1f} ms meanwhile; the others grew by {[f'{n}: {kib >> 10} MiB' for n, kib in grown.items()]}", flush=True)
            balsa.check(max(grown.values()) <= LEADER_GROWTH_KIB, f"catching up: memory of the others grew by {grown} KiB")
            balsa.check(p99[1] <= max(campaign.SLACK, 1) * LATENCY_RATIO * max(p99[0], 0.005),
                        f"catching up: ack p99 {1000 * p99[1]:.1f} ms, {1000 * p99[0]:.1f} ms before")
        brokers.check_replicas("away", "bulk", 120)


def main():
    cluster.need("wipe")
    if admin.grpc is None:
        balsa.skip("wipe: disk emptied", admin.MISSING)
    else:
        wiped()
    away()
    balsa.finish()


main()
