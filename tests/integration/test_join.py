"""Founding and joining with real brokers: all at once, one late, killed while founding, wiped, of another cluster, with an id that is taken,
grown from one broker; always one cluster at the end, which takes records. ROUNDS=50 for the long run."""
import os
import random
import time

import balsa
import cluster

ROUNDS = int(os.environ.get("ROUNDS", "4"))
SEED = int(os.environ.get("SEED", str(random.SystemRandom().randrange(1 << 30))))


def ids(brokers):
    return {node.metadata().cluster_id for node in brokers.answering()}


def log_has(node, text):
    with open(node.log_path, encoding="utf-8", errors="replace") as log:
        return text in log.read()


def any_log_has(brokers, text):
    return any(os.path.exists(node.log_path) and log_has(node, text) for node in brokers.nodes.values())


def together():
    with cluster.Cluster(3) as brokers:
        balsa.check(len(ids(brokers)) == 1, f"three that start together are one cluster: {ids(brokers)}")
        brokers.create("t", 3)
        started = time.monotonic()
        brokers.kill(brokers.controller())
        balsa.check(balsa.wait_until(lambda: brokers.controller() in {n.number for n in brokers.running()}, 20),
                    "another controller takes over")
        print(f"  another controller after {time.monotonic() - started:.2f} s", flush=True)
        balsa.check(balsa.wait_until(lambda: len(brokers.metadata().brokers) == 2, 2), "within two seconds nobody is told of the dead one")
        brokers.create("u", 3, factor=1)


def killed_while_founding(rng):
    brokers = cluster.Cluster(3)
    try:
        what = f"seed {SEED}"
        for number in brokers.nodes:
            brokers[number].start(wait=False)
        end = time.monotonic() + rng.uniform(0.05, 1.0)
        while time.monotonic() < end:
            time.sleep(rng.uniform(0, 0.1))
            number = rng.choice(list(brokers.nodes))
            brokers.kill(number)
            brokers[number].start(wait=False)
        brokers.wait_accepting(*brokers.nodes)
        brokers.wait_ready()
        balsa.check(len(ids(brokers)) == 1, f"killed while founding, {what}: one cluster: {ids(brokers)}")
        balsa.check(not any_log_has(brokers, "joins a cluster"), f"{what}: all three are founders")
        brokers.create("t", 1)
    finally:
        brokers.close()


def one_is_late():
    brokers = cluster.Cluster(3)
    try:
        brokers.start(1, 2, wait=False)
        time.sleep(4)
        for number in (1, 2):
            node = brokers[number]
            balsa.check(not node.accepts(), f"broker {number} serves nobody while a seed is missing")
            balsa.check(log_has(node, f"not {brokers[3].peer_address}"), f"broker {number} says whom it waits for:\n{node.log_tail(5)}")
        brokers.start(3)
        brokers.wait_accepting(1, 2)
        brokers.wait_ready()
        balsa.check(len(ids(brokers)) == 1, "the late one completes the cluster")
    finally:
        brokers.close()


def wiped():
    with cluster.Cluster(3) as brokers:
        brokers.create("t", 2)
        before = ids(brokers)
        for number in (brokers.controller(), 1, 2, 3):
            brokers.kill(number)
            brokers.wipe(number)
            brokers.start(number)
            brokers.wait_ready()
            balsa.check(ids(brokers) == before, f"broker {number} comes back to its cluster with an empty disk")
            def votes():
                with open(brokers[brokers.controller()].log_path, encoding="utf-8") as log:
                    lines = [line for line in log if 'event="metadata: ' in line]
                return lines and "standby votes" in lines[-1] and f"node={number}" in lines[-1]
            balsa.check(balsa.wait_until(votes, 30, 0.2), f"and votes again\n{brokers.tails()}")


def joined():
    with cluster.Cluster(5, seed_count=3) as brokers:
        balsa.check(len(ids(brokers)) == 1, "five with three seeds are one cluster")
        brokers.create("t", 10, factor=5)
        brokers.kill()
        brokers.start().wait_ready()
        brokers.wait_led("t")
        brokers.kill(4)
        brokers.wipe(4)
        brokers.start(4)
        brokers.wait_ready()


def replaced():
    """Voters that stay away are replaced one by one, so that in the end both others of three may die."""
    settings = {"balsa.metadata.voter.timeout.ms": 2000, "broker.session.timeout.ms": 2000}
    with cluster.Cluster(5, seed_count=3, settings=settings) as brokers:
        for _ in range(2):
            gone = next(n for n in (1, 2, 3) if n != brokers.controller() and brokers[n].is_running())
            at = brokers[brokers.controller()]
            before = open(at.log_path, encoding="utf-8").read().count("standby votes")
            brokers.kill(gone)
            balsa.check(balsa.wait_until(lambda: open(at.log_path, encoding="utf-8").read().count("standby votes") > before, 20, 0.1),
                        f"another broker votes in place of {gone}\n{brokers.tails()}")
        brokers.create("t", 3, factor=3)


def strangers():
    with cluster.Cluster(3) as brokers:
        seeds = ",".join(node.peer_address for node in brokers.seeds)
        def settings(number, of=None):
            port = balsa.free_port()
            return {"node.id": number, "controller.listener.names": "PEER",
                    "listeners": "", "controller.quorum.bootstrap.servers": of or f"127.0.0.1:{port}", "_peer": port}
        def stranger(number, of=None, data=None):
            wish = settings(number, of)
            broker = balsa.Broker(data=data)
            peer = wish.pop("_peer")
            wish["listeners"] = f"PLAINTEXT://{broker.address},PEER://127.0.0.1:{peer}"
            broker.settings = wish
            return broker
        alone = stranger(7)
        with alone:
            pass_id = alone.address
            data = alone.data
            balsa.check(pass_id, "a broker founds a cluster of its own")
            alone.kill()
            again = stranger(7, seeds, data)
            again.start(wait=False)
            found = balsa.wait_until(lambda: log_has(again, "cluster"), 10, 0.1) and balsa.wait_until(
                lambda: "level=error" in again.log_tail(50) and "belongs to cluster" in again.log_tail(50), 10, 0.1)
            balsa.check(found, f"a broker of another cluster is told so:\n{again.log_tail(12)}")
            again.kill()
        twin = stranger(2, seeds)
        twin.start(wait=False)
        balsa.check(balsa.wait_until(lambda: "level=error" in twin.log_tail(50) and "node.id" in twin.log_tail(50), 20, 0.1),
                    f"a second broker 2 is told so:\n{twin.log_tail(12)}")
        balsa.check(len(brokers.metadata().brokers) == 3, "and the first one goes on")
        twin.remove()


def grown():
    brokers = cluster.Cluster(3, seed_count=1)
    try:
        alone = balsa.Broker(data=brokers[1].data, settings={"node.id": 1})
        alone.start()
        from confluent_kafka.admin import AdminClient, NewTopic
        admin = AdminClient({"bootstrap.servers": alone.address})
        admin.create_topics([NewTopic("old", 2, replication_factor=1)])["old"].result(20)
        alone.stop()
        brokers.start().wait_ready()
        balsa.check("old" in brokers.metadata().topics, "a broker of its own becomes the first of three")
        both_vote = balsa.wait_until(lambda: all(log_has(brokers[1], f'"metadata: standby votes" node={n}') for n in (2, 3)), 30, 0.2)
        balsa.check(both_vote, f"and the others vote, both of them: of two voters none may be lost\n{brokers[1].log_tail()}")
        brokers.create("new", 3)
        brokers.kill(1)
        balsa.check(brokers.controller() in (2, 3), "so that they go on without it")
        before = ids(brokers)
        brokers.wipe(1)
        brokers.start(1).wait_ready()
        balsa.check(ids(brokers) == before, "and the only seed, with an empty disk, comes back to them")
    finally:
        brokers.close()


def main():
    cluster.need("join")
    rng = random.Random(SEED)
    together()
    for _ in range(ROUNDS):
        killed_while_founding(rng)
    one_is_late()
    for test in os.environ.get("ONLY", "wiped joined replaced strangers grown").split():
        globals()[test]()
    balsa.finish()


main()
