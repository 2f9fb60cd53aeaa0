"""Planted trouble, and whether explain names it: each situation is made in one cluster of four brokers, told apart from the others, and ended;
a replica that is behind in a cluster of its own, where the wire to one broker is slow.

What test_admin_cluster.py plants (no quorum, no controller, a dead broker, too few in-sync replicas, groups without members) is not repeated.
"""
import glob
import os
import threading

import admin
import balsa
import proxy
import speak
import wire
from balsa import check, finish, skip, wait_until
from test_admin_cluster import AdminCluster

BULK = 8 << 20
SETTINGS = {"balsa.checkpoint.interval.ms": 300, "broker.session.timeout.ms": 60000, "group.initial.rebalance.delay.ms": 0,
            "balsa.catchup.bytes.per.second": 200000, "auto.leader.rebalance.enable": "false"}
HOLD_MS = 60000
ELECTIONS = 10
SLOW_RATE = 20000
SMALL_COUNT = 2500  # each an entry of its own: explain names who lacks more than a thousand


def findings(client, **about):
    """{code: cause}"""
    return {finding.code: finding.cause for finding in admin.patiently(client.Explain, **about).findings}


def named(client, what, code, text="", absent=(), **about):
    """The code is found, its cause has the text, and what would be a wrong cause is not."""
    def look():
        told = findings(client, **about)
        return told if text in told.get(code, "\0") else None
    told = wait_until(look, 60, 0.2)
    check(told is not None and not set(absent) & set(told), f"{what}: {code} is named: {told or findings(client, **about)}")


def place(client, topic, replicas):
    """The topic's one partition is on these brokers."""
    admin.patiently(client.MovePartition, topic=topic, partition=0, replicas=replicas)
    moved = wait_until(lambda: (lambda p: list(p.replicas) == replicas and not p.target and not p.leaving and p.leader > 0)(
        client.DescribeTopic(name=topic).partitions[0]), 60, 0.1)
    check(moved, f"{topic} is on {replicas}")


def produce(cluster, topic, size):
    from confluent_kafka import Producer
    producer = Producer({"bootstrap.servers": cluster.addresses, "acks": "all"})
    for _ in range(max(size // 100000, 1)):
        producer.produce(topic, os.urandom(min(size, 100000)), partition=0)
        producer.poll(0)
    check(producer.flush(120) == 0, f"{topic} is written")


def electing(cluster):
    """The leader stands still: until the others' election time-outs are over there is none. A slow machine may miss that moment."""
    told = {}
    for _ in range(ELECTIONS):
        victim = cluster.leader_of("bulk", 0)
        client = admin.Admin(cluster.where(next(n for n in (1, 2, 3) if n != victim)))
        findings(client)  # the channel stands
        cluster.pause(victim)
        told = findings(client, topic="bulk", partition=0)
        cluster.resume(victim)
        client.close()
        if "ELECTION" in told:
            break
    check("ELECTION" in told and not {"NO_QUORUM", "NO_REPLICAS"} & set(told), f"a leader that stands still: ELECTION is named: {told}")


def behind():
    """What broker 1 sends to broker 3 is slow, so that one lacks what the others have committed; broker 2's link to it is another one."""
    peer = balsa.free_port()
    own = {3: {"advertised.listeners": f"PEER://127.0.0.1:{peer}"}}
    cluster = AdminCluster(count=3, settings=SETTINGS, seed_count=1, own=own)
    wire_to_3 = proxy.Proxy(peer, cluster[3].peer_port)
    with cluster:
        client = admin.Admin(cluster.where(2))
        client.CreateTopic(name="slow", partitions=1, replication_factor=3)
        cluster.wait_led("slow")  # by all brokers' word
        admin.patiently(client.TransferLeader, topic="slow", partition=0, to=1)
        check(wait_until(lambda: cluster.leader_of("slow", 0) == 1, 30) and cluster.write("slow", 0, b"first") == 0, "broker 1 leads")
        wire_to_3.rate = SLOW_RATE
        with wire.Client(cluster[1].port) as one:
            errors = {one.produce("slow", 0, wire.batch([b"x" * 100]))[0] for _ in range(SMALL_COUNT)}
        check(errors == {wire.NONE}, f"two of three take records all the same: {errors}")
        named(client, "a slow wire", "REPLICA_BEHIND", "broker 3", ["BROKER_DOWN", "BROKER_UNREACHABLE"], topic="slow", partition=0)
        wire_to_3.rate = None
        over = wait_until(lambda: findings(client, topic="slow", partition=0) == {}, 60, 0.2)
        check(over, f"on a good wire it catches up: {findings(client, topic='slow', partition=0)}")
        client.close()
        wire_to_3.close()


def restart_with_trouble(cluster, client):
    """All stop; broker 4 lacks half of a segment then, and broker 3 no space. What was checkpointed is not in memory any more."""
    checkpoints = wait_until(lambda: all(glob.glob(os.path.join(node.data, "local", "*")) for node in cluster.nodes.values()), 10)
    check(checkpoints, "there are checkpoints")
    produce(cluster, "single", 1000)
    wait_until(lambda: False, 2)  # several checkpoints
    # Where it was before it moved, it goes when the leader has agreed: not any more once that one is damaged.
    alone = wait_until(lambda: not any(cluster.directories_of(number, "single", 0) for number in cluster.nodes if number != 4), 60, 0.1)
    check(alone, "a moved replica is gone from where it was")
    for number in cluster.nodes:
        cluster.stop(number)
    for path in glob.glob(os.path.join(cluster[4].data, "topics", "single-0.*", "*.log")):
        os.truncate(path, os.path.getsize(path) // 2)
    cluster.own[3] = {"broker.rack": "b", "balsa.disk.reserve.bytes": 1 << 50}
    cluster.start()
    named(client, "a damaged segment", "REPLICA_DAMAGED", "broker 4", topic="single", partition=0)
    named(client, "a full disk", "DISK_FULL", "broker 3", absent=["BROKER_DOWN", "BROKER_UNREACHABLE"])
    named(client, "a full disk under a partition", "DISK_FULL", "broker 3", topic="pair", partition=0)


def moving(client):
    admin.patiently(client.MovePartition, topic="bulk", partition=0, replicas=[1, 2, 4])
    named(client, "a move that takes over a state", "CATCHING_UP", "broker 4", topic="bulk", partition=0)
    named(client, "a move", "MOVING", topic="bulk", partition=0)
    named(client, "a move, of the cluster", "MOVING", "1 partitions")
    admin.patiently(client.CancelMove, topic="bulk", partition=0)
    over = wait_until(lambda: "MOVING" not in findings(client, topic="bulk", partition=0), 60, 0.2)
    check(over, "a cancelled move is over")


def decommissioning(client):
    admin.patiently(client.DecommissionBroker, node_id=4)
    named(client, "a broker that is taken out", "DECOMMISSIONING", "broker 4")
    admin.patiently(client.ResumeBroker, node_id=4)
    over = wait_until(lambda: "DECOMMISSIONING" not in findings(client), 30, 0.2)
    check(over, "a broker that is taken back is not")
    place(client, "pair", [3, 4])  # some of it may have moved already


def join(node, group, timeout_s=60):
    return speak.ask(node, "JoinGroup", 3, timeout_s, group_id=group, session_timeout_ms=HOLD_MS, rebalance_timeout_ms=HOLD_MS, member_id="",
                     protocol_type="consumer", protocols=[{"name": "range", "metadata": b""}])


def groups(cluster, client):
    """A first member that joins and sends no assignment; then a second one, for which the first does not join again."""
    node = cluster[client.ClusterStatus().controller]
    joined = join(node, "stuck")
    check(joined.error_code == 0, f"a member joins: {joined}")
    named(client, "a leader that sends no assignment", "WAITING_FOR_LEADER", "1 members", group="stuck")

    def second():
        try:
            join(node, "stuck", 5)
        except OSError:
            pass
    waiting = threading.Thread(target=second, daemon=True)
    waiting.start()
    named(client, "a member that does not come back", "REBALANCING", "2 are known", group="stuck")
    waiting.join(30)


def unreachable(cluster, client):
    cluster.pause(4)
    named(client, "a broker that stands still", "BROKER_UNREACHABLE", "broker 4", absent=["BROKER_DOWN"])
    named(client, "the same under a partition", "BROKER_UNREACHABLE", "broker 4", topic="pair", partition=0)
    cluster.resume(4)
    over = wait_until(lambda: "BROKER_UNREACHABLE" not in findings(client), 60, 0.2)
    check(over, f"a broker that goes on is reached: {findings(client)}")


def lost(cluster, client):
    cluster.kill(4)
    named(client, "a broker that is gone", "BROKER_DOWN", "broker 4", absent=["NO_CONTROLLER", "BROKER_UNREACHABLE"])
    named(client, "its partitions", "PARTITIONS_WITHOUT_LEADER")
    named(client, "half of a partition's votes", "NO_QUORUM", "1 of 2", topic="pair", partition=0)
    named(client, "the only replica", "NO_REPLICAS", topic="single", partition=0, absent=["NO_QUORUM"])
    # Broker 3 makes no new replica while its disk is full; another one would have an empty one in some milliseconds.
    admin.patiently(client.MovePartition, topic="single", partition=0, replicas=[3])
    named(client, "a move that nobody can carry out", "REPLICA_ABSENT", "broker 3", topic="single", partition=0)


def main():
    if admin.grpc is None:
        skip("gRPC of Python", admin.MISSING)
        finish()
    racks = {number: {"broker.rack": rack} for number, rack in ((1, "a"), (2, "a"), (3, "b"), (4, "c"))}
    with AdminCluster(count=4, settings=SETTINGS, seed_count=3, own=racks) as cluster:
        client = admin.Admin(cluster.where(1))
        check(findings(client) == {}, f"nothing is wrong at first: {findings(client)}")
        for topic, replicas in (("single", [4]), ("pair", [3, 4]), ("bulk", [1, 2, 3])):
            client.CreateTopic(name=topic, partitions=1, replication_factor=len(replicas))
            place(client, topic, replicas)
        for topic, size in (("single", 1000), ("pair", 1000), ("bulk", BULK)):
            produce(cluster, topic, size)
        check(findings(client, topic="pair", partition=0) == {}, "nor with a partition")
        named(client, "two replicas in a rack", "RACKS_SHARED", "in 2 racks, and there are brokers in 3", topic="bulk", partition=0)
        electing(cluster)
        restart_with_trouble(cluster, client)
        moving(client)
        decommissioning(client)
        groups(cluster, client)
        unreachable(cluster, client)
        lost(cluster, client)
        client.close()
    behind()
    finish()


if __name__ == "__main__":
    main()
