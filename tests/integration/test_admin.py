"""Administration beside topics: records deleted, sizes of replicas, producers, topics in pages, configs, rules of access. Every version of
each request, through kafka-python's codec; one broker of two shards, then three brokers, each asked.
"""
import threading

import balsa
import cluster
import speak
import wire

UNKNOWN_TOPIC, NOT_LEADER, INVALID_TOPIC, INVALID_CONFIG, INVALID_REQUEST, POLICY_VIOLATION, SECURITY_DISABLED = 3, 6, 17, 40, 42, 44, 54
MESSAGE_TOO_LARGE, UNKNOWN_BROKER = 10, 102
TOPIC, BROKER, LOGGER = 2, 4, 8
SET, DELETE, APPEND, SUBTRACT = range(4)
OF_TOPIC, OF_BROKER_ALTERED, OF_CLUSTER_ALTERED, OF_FILE, OF_TABLE = 1, 2, 3, 4, 5


def create(node, topic, partitions=1, factor=1, on=None, **configs):
    """`on`: one partition, on this broker."""
    placed = [] if on is None else [{"partition_index": 0, "broker_ids": [on]}]
    reply = speak.ask(node, "CreateTopics", 7, timeout_ms=20000, validate_only=False, topics=[
        {"name": topic, "num_partitions": -1 if placed else partitions, "replication_factor": -1 if placed else factor, "assignments": placed,
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
                    and p.eligible_leader_replicas == [] and p.last_known_elr == [] for p in one.partitions), f"partitions: {one}")
    balsa.check(page(node, ["page-0", "page-2"], 100, ("page-1", 2))[0] == [("page-2", 0, [0, 1, 2, 3])], "a cursor's topic that is not asked for")
    balsa.check(page(node, ["page-0"], 100, ("page-0", -1))[0] == [("page-0", 42, [])], "a cursor that cannot be")
    balsa.check(page(node, ["bad name"], 100)[0] == [("bad name", INVALID_TOPIC, [])], "a bad name")


def node_topics(node):
    reply = speak.ask(node, "Metadata", 12, topics=None, allow_auto_topic_creation=False)
    return [topic.name for topic in reply.topics]


# ---- Configs ----

def alter(node, resources, version=1, validate_only=False):
    """{(type, name): [(operation, key, value)]} -> {(type, name): (error, text)}"""
    reply = speak.ask(node, "IncrementalAlterConfigs", version, validate_only=validate_only, resources=[
        {"resource_type": kind, "resource_name": name,
         "configs": [{"name": key, "config_operation": operation, "value": value} for operation, key, value in changes]}
        for (kind, name), changes in resources.items()])
    return {(r.resource_type, r.resource_name): (r.error_code, r.error_message) for r in reply.responses}


def replace(node, topic, configs, version=2, validate_only=False, kind=TOPIC):
    reply = speak.ask(node, "AlterConfigs", version, validate_only=validate_only, resources=[
        {"resource_type": kind, "resource_name": topic, "configs": [{"name": key, "value": value} for key, value in configs.items()]}])
    return reply.responses[0].error_code, reply.responses[0].error_message


def configs_of(node, name, kind=TOPIC, keys=None, version=4):
    """{key: entry}"""
    reply = speak.ask(node, "DescribeConfigs", version, include_synonyms=version > 0, include_documentation=False,
                      resources=[{"resource_type": kind, "resource_name": name, "configuration_keys": keys}])
    balsa.check(reply.results[0].error_code == 0, f"DescribeConfigs of {name}: {reply.results[0].error_message}")
    return {entry.name: entry for entry in reply.results[0].configs}


def own(node, topic):
    """What is set on the topic."""
    return {name: entry.value for name, entry in configs_of(node, topic).items() if entry.config_source == OF_TOPIC}


def synonyms(entry):
    return [(s.source, s.name, s.value) for s in entry.synonyms]


def topics_are_altered(node, topic="altered"):
    create(node, topic, retention_ms="1000")
    one = (TOPIC, topic)
    for version in range(2):
        answer = alter(node, {one: [(SET, "retention.ms", str(2000 + version)), (SET, "segment.bytes", "2000000")]}, version)
        balsa.check(answer == {one: (0, None)} and own(node, topic) == {"retention.ms": str(2000 + version), "segment.bytes": "2000000"},
                    f"set {version}: {answer} {own(node, topic)}")
    entry = configs_of(node, topic)["retention.ms"]
    balsa.check(synonyms(entry) == [(OF_TOPIC, "retention.ms", "2001"), (OF_TABLE, "log.retention.ms", "604800000")] and not entry.read_only,
                f"synonyms: {synonyms(entry)}")
    answer = alter(node, {one: [(DELETE, "retention.ms", None), (DELETE, "flush.ms", None), (DELETE, "no.such", None)]})
    balsa.check(answer == {one: (0, None)} and own(node, topic) == {"segment.bytes": "2000000"}, f"delete: {answer} {own(node, topic)}")
    throttled = "leader.replication.throttled.replicas"
    for operation, value, wanted in ((APPEND, "0:1,0:2", "0:1,0:2"), (APPEND, "0:2,0:3", "0:1,0:2,0:3"), (SUBTRACT, "0:1,9:9", "0:2,0:3"),
                                     (SUBTRACT, "0:2,0:3", ""), (APPEND, "1:1", "1:1"), (DELETE, None, None)):
        answer = alter(node, {one: [(operation, throttled, value)]})
        balsa.check(answer == {one: (0, None)} and own(node, topic).get(throttled) == wanted, f"{operation} {value}: {answer} {own(node, topic)}")
    answer = alter(node, {one: [(APPEND, "cleanup.policy", "delete")]})
    balsa.check(answer == {one: (0, None)} and own(node, topic)["cleanup.policy"] == "delete", f"appended to what is inherited: {answer}")


def bad_alterations(node, topic="altered"):
    before = own(node, topic)
    one = (TOPIC, topic)
    for changes, error, word in (
            ([(SET, "retention.ms", "5"), (SET, "no.such", "1")], INVALID_CONFIG, "no.such"),
            ([(SET, "retention.ms", "soon")], INVALID_CONFIG, "integer"),
            ([(SET, "retention.ms", None)], INVALID_REQUEST, "Null value"),
            ([(SET, "retention.ms", "1"), (DELETE, "retention.ms", None)], INVALID_REQUEST, "duplicate"),
            ([(APPEND, "retention.ms", "1")], INVALID_CONFIG, "not LIST"),
            ([(SUBTRACT, "segment.bytes", "1")], INVALID_CONFIG, "not LIST"),
            ([(APPEND, "no.such", "1")], INVALID_CONFIG, "no.such"),
            ([(APPEND, "cleanup.policy", "shred")], INVALID_CONFIG, "cleanup.policy"),
            ([(7, "retention.ms", "1")], INVALID_REQUEST, "operation 7"),
            ([(SET, "remote.storage.enable", "true")], INVALID_CONFIG, "remote.storage.enable"),
            ([(SET, "follower.replication.throttled.replicas", "0:1," * 8191 + "0:111")], INVALID_CONFIG, "32767"),
            ([(SET, f"key-{n}", "1") for n in range(1001)], INVALID_REQUEST, "at most")):
        answer = alter(node, {one: changes})[one]
        balsa.check(answer[0] == error and word in (answer[1] or ""), f"{str(changes)[:80]}: {answer}")
        balsa.check(own(node, topic) == before, f"{str(changes)[:80]}: nothing is changed")
    answer = alter(node, {one: [(SET, "retention.ms", "5")]}, validate_only=True)
    balsa.check(answer == {one: (0, None)} and own(node, topic) == before, f"only validated: {answer}")
    answer = alter(node, {one: [(SET, "segment.ms", "1000")], (TOPIC, "none"): [(SET, "segment.ms", "1")], (TOPIC, "bad name"): [],
                          (LOGGER, "1"): [(SET, "root", "DEBUG")], (16, "x"): [], (BROKER, "first"): [], (BROKER, "99"): [(SET, "log.roll.ms", "1")]})
    balsa.check([answer[r][0] for r in answer] == [0, UNKNOWN_TOPIC, UNKNOWN_TOPIC, INVALID_REQUEST, INVALID_REQUEST, INVALID_REQUEST, UNKNOWN_BROKER],
                f"each resource is answered on its own: {answer}")
    reply = speak.ask(node, "IncrementalAlterConfigs", 1, validate_only=False, resources=2 * [
        {"resource_type": TOPIC, "resource_name": topic, "configs": [{"name": "retention.ms", "config_operation": SET, "value": "9"}]}])
    balsa.check([r.error_code for r in reply.responses] == 2 * [INVALID_REQUEST] and "retention.ms" not in own(node, topic), f"a topic named twice: {reply}")


def configs_are_replaced(node, topic="replaced"):
    create(node, topic, retention_ms="1000", segment_ms="5000")
    for version in range(3):
        answer = replace(node, topic, {"retention.ms": "3000", "flush.ms": str(version)}, version)
        balsa.check(answer == (0, None) and own(node, topic) == {"retention.ms": "3000", "flush.ms": str(version)}, f"AlterConfigs {version}: {answer}")
    answer = replace(node, topic, {}, validate_only=True)
    balsa.check(answer == (0, None) and len(own(node, topic)) == 2, f"only validated: {answer}")
    balsa.check(replace(node, topic, {"retention.ms": None})[0] == INVALID_REQUEST and len(own(node, topic)) == 2, "null")
    balsa.check(replace(node, topic, {"x": "1"})[0] == INVALID_CONFIG and len(own(node, topic)) == 2, "an unknown key")
    balsa.check(replace(node, topic, {}) == (0, None) and own(node, topic) == {}, "replaced by nothing")


def described_is_taken_back(node):
    """What DescribeConfigs tells can be set, key by key: tools copy topics so."""
    create(node, "copied")
    told = configs_of(node, "altered")
    answer = replace(node, "copied", {name: entry.value for name, entry in told.items()})
    balsa.check(answer == (0, None), f"all that was told is accepted: {answer}")
    balsa.check({n: e.value for n, e in configs_of(node, "copied").items()} == {n: e.value for n, e in told.items()}, "and told again")


def many_append_at_once(node, topic="appended"):
    """Lists that grow under several clients lose nothing."""
    create(node, topic)
    key = "follower.replication.throttled.replicas"
    errors = []

    def run(number):
        for step in range(10):
            errors.append(alter(node, {(TOPIC, topic): [(APPEND, key, f"{number}:{step}")]})[TOPIC, topic][0])
    threads = [threading.Thread(target=run, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = own(node, topic)[key].split(",")
    balsa.check(errors == 80 * [0] and sorted(found) == sorted(f"{n}:{s}" for n in range(8) for s in range(10)), f"{len(found)} of 80 elements: {errors}")


def brokers_are_altered(node, others=()):
    own_id = str(node.number if hasattr(node, "number") else 1)
    every, one = (BROKER, ""), (BROKER, own_id)
    create(node, "inherits", on=int(own_id))
    create(node, "insists", on=int(own_id), max_message_bytes="500000")
    answer = alter(node, {every: [(SET, "message.max.bytes", "2000"), (SET, "log.retention.ms", "7000")], one: [(SET, "log.retention.ms", "8000")]})
    balsa.check(answer == {every: (0, None), one: (0, None)}, f"altered: {answer}")
    told = configs_of(node, "inherits")
    balsa.check((told["max.message.bytes"].value, told["max.message.bytes"].config_source) == ("2000", OF_CLUSTER_ALTERED), f"{told['max.message.bytes']}")
    balsa.check(synonyms(told["retention.ms"]) == [(OF_BROKER_ALTERED, "log.retention.ms", "8000"), (OF_CLUSTER_ALTERED, "log.retention.ms", "7000"),
                                                   (OF_TABLE, "log.retention.ms", "604800000")], f"{synonyms(told['retention.ms'])}")
    balsa.check(configs_of(node, "insists")["max.message.bytes"].value == "500000", "a topic's own value counts")
    entry = configs_of(node, own_id, BROKER)["log.retention.ms"]
    balsa.check((entry.value, entry.config_source, entry.read_only) == ("8000", OF_BROKER_ALTERED, False), f"of the broker: {entry}")
    balsa.check(configs_of(node, own_id, BROKER)["num.io.threads"].read_only, "others are read-only")
    balsa.check({n: e.value for n, e in configs_of(node, "", BROKER).items()} == {"message.max.bytes": "2000", "log.retention.ms": "7000"}, "of all brokers")
    for other in others:
        told = balsa.wait_until(lambda other=other: configs_of(other, "inherits")["retention.ms"].value == "7000", 20)
        balsa.check(told, f"broker {other.number} has what was altered for all")
    large = balsa.wait_until(lambda: write(node, "inherits", 0, [b"x" * 3000])[0] == MESSAGE_TOO_LARGE, 20)
    balsa.check(large, "what is altered counts at once")
    balsa.check(write(node, "insists", 0, [b"x" * 3000])[0] == 0, "and where a topic has its own it does not")
    answer = alter(node, {one: [(SET, "num.io.threads", "4")]})
    balsa.check(answer[one][0] == INVALID_CONFIG and "cannot be altered" in answer[one][1], f"not dynamic: {answer}")
    answer = alter(node, {one: [(SET, "follower.replication.throttled.rate", "4")]})
    balsa.check(answer[one][0] == INVALID_CONFIG and "balsa.catchup" in answer[one][1], f"a throttle: {answer}")
    answer = alter(node, {one: [(DELETE, "follower.replication.throttled.rate", None)]})
    balsa.check(answer == {one: (0, None)}, f"no throttle to delete: {answer}")


def alterations_end(node):
    own_id = str(node.number if hasattr(node, "number") else 1)
    balsa.check(own(node, "replaced") == {} and own(node, "altered")["segment.ms"] == "1000", "topics' configs outlive a restart")
    balsa.check(configs_of(node, "inherits")["retention.ms"].value == "8000", "brokers' too")
    balsa.check(replace(node, "", {}, kind=BROKER) == (0, None) and replace(node, own_id, {}, kind=BROKER) == (0, None), "replaced by nothing")
    balsa.check(configs_of(node, "inherits")["retention.ms"].config_source == OF_TABLE and configs_of(node, "", BROKER) == {}, "nothing is altered any more")
    balsa.check(balsa.wait_until(lambda: write(node, "inherits", 0, [b"x" * 3000])[0] == 0, 20), "large records again")


def restart(broker):
    broker.stop()
    broker.start()
    balsa.wait_until(lambda: write(broker, "altered", 0, [b"x"])[0] == 0, 30)


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

def leader_answers(brokers, partition):
    """Leadership may move while it is asked: then once more."""
    leader = brokers[brokers.leader_of("led", partition)]
    return (write(leader, "led", partition, [b"x", b"y"], producer=9, epoch=0, sequence=0)[0] == 0
            and [p[:3] for p in producers(leader, "led", [partition])[partition][1]] == [(9, 0, 1)]
            and delete_records(leader, "led", {partition: 1}) == {partition: (0, 1)})


def by_leader(brokers):
    create(brokers[1], "led", 3, 3)
    for partition in range(3):
        balsa.check(balsa.wait_until(lambda partition=partition: leader_answers(brokers, partition), 60, 0.2), f"led-{partition}: its leader answers")
        leader = brokers.leader_of("led", partition)
        for number, node in brokers.nodes.items():
            if number != leader:
                balsa.check(delete_records(node, "led", {partition: 1}) == {partition: (NOT_LEADER, -1)}, f"led-{partition} asked of {number}")
                balsa.check(producers(node, "led", [partition])[partition] == (NOT_LEADER, []), f"producers of led-{partition} asked of {number}")
    for number, node in brokers.nodes.items():
        def is_whole(node=node):
            sizes, _ = log_dirs(node, [{"topic": "led", "partitions": [0, 1, 2]}])
            return len(sizes) == 3 and min(sizes.values()) > 0
        balsa.check(balsa.wait_until(is_whole, 20), f"broker {number} tells the sizes of its own three replicas")


def by_each(brokers):
    """The controller decides, whoever is asked, and who was asked tells at once."""
    for number, node in brokers.nodes.items():
        topics_are_altered(node, f"altered-{number}")
        bad_alterations(node, f"altered-{number}")
        configs_are_replaced(node, f"replaced-{number}")
    many_append_at_once(brokers[2])
    others = [node for number, node in brokers.nodes.items() if number != 3]
    brokers_are_altered(brokers[3], others)


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
        topics_are_altered(broker)
        bad_alterations(broker)
        configs_are_replaced(broker)
        described_is_taken_back(broker)
        many_append_at_once(broker)
        brokers_are_altered(broker)
        restart(broker)
        alterations_end(broker)
    with cluster.Cluster(3, shards=2) as brokers:
        by_leader(brokers)
        by_each(brokers)
    balsa.finish()


if __name__ == "__main__":
    main()
