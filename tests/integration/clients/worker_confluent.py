"""confluent-kafka (librdkafka) as producer, consumer by assignment and admin client."""
import json
import os
import time
import uuid

import confluent_kafka
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic, OffsetSpec

import records

report = records.Report()
BROKERS = int(os.environ.get("BROKERS", "1"))
REPLICAS = min(BROKERS, 3)


def version():
    report.note(f"version confluent-kafka {confluent_kafka.version()[0]} (librdkafka {confluent_kafka.libversion()[0]})")


def consumer(broker, **more):
    """A group id must be given but no coordinator is asked: nothing is subscribed to, nothing committed."""
    return Consumer({"bootstrap.servers": broker, "group.id": "balsa", "enable.auto.commit": False, "enable.partition.eof": True,
                     "topic.metadata.propagation.max.ms": 500, "auto.offset.reset": "error", "fetch.message.max.bytes": 1 << 20, "queued.max.messages.kbytes": 65536, **more})


def produce(broker, topic, path, codec, acks, idempotent):
    producer = Producer({"bootstrap.servers": broker, "compression.type": codec, "acks": acks,
                         "enable.idempotence": idempotent == "1", "message.max.bytes": 1048588, "linger.ms": 20,
                         "queue.buffering.max.kbytes": 131072, "message.timeout.ms": 120000})
    next_offset = {}
    errors = []
    acked = 0

    def on_delivery(error, message):
        nonlocal acked
        if error is not None:
            errors.append(str(error))
            return
        acked += 1
        if acks != "0":
            due = next_offset.get(message.partition(), 0)
            if message.offset() != due:
                errors.append(f"partition {message.partition()}: acknowledged at {message.offset()} instead of {due}")
            next_offset[message.partition()] = message.offset() + 1

    sent = 0
    for partition, timestamp, key, value, headers in records.read(path):
        while True:
            try:
                producer.produce(topic, value, key, partition, timestamp=timestamp,
                                 headers=[(name.decode(), text) for name, text in headers] or None, on_delivery=on_delivery)
                break
            except BufferError:
                producer.poll(0.1)
        sent += 1
        if sent % 1000 == 0:
            producer.poll(0)
    left = producer.flush(120)
    report.check(not errors and left == 0 and acked == sent, f"{sent} sent, {acked} acknowledged, each where it belongs {errors[:3]}")


def consume(broker, out, *topics):
    reader = consumer(broker)
    digests = records.Digests(out)
    metadata = reader.list_topics(timeout=20)
    places = [TopicPartition(topic, p, 0) for topic in topics for p in metadata.topics[topic].partitions]
    reader.assign(places)
    left = len(places)
    silent_since = time.monotonic()
    while left and time.monotonic() - silent_since < 60:
        for message in reader.consume(2000, 1.0):
            silent_since = time.monotonic()
            if message.error():
                if message.error().code() == KafkaError._PARTITION_EOF:
                    left -= 1
                    continue
                raise KafkaException(message.error())
            digests.add(message.topic(), message.partition(), message.offset(), message.timestamp()[1], message.key(), message.value(),
                        [(name.encode(), text) for name, text in message.headers() or []])
    reader.close()
    digests.close()
    report.check(left == 0, f"{len(places)} partitions read to their end")


def offsets(broker, topic, *times):
    admin = AdminClient({"bootstrap.servers": broker})
    partitions = admin.list_topics(topic, timeout=20).topics[topic].partitions
    specs = {"earliest": OffsetSpec.earliest(), "latest": OffsetSpec.latest(), "max": OffsetSpec.max_timestamp()}
    specs.update({t: OffsetSpec.for_timestamp(int(t)) for t in times})
    answer = {}
    for name, spec in specs.items():
        asked = admin.list_offsets({TopicPartition(topic, p): spec for p in partitions}, request_timeout=20)
        results = {place.partition: future.result() for place, future in asked.items()}
        answer[name] = {p: r.offset for p, r in results.items()}
        if name == "max":
            answer["max_time"] = {p: r.timestamp for p, r in results.items()}
    print("offsets " + json.dumps(answer))


def wait(futures):
    return {name: future.result(30) for name, future in futures.items()}


def admin(broker):
    client = AdminClient({"bootstrap.servers": broker})
    topic = f"admin-{uuid.uuid4().hex[:8]}"
    wait(client.create_topics([NewTopic(topic, 3, REPLICAS, config={"retention.ms": "-1", "max.message.bytes": "2000000"})]))
    found = client.list_topics(topic, timeout=20).topics[topic]
    report.check(sorted(found.partitions) == [0, 1, 2] and found.error is None, "a created topic has its partitions")
    report.check(all(p.leader >= 0 and p.error is None for p in found.partitions.values()), "and a leader for each, at once")
    report.expect(lambda: wait(client.create_topics([NewTopic(topic, 3, REPLICAS)])), "TOPIC_ALREADY_EXISTS", "create it again")
    report.expect(lambda: wait(client.create_topics([NewTopic("bad/name", 1, 1)])), "TOPIC_EXCEPTION", "create a bad name")
    report.expect(lambda: wait(client.create_topics([NewTopic(topic + "x", 1, BROKERS + 1)])), "REPLICATION_FACTOR", "more replicas than brokers")
    report.expect(lambda: wait(client.create_topics([NewTopic(topic + "x", 0, 1)])), "INVALID_PARTITIONS", "no partitions")
    report.expect(lambda: wait(client.create_topics([NewTopic(topic + "x", 1, 1, config={"retention.ms": "soon"})])), "INVALID_CONFIG",
                  "a bad config value")
    report.expect(lambda: wait(client.create_topics([NewTopic(topic + "x", 1, 1, config={"no.such": "1"})])), "INVALID_CONFIG",
                  "an unknown config")
    wait(client.create_topics([NewTopic(topic + "-dry", 1, 1)], validate_only=True))
    report.check(topic + "-dry" not in client.list_topics(timeout=20).topics, "validate_only creates nothing")
    wait(client.create_partitions([NewPartitions(topic, 5)]))
    report.check(len(client.list_topics(topic, timeout=20).topics[topic].partitions) == 5, "partitions are added")
    report.expect(lambda: wait(client.create_partitions([NewPartitions(topic, 4)])), "INVALID_PARTITIONS", "fewer partitions")
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    configs = wait(client.describe_configs([resource]))[resource]
    report.check(configs["retention.ms"].value == "-1" and configs["max.message.bytes"].value == "2000000", "configs as created")
    report.check(configs["cleanup.policy"].value == "delete" and configs["cleanup.policy"].is_default, "other configs at their default")
    broker_resource = ConfigResource(ConfigResource.Type.BROKER, "1")
    configs = wait(client.describe_configs([broker_resource]))[broker_resource]
    report.check("log.retention.hours" in configs and "listeners" in configs, f"{len(configs)} broker configs")
    report.expect(lambda: wait(client.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, "nowhere")])), "UNKNOWN_TOPIC",
                  "configs of an unknown topic")
    cluster = client.describe_cluster(request_timeout=20).result()
    report.check(len(cluster.nodes) == BROKERS and cluster.cluster_id and cluster.controller is not None, f"cluster {cluster.cluster_id}")
    described = wait(client.describe_topics(TopicCollection([topic])))[topic]
    report.check(len(described.partitions) == 5 and described.topic_id, "topic described, with its id")
    wait(client.delete_topics([topic]))
    report.check(records.soon(lambda: topic not in client.list_topics(timeout=20).topics, BROKERS), "a deleted topic is gone")
    report.expect(lambda: wait(client.delete_topics([topic])), "UNKNOWN_TOPIC", "delete it again")
    again(broker, client, topic)
    unknown(broker)


def again(broker, client, topic):
    """A topic of the same name starts from nothing."""
    for round_number in range(3):
        wait(client.create_topics([NewTopic(topic, 1, REPLICAS)]))
        producer = Producer({"bootstrap.servers": broker, "enable.idempotence": True})
        for number in range(round_number + 1):
            producer.produce(topic, f"{round_number}/{number}", partition=0)
        producer.flush(30)
        reader = consumer(broker)
        report.check(reader.get_watermark_offsets(TopicPartition(topic, 0), timeout=20) == (0, round_number + 1), "recreated: own offsets")
        reader.assign([TopicPartition(topic, 0, 0)])
        values = []
        while True:
            message = reader.poll(20)
            if message is None or message.error():
                break
            values.append(message.value().decode())
        reader.close()
        report.check(values == [f"{round_number}/{n}" for n in range(round_number + 1)], f"recreated: own records {values}")
        wait(client.delete_topics([topic]))


def unknown(broker):
    reader = consumer(broker)
    found = reader.list_topics("nowhere-1", timeout=20).topics["nowhere-1"]
    report.check(found.error is not None and found.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART, "a consumer creates no topic")
    report.check("nowhere-1" not in reader.list_topics(timeout=20).topics, "really")
    topic = f"late-{uuid.uuid4().hex[:8]}"
    reader.assign([TopicPartition(topic, 0, 0)])
    report.check(reader.poll(1) is None, "a consumer of a topic that does not exist yet waits")
    producer = Producer({"bootstrap.servers": broker})
    producer.produce(topic, b"first", partition=0)
    producer.flush(30)
    message = reader.poll(20)
    report.check(message is not None and message.error() is None and message.value() == b"first", "and reads it once it is created")
    reader.close()
    closed = Producer({"bootstrap.servers": broker, "allow.auto.create.topics": False, "message.timeout.ms": 5000,
                       "topic.metadata.propagation.max.ms": 1000, "log_level": 0})
    errors = []
    closed.produce("nowhere-3", b"x", on_delivery=lambda error, message: errors.append(error))
    closed.flush(20)
    report.check(len(errors) == 1 and errors[0] is not None, f"no auto-creation when the client forbids it: {errors}")


def member(broker, topic, group, commit):
    leaving = records.Leaving()
    reader = Consumer({"bootstrap.servers": broker, "group.id": group, "enable.auto.commit": False, "auto.offset.reset": "earliest",
                       "session.timeout.ms": 6000, "heartbeat.interval.ms": 500})
    reader.subscribe([topic])
    while not leaving.is_asked:
        messages = [m for m in reader.consume(500, 0.2) if not m.error()]
        for message in messages:
            records.have(message.partition(), message.offset())
        if messages:
            try:
                reader.commit(asynchronous=commit == "async")
            except KafkaException as error:  # a rebalance is under way: what was read is read again by whoever has it then
                report.note(f"commit: {error}")
    reader.close()
    print("left", flush=True)


records.run({"member": member, "version": version, "produce": produce, "consume": consume, "offsets": offsets, "admin": admin})
