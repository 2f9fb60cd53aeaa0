"""The admin service of a cluster of three: what any broker is asked for it does, and what is wrong it names."""
import admin
import balsa
from balsa import check, finish, skip, wait_until
from cluster import Cluster
from test_ctl import ctl

NODES = (1, 2, 3)


class AdminCluster(Cluster):
    """Each broker with an admin address of its own."""

    def __init__(self, **arguments):
        self.ports = {}
        super().__init__(**arguments)

    def where(self, number):
        return f"127.0.0.1:{self.ports[number]}"

    def add(self, number):
        node = super().add(number)
        self.ports[number] = balsa.free_port()
        node.command = []
        plain = node.args

        def args():
            return plain() + ["--set", f"balsa.admin.listeners={self.where(number)}"]
        node.args = args
        return node


def causes(client, **about):
    return [finding.code for finding in client.Explain(**about).findings]


def produce(cluster, topic, count):
    from kafka import KafkaProducer
    producer = KafkaProducer(bootstrap_servers=cluster.addresses, acks="all")
    for number in range(count):
        producer.send(topic, b"value %d" % number, partition=number % 2)
    producer.flush()
    producer.close()


def consume(cluster, topic, group, count):
    from kafka import KafkaConsumer
    consumer = KafkaConsumer(topic, bootstrap_servers=cluster.addresses, group_id=group, auto_offset_reset="earliest",
                             enable_auto_commit=False, consumer_timeout_ms=30000)
    for read, _ in enumerate(consumer, 1):
        if read == count:
            break
    consumer.commit()
    return consumer


def topics_from_anywhere(clients):
    watch = clients[3].Watch()
    kinds = type(first := next(watch)).Kind
    check(kinds.Name(first.kind) == "BEGUN", f"a watch says that it has begun: {first}")
    clients[2].CreateTopic(name="orders", partitions=2, replication_factor=3)
    for number in NODES:
        told = wait_until(lambda n=number: [t for t in clients[n].ListTopics().topics if t.name == "orders"], 10)
        check(told and told[0].partitions == 2, f"broker {number} lists what broker 2 was asked to make")
    seen = next(watch)
    check((kinds.Name(seen.kind), seen.topic) == ("TOPIC_CREATED", "orders"), f"a watcher of broker 3 sees it: {seen}")
    watch.cancel()
    code, text = admin.refusal(clients[3].CreateTopic, name="orders")
    check(code == "ALREADY_EXISTS" and "orders" in text, f"twice is refused: {code} {text}")
    code, _ = admin.refusal(clients[1].CreateTopic, name="bad name!")
    check(code == "INVALID_ARGUMENT", f"a bad name is refused: {code}")
    clients[1].AlterConfig(topic="orders", set=[{"name": "retention.ms", "value": "86400000"}])
    told = wait_until(lambda: [c.value for c in clients[2].DescribeTopic(name="orders").configs], 10)
    check(told == ["86400000"], f"a configuration is set: {told}")


def leaders(clients):
    told = clients[1].DescribeTopic(name="orders").partitions[0]
    other = next(n for n in told.replicas if n != told.leader)
    admin.patiently(clients[1].TransferLeader, topic="orders", partition=0, to=other)
    moved = wait_until(lambda: clients[1].DescribeTopic(name="orders").partitions[0].leader == other, 20)
    check(moved, "leadership goes where it is wished")
    code, text = admin.refusal(clients[1].TransferLeader, topic="orders", partition=0, to=9)
    check(code == "INVALID_ARGUMENT" and "no replica" in text, f"not to who has no replica: {code} {text}")
    drained = clients[2].DrainBroker(node_id=other)
    check(drained.asked >= 1 and drained.begun == drained.asked, f"a broker gives up what it leads: {drained}")
    gone = wait_until(lambda: all(p.leader not in (other, -1) for p in clients[1].DescribeTopic(name="orders").partitions), 20)
    check(gone, "and leads nothing then")


def replicas(cluster, clients):
    produce(cluster, "orders", 1000)
    for partition in (0, 1):
        status = clients[3].PartitionStatus(topic="orders", partition=partition, digest=True)
        check(status.is_alike and {r.digest_end for r in status.replicas} == {500},
              f"replicas of partition {partition} have the same digest: {status.replicas}")
    status = clients[1].ClusterStatus()
    check(len(status.brokers) == 3 and sum(b.replicas for b in status.brokers) == 6, f"replicas are counted: {status}")


def groups(cluster, clients):
    consumer = consume(cluster, "orders", "readers", 1000)
    told = clients[3].DescribeGroup(group="readers")
    check(told.group.state == "Stable" and len(told.members) == 1, f"a group has a member: {told.group} {told.members}")
    check(sorted((o.partition, o.committed, o.lag) for o in told.offsets) == [(0, 500, 0), (1, 500, 0)], f"no lag: {told.offsets}")
    code, text = admin.refusal(clients[1].ResetOffsets, group="readers", topic="orders", to="earliest")
    check(code == "FAILED_PRECONDITION" and "members" in text, f"offsets of readers are not reset: {code} {text}")
    consumer.close()
    produce(cluster, "orders", 10)
    told = wait_until(lambda: (lambda g: g if all(o.lag == 5 for o in g.offsets) else None)(clients[1].DescribeGroup(group="readers")), 10)
    check(told is not None, "lag is counted from any broker")
    dry = clients[1].ResetOffsets(group="readers", topic="orders", to="earliest", dry_run=True)
    check([o.committed for o in dry.offsets] == [0, 0], f"a dry run tells what would be: {dry}")
    check(all(o.committed == 500 for o in clients[1].DescribeGroup(group="readers").offsets), "and does nothing")
    clients[2].ResetOffsets(group="readers", topic="orders", to="100", partitions=[1])
    told = {o.partition: o.committed for o in clients[2].DescribeGroup(group="readers").offsets}
    check(told == {0: 500, 1: 100}, f"one partition is reset: {told}")
    check(admin.refusal(clients[1].ResetOffsets, group="readers", topic="orders", to="9999")[0] == "OUT_OF_RANGE", "not to nowhere")
    check([g.id for g in clients[3].ListGroups().groups] == ["readers"], "groups are listed")
    check("NO_MEMBERS" in causes(clients[1], group="readers"), "a group that does not progress has no members")
    clients[3].DeleteGroup(group="readers")
    check(admin.refusal(clients[1].DescribeGroup, group="readers")[0] == "NOT_FOUND", "a group is deleted")
    check(causes(clients[1], group="readers") == ["NO_GROUP"], "and explained as such")


def moves(clients):
    told = clients[1].DescribeTopic(name="orders").partitions[0]
    keep = [told.leader, next(n for n in told.replicas if n != told.leader)]
    plan = clients[1].MovePartition(topic="orders", partition=0, replicas=keep, dry_run=True)
    check(sorted(plan.removed) == sorted(set(NODES) - set(keep)) and not plan.added, f"a dry run plans: {plan}")
    check(clients[1].DescribeTopic(name="orders").partitions[0].replicas == told.replicas, "and moves nothing")
    clients[2].MovePartition(topic="orders", partition=0, replicas=keep)
    moved = wait_until(lambda: (lambda p: list(p.replicas) == keep and not p.target)(clients[1].DescribeTopic(name="orders").partitions[0]), 60)
    check(moved, "a partition moves")
    check(admin.refusal(clients[1].CancelMove, topic="orders", partition=0)[0] == "FAILED_PRECONDITION", "then there is nothing to cancel")
    code, text = admin.refusal(clients[1].DecommissionBroker, node_id=3)
    check(code == "FAILED_PRECONDITION" and "brokers left" in text, f"three replicas need three brokers: {code} {text}")
    check(admin.refusal(clients[1].ResumeBroker, node_id=9)[0] == "NOT_FOUND", "who is not there cannot be resumed")


def quorum(clients):
    told = clients[3].QuorumStatus()
    check(told.voters == told.voters_answering == 3 and [m.node_id for m in told.members] == [1, 2, 3] and told.controller in NODES,
          f"three brokers vote on the metadata: {told}")
    check([m.node_id for m in told.members if m.is_leader] == [told.controller] and told.commit_index > 0, f"one of them leads: {told}")
    to = told.controller % 3 + 1
    answer = admin.patiently(clients[to % 3 + 1].QuorumTransfer, to=to)
    check(getattr(answer, "from") == told.controller, f"whoever is asked finds the controller: {answer}")
    moved = wait_until(lambda: all(clients[n].ClusterStatus().controller == to for n in NODES), 20)
    check(moved, f"the controller is another one: {clients[1].QuorumStatus()}")
    check(clients[1].QuorumStatus().term > told.term, "in a later term")
    check(admin.refusal(clients[1].QuorumTransfer, to=9)[0] == "NOT_FOUND", "not to who is not there")
    clients[2].CreateTopic(name="after-transfer", partitions=1)
    clients[3].DeleteTopic(name="after-transfer")


def waited(cluster, clients):
    """balsactl --wait ends when the work does, not before."""
    where = ",".join(cluster.where(number) for number in NODES)
    told = clients[1].DescribeTopic(name="orders").partitions[0]
    wide = list(told.replicas) + [n for n in NODES if n not in told.replicas]
    code, out, err = ctl(where, "partition", "move", "orders", "0", ",".join(map(str, wide)), "--wait")
    now = clients[1].DescribeTopic(name="orders").partitions[0]
    check(code == 0 and "has moved" in out and list(now.replicas) == wide and not now.target, f"a move is waited for: {code} {out} {err} {now}")
    code, out, err = ctl(where, "partition", "move", "orders", "0", ",".join(map(str, told.replicas)), "--wait", "--timeout", "60")
    check(code == 0 and len(clients[1].DescribeTopic(name="orders").partitions[0].replicas) == 2, f"and back: {out} {err}")
    leader = clients[1].DescribeTopic(name="orders").partitions[0].leader
    code, out, err = ctl(where, "broker", "drain", str(leader), "--wait", "--timeout", "60")
    now = [p.leader for p in clients[1].DescribeTopic(name="orders").partitions]
    check(code == 0 and "leads nothing" in out and leader not in now, f"a drain is waited for: {code} {out} {err} {now}")
    code, _, err = ctl(where, "topic", "list", "--wait")
    check(code == 2 and "--wait" in err, f"what is done at once is not waited for: {err}")
    code, _, err = ctl(where, "partition", "move", "orders", "0", "1,2,3", "--wait", "--dry-run")
    check(code == 2 and "dry run" in err, f"nor a dry run: {err}")
    code, out, err = ctl(where, "quorum", "status")
    check(code == 0 and "voters" in out and out.count("yes") >= 7, f"the quorum as a table: {out} {err}")


def explained(cluster, clients):
    check(causes(clients[1]) == [], f"nothing is wrong with the cluster: {causes(clients[1])}")
    clients[1].AlterConfig(topic="orders", set=[{"name": "min.insync.replicas", "value": "3"}])
    cluster.kill(3)
    found = wait_until(lambda: "BROKER_DOWN" in causes(clients[1], topic="orders", partition=1), 30)
    check(found, "a dead broker is named")
    check("NOT_ENOUGH_REPLICAS" in causes(clients[1], topic="orders", partition=1), "and that it takes more for acks=all")
    cluster.kill(2)
    found = wait_until(lambda: causes(clients[1], topic="orders", partition=1)[:1] == ["NO_QUORUM"], 30)
    check(found, f"no quorum is the gravest: {causes(clients[1], topic='orders', partition=1)}")
    found = wait_until(lambda: causes(clients[1])[:1] == ["NO_CONTROLLER"], 30)
    check(found, f"of the cluster: {causes(clients[1])}")
    code, text = admin.refusal(clients[1].CreateTopic, name="later", timeout=3)
    check(code == "UNAVAILABLE" and "nothing was done" in text, f"without a controller nothing is done, and said so: {code} {text}")
    cluster.start(2, 3)
    well = wait_until(lambda: causes(clients[1]) == [], 60)
    check(well, f"all is well again: {causes(clients[1])}")


def main():
    if admin.grpc is None:
        skip("gRPC of Python", admin.MISSING)
        finish()
    with AdminCluster(count=3, shards=2) as cluster:
        clients = {number: admin.Admin(cluster.where(number)) for number in NODES}
        topics_from_anywhere(clients)
        leaders(clients)
        replicas(cluster, clients)
        groups(cluster, clients)
        moves(clients)
        quorum(clients)
        waited(cluster, clients)
        explained(cluster, clients)
        for client in clients.values():
            client.close()
    finish()


if __name__ == "__main__":
    main()
