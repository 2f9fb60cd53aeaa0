"""Administration beside topics: records deleted, sizes of replicas, producers, topics in pages, configs, rules of access. Every version of
each request, through kafka-python's codec; one broker of two shards, then three brokers, each asked.
"""
import balsa
import cluster
import speak
import wire

UNKNOWN_TOPIC, NOT_LEADER, INVALID_TOPIC, POLICY_VIOLATION, SECURITY_DISABLED = 3, 6, 17, 44, 54


def create(node, topic, partitions=1, factor=1, **configs):
    reply = speak.ask(node, "CreateTopics", 7, timeout_ms=20000, validate_only=False, topics=[
        {"name": topic, "num_partitions": partitions, "replication_factor": factor, "assignments": [],
         "configs": [{"name": name.replace("_", "."), "value": value} for name, value in configs.items()]}])
    balsa.check(reply.topics[0].error_code == 0, f"create {topic}: {reply.topics[0].error_message}")


def write(node, topic, partition, values, **producer):
    with wire.Client(node.port, host=node.host) as client:
        return client.produce(topic, partition, wire.batch(values, **producer))


def start_of(node, topic, partition):
    with wire.Client(node.port, host=node.host) as client:
        return client.list_offset(topic, partition, -2)


# ---- Records ----

def delete_records(node, topic, offsets, version=2):
    """{partition: offset} -> {partition: (error, low watermark)}"""
    reply = speak.ask(node, "DeleteRecords", version, timeout_ms=20000, topics=[
        {"name": topic, "partitions": [{"partition_index": p, "offset": o} for p, o in offsets.items()]}])
    return {p.partition_index: (p.error_code, p.low_watermark) for p in reply.topics[0].partitions}


def records_go(node):
    create(node, "records", 4)
    for partition in range(3):
        for _ in range(5):
            write(node, "records", partition, [b"x", b"y"])
    for version in range(3):
        answer = delete_records(node, "records", {0: 2 * version + 1, 1: -1, 2: 0, 9: 1}, version)
        balsa.check(answer == {0: (0, 2 * version + 1), 1: (0, 10), 2: (0, 0), 9: (UNKNOWN_TOPIC, -1)}, f"DeleteRecords {version}: {answer}")
    answer = delete_records(node, "records", {0: 11, 1: 10, 2: -2, 3: -1})
    balsa.check(answer == {0: (wire.OFFSET_OUT_OF_RANGE, -1), 1: (0, 10), 2: (wire.OFFSET_OUT_OF_RANGE, -1), 3: (0, 0)},
                f"beyond the end, the end, below zero, an empty partition: {answer}")
    answer = delete_records(node, "records", {0: 2})
    balsa.check(answer == {0: (0, 5)}, f"the start never goes back: {answer}")
    balsa.check([start_of(node, "records", p)[1] for p in range(4)] == [5, 10, 0, 0], "clients see the new starts")
    answer = delete_records(node, "none", {0: 1})
    balsa.check(answer == {0: (UNKNOWN_TOPIC, -1)}, f"of a topic that does not exist: {answer}")
    create(node, "kept", cleanup_policy="")
    write(node, "kept", 0, [b"x"])
    answer = delete_records(node, "kept", {0: 1})
    balsa.check(answer == {0: (POLICY_VIOLATION, -1)}, f"of a topic whose policy does not delete: {answer}")


# ---- Sizes ----

def log_dirs(node, topics, version=4):
    """{(topic, partition): bytes}, and the answer for the directory."""
    reply = speak.ask(node, "DescribeLogDirs", version, topics=topics)
    balsa.check(reply.error_code == 0 and len(reply.results) == 1 and reply.results[0].error_code == 0, f"DescribeLogDirs {version}: {reply}")
    return {(t.name, p.partition_index): p.partition_size for t in reply.results[0].topics for p in t.partitions}, reply.results[0]


def sizes_are_told(node):
    create(node, "sizes", 3)
    write(node, "sizes", 1, [b"s" * 1000])
    for version in range(5):
        sizes, _ = log_dirs(node, None, version)
        balsa.check({p: size for (t, p), size in sizes.items() if t == "sizes"} == {0: 0, 1: sizes["sizes", 1], 2: 0}
                    and 1000 < sizes["sizes", 1] < 1200, f"DescribeLogDirs {version}: {sizes}")
    sizes, result = log_dirs(node, [{"topic": "sizes", "partitions": [1, 7]}, {"topic": "none", "partitions": [0]}])
    balsa.check(list(sizes) == [("sizes", 1)], f"only what was asked for and exists: {sizes}")
    balsa.check(result.log_dir == node.data and 0 < result.usable_bytes <= result.total_bytes, f"the directory: {result}")
    balsa.check(log_dirs(node, [])[0] == {}, "no topics are none")


# ---- Producers ----

def producers(node, topic, partitions):
    reply = speak.ask(node, "DescribeProducers", 0, topics=[{"name": topic, "partition_indexes": partitions}])
    return {p.partition_index: (p.error_code, [(o.producer_id, o.producer_epoch, o.last_sequence, o.last_timestamp, o.coordinator_epoch,
                                                o.current_txn_start_offset) for o in p.active_producers]) for p in reply.topics[0].partitions}


def producers_are_told(node):
    create(node, "producers", 2)
    write(node, "producers", 0, [b"a", b"b"], producer=77, epoch=3, sequence=0, timestamp=1000)
    write(node, "producers", 0, [b"c"], producer=77, epoch=3, sequence=2, timestamp=2000)
    write(node, "producers", 0, [b"c"], producer=5, epoch=0, sequence=0, timestamp=3000)
    write(node, "producers", 0, [b"plain"])
    answer = producers(node, "producers", [0, 1, 2])
    balsa.check(answer == {0: (0, [(77, 3, 2, 2000, -1, -1), (5, 0, 0, 3000, -1, -1)]), 1: (0, []), 2: (UNKNOWN_TOPIC, [])},
                f"DescribeProducers: {answer}")


# ---- Pages of topics ----

def page(node, topics, limit, cursor=None):
    cursor = cursor and {"topic_name": cursor[0], "partition_index": cursor[1]}
    reply = speak.ask(node, "DescribeTopicPartitions", 0, topics=[{"name": name} for name in topics], response_partition_limit=limit, cursor=cursor)
    following = reply.next_cursor and (reply.next_cursor.topic_name, reply.next_cursor.partition_index)
    return [(t.name, t.error_code, [p.partition_index for p in t.partitions]) for t in reply.topics], following, reply


def topics_come_in_pages(node):
    for number in range(3):
        create(node, f"page-{number}", 4)
    wanted = ["page-2", "page-0", "page-1", "page-0", "page-none"]
    for limit in (1, 2, 3, 4, 5, 12, 100):
        found, cursor = {}, None
        for _ in range(20):
            topics, cursor, _ = page(node, wanted, limit, cursor)
            balsa.check(sum(len(partitions) for _, _, partitions in topics) <= limit, f"pages of {limit}: {topics}")
            for name, error, partitions in topics:
                balsa.check(error == (UNKNOWN_TOPIC if name == "page-none" else 0), f"{name}: {error}")
                found.setdefault(name, []).extend(partitions)
            if cursor is None:
                break
        balsa.check(found == {"page-0": [0, 1, 2, 3], "page-1": [0, 1, 2, 3], "page-2": [0, 1, 2, 3], "page-none": []}, f"pages of {limit}: {found}")
    topics, cursor, reply = page(node, [], 2000)
    balsa.check([t for t, _, _ in topics] == sorted(node_topics(node)) and cursor is None, f"all topics, in order: {topics}")
    one = next(t for t in reply.topics if t.name == "page-1")
    balsa.check(all(p.leader_id == 1 and p.leader_epoch > 0 and p.replica_nodes == [1] and p.isr_nodes == [1] and p.offline_replicas == []
                    and p.eligible_leader_replicas is None for p in one.partitions), f"partitions: {one}")
    balsa.check(page(node, ["page-0", "page-2"], 100, ("page-1", 2))[0] == [("page-2", 0, [0, 1, 2, 3])], "a cursor's topic that is not asked for")
    balsa.check(page(node, ["page-0"], 100, ("page-0", -1))[0] == [("page-0", 42, [])], "a cursor that cannot be")
    balsa.check(page(node, ["bad name"], 100)[0] == [("bad name", INVALID_TOPIC, [])], "a bad name")


def node_topics(node):
    reply = speak.ask(node, "Metadata", 12, topics=None, allow_auto_topic_creation=False)
    return [topic.name for topic in reply.topics]


# ---- Rules of access ----

def no_rules(node):
    match = {"principal_filter": None, "host_filter": None, "operation": 1, "permission_type": 1}
    rule = {"resource_type": 2, "resource_name": "t", "principal": "User:a", "host": "*", "operation": 3, "permission_type": 3}
    for version in range(4):
        reply = speak.ask(node, "DescribeAcls", version, resource_type_filter=1, resource_name_filter=None, **match)
        balsa.check(reply.error_code == SECURITY_DISABLED and reply.resources == [], f"DescribeAcls {version}: {reply}")
        reply = speak.ask(node, "CreateAcls", version, creations=[rule, rule])
        balsa.check([r.error_code for r in reply.results] == 2 * [SECURITY_DISABLED], f"CreateAcls {version}: {reply}")
        reply = speak.ask(node, "DeleteAcls", version, filters=[{"resource_type_filter": 2, "resource_name_filter": "t", **match}])
        balsa.check([(r.error_code, r.matching_acls) for r in reply.filter_results] == [(SECURITY_DISABLED, [])], f"DeleteAcls {version}: {reply}")
    balsa.check(speak.ask(node, "CreateAcls", 3, creations=[]).results == [], "no rules to create")


# ---- Three brokers ----

def by_leader(brokers):
    create(brokers[1], "led", 3, 3)
    for partition in range(3):
        leader = brokers.leader_of("led", partition)
        for number, node in brokers.nodes.items():
            if number == leader:
                balsa.check(write(node, "led", partition, [b"x", b"y"], producer=9, epoch=0, sequence=0)[0] == 0, f"led-{partition} written")
                balsa.check(producers(node, "led", [partition])[partition][1][0][:3] == (9, 0, 1), f"producers of led-{partition}, asked of its leader")
        for number, node in brokers.nodes.items():
            if number != leader:
                balsa.check(delete_records(node, "led", {partition: 1}) == {partition: (NOT_LEADER, -1)}, f"led-{partition} asked of {number}")
                balsa.check(producers(node, "led", [partition])[partition] == (NOT_LEADER, []), f"producers of led-{partition} asked of {number}")
        balsa.check(delete_records(brokers[leader], "led", {partition: 1}) == {partition: (0, 1)}, f"led-{partition} asked of its leader")
    for number, node in brokers.nodes.items():
        def is_whole(node=node):
            sizes, _ = log_dirs(node, [{"topic": "led", "partitions": [0, 1, 2]}])
            return len(sizes) == 3 and min(sizes.values()) > 0
        balsa.check(balsa.wait_until(is_whole, 20), f"broker {number} tells the sizes of its own three replicas")


def main():
    try:
        speak.find("DeleteRecordsRequest")
    except ImportError as error:
        balsa.skip("admin", str(error))
        balsa.finish()
    with balsa.Broker(shards=2) as broker:
        records_go(broker)
        sizes_are_told(broker)
        producers_are_told(broker)
        topics_come_in_pages(broker)
        no_rules(broker)
    with cluster.Cluster(3, shards=2) as brokers:
        by_leader(brokers)
    balsa.finish()


if __name__ == "__main__":
    main()
