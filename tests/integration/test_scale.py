"""Many partitions, and brokers that come and go: 1,000 partitions of three replicas are created, idle, and led again after a broker's death; a
cluster grows from three brokers to five and shrinks again while its partitions move under load.

PARTITIONS=1000 MOVES=300 SLACK=1 for the long run with the promised bounds."""
import time

import balsa
import campaign
import cluster
import moves
import wire

PARTITIONS = campaign.number("PARTITIONS", 1000)
MOVES = campaign.number("MOVES", 30)
CREATE_S = 5
IDLE_CPU = 0.03
REPLICA_KIB = 20
LED_S = 2
LEADERLESS_S = 1
# A client's silence is longer than a partition's: it sends one partition a request, five requests a connection, and asks for the leaders of all
# that moved. Hundreds of them at once wait for each other there, 2 s with 300.
SILENT_S = LEADERLESS_S if MOVES <= 30 else 3
MOVED_S = 300


def resident(brokers):
    return {node.number: node.resident_kib() for node in brokers.running()}


def idle(brokers, seconds):
    """{broker: share of a core}"""
    before = {node.number: node.cpu_seconds() for node in brokers.running()}
    time.sleep(seconds)
    return {node.number: (node.cpu_seconds() - before[node.number]) / seconds for node in brokers.running()}


def all_led(brokers, topic, count, without):
    """Whether every broker that runs says that each partition is led, and not by that one."""
    for node in brokers.answering():
        try:
            leaders = [p.leader for p in node.metadata().topics.get(topic, [])]
        except OSError:
            return False
        if len(leaders) != count or min(leaders) < 0 or without in leaders:
            return False
    return True


def many():
    with cluster.Cluster(3, shards=2, settings={"balsa.disk.reserve.bytes": 1 << 20}) as brokers:
        time.sleep(2)
        empty = resident(brokers)
        start = time.monotonic()
        brokers.create("many", PARTITIONS)
        created = time.monotonic() - start
        print(f"  {PARTITIONS} partitions of 3 replicas: created and led, by every broker's word, in {created:.2f} s", flush=True)
        balsa.check(created <= campaign.SLACK * CREATE_S, f"creation took {created:.2f} s, promised are {CREATE_S}")
        time.sleep(5)
        used = idle(brokers, 10)
        grown = {n: (kib - empty[n]) / PARTITIONS for n, kib in resident(brokers).items()}
        print(f"  idle: {[f'broker {n}: {100 * share:.1f} % of a core, {grown[n]:.1f} KiB a replica' for n, share in used.items()]}", flush=True)
        balsa.check(max(used.values()) <= max(campaign.SLACK / 2, 1) * IDLE_CPU, f"idle CPU {used}, promised are {IDLE_CPU}")
        balsa.check(max(grown.values()) <= REPLICA_KIB, f"memory of an idle replica {grown} KiB, promised are {REPLICA_KIB}")
        victim = brokers.leader_of("many", 0)
        led = [p.leader for p in brokers.metadata().topics["many"]].count(victim)
        brokers.kill(victim)
        start = time.monotonic()
        done = balsa.wait_until(lambda: all_led(brokers, "many", PARTITIONS, victim), 60, 0.01)
        took = time.monotonic() - start
        balsa.check(done, f"all partitions are led again after broker {victim} was killed\n{brokers.tails()}")
        print(f"  broker {victim} killed, which led {led}: all led again after {took:.2f} s", flush=True)
        balsa.check(took <= campaign.SLACK * LED_S, f"all led again after {took:.2f} s, promised are {LED_S}")
        written = [p for p in range(0, PARTITIONS, max(PARTITIONS // 50, 1)) if brokers.write("many", p, b"after", 10) is None]
        balsa.check(not written, f"partitions {written} take no records after the death of broker {victim}")
        brokers.start(victim)
        brokers.wait_ready()


def check_led(run, since):
    """By the brokers' own logs."""
    times = moves.leaderless(run.cluster, since, time.time())
    longest = times[0][0] if times else 0
    print(f"  {len(times)} times without a leader, for at most {1000 * longest:.0f} ms", flush=True)
    balsa.check(longest <= campaign.SLACK * LEADERLESS_S, f"{run.what}: without a leader, in seconds: {times[:3]}")


def move(run, wanted):
    """Reassigns, then waits until nothing moves any more; the brokers must then be those that were asked for."""
    brokers = run.cluster
    start, clock = time.monotonic(), time.time()
    node = brokers.nodes[brokers.controller()]
    with wire.Client(node.port, 60, node.host) as client:
        error, errors = client.reassign(campaign.TOPIC, wanted)
        bad = {p: e for p, e in errors.items() if e != wire.NONE}
        balsa.check(error == wire.NONE and not bad, f"{run.what}: reassignment refused: {error}, {bad}")
        left = balsa.wait_until(lambda: client.reassignments() == (wire.NONE, {}), MOVED_S, 0.2)
        balsa.check(left, f"{run.what}: still moving after {MOVED_S} s: {client.reassignments()}")
    took = time.monotonic() - start
    placed = {p.number: sorted(p.replicas) for p in brokers.metadata().topics[campaign.TOPIC]}
    wrong = {p: placed[p] for p, goal in wanted.items() if placed[p] != sorted(goal)}
    balsa.check(not wrong, f"{run.what}: replicas are elsewhere: {wrong}")
    run.wait_served()
    gaps = [run.load.gap(p, start, time.monotonic()) for p in wanted]
    print(f"  {len(wanted)} partitions moved in {took:.1f} s under load; silent for {campaign.milliseconds(gaps)}", flush=True)
    check_led(run, clock)
    balsa.check(max(gaps) <= campaign.SLACK * SILENT_S, f"{run.what}: a moving partition was silent for {max(gaps):.2f} s")


def grow_and_shrink():
    with cluster.Cluster(3, shards=2, settings={**campaign.SETTINGS, "balsa.log.level": "debug"}) as brokers:
        with wire.Client(brokers[1].port) as client:
            if wire.ALTER_PARTITION_REASSIGNMENTS not in client.apis():
                balsa.skip("scale: moving partitions", "AlterPartitionReassignments is not offered")
                return
        with campaign.campaign("3 to 5 to 3 brokers", brokers, MOVES, rate=3000, sizes=(10, 100, 1000), window=300000) as run:
            for number in (4, 5):
                brokers.add(number)
            brokers.start(4, 5)
            brokers.wait_ready()
            everywhere = [[1, 4, 5], [2, 5, 4], [3, 4, 1], [4, 5, 2], [5, 2, 3]]
            move(run, {p: everywhere[p % 5] for p in range(MOVES)})
            move(run, {p: [1 + p % 3, 1 + (p + 1) % 3, 1 + (p + 2) % 3] for p in range(MOVES)})
            for number in (4, 5):
                brokers.stop(number)
            run.wait_served()


def main():
    cluster.need("scale")
    many()
    grow_and_shrink()
    balsa.finish()


main()
