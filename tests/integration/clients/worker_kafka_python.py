"""kafka-python as producer, consumer by assignment and admin client."""
import json
import os
import time
import uuid

import kafka
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewPartitions, NewTopic

import records

report = records.Report()
BROKERS = int(os.environ.get("BROKERS", "1"))
REPLICAS = min(BROKERS, 3)


def version():
    report.note(f"version kafka-python {kafka.__version__}")


def consumer(broker):
    return KafkaConsumer(bootstrap_servers=broker, group_id=None, enable_auto_commit=False, auto_offset_reset="none",
                         fetch_max_wait_ms=500, max_poll_records=5000, max_partition_fetch_bytes=1 << 20)


def produce(broker, topic, path, codec, acks, idempotent):
    producer = KafkaProducer(bootstrap_servers=broker, compression_type=None if codec == "none" else codec,
                             acks="all" if acks == "all" else int(acks), enable_idempotence=idempotent == "1",
                             max_in_flight_requests_per_connection=5 if idempotent == "1" else 1, max_request_size=1048588,
                             batch_size=65536, linger_ms=20, max_block_ms=60000)
    next_offset = {}
    errors = []
    futures = []

    def settle():
        for partition, future in futures:
            try:
                metadata = future.get(120)
            except Exception as error:  # pylint: disable=broad-except
                errors.append(str(error))
                continue
            due = next_offset.get(partition, 0)
            if acks != "0" and metadata.offset != due:
                errors.append(f"partition {partition}: acknowledged at {metadata.offset} instead of {due}")
            next_offset[partition] = due + 1
        futures.clear()

    sent = 0
    for partition, timestamp, key, value, headers in records.read(path):
        futures.append((partition, producer.send(topic, value, key, [(name.decode(), text) for name, text in headers], partition,
                                                 timestamp)))
        sent += 1
        if len(futures) == 20000:
            settle()
    producer.flush(120)
    settle()
    producer.close()
    report.check(not errors, f"{sent} sent and acknowledged, each where it belongs {errors[:3]}")


def consume(broker, out, *topics):
    reader = consumer(broker)
    digests = records.Digests(out)
    places = [TopicPartition(topic, p) for topic in topics for p in reader.partitions_for_topic(topic)]
    reader.assign(places)
    ends = reader.end_offsets(places)
    reader.seek_to_beginning(*places)
    left = {place for place in places if ends[place]}
    silent_since = time.monotonic()
    while left and time.monotonic() - silent_since < 60:
        for place, messages in reader.poll(1000).items():
            silent_since = time.monotonic()
            for m in messages:
                digests.add(m.topic, m.partition, m.offset, m.timestamp, m.key, m.value, [(n.encode(), text) for n, text in m.headers])
            if reader.position(place) >= ends[place]:
                left.discard(place)
    reader.close()
    digests.close()
    report.check(not left, f"{len(places)} partitions read to their end")


def offsets(broker, topic, *times):
    reader = consumer(broker)
    places = [TopicPartition(topic, p) for p in reader.partitions_for_topic(topic)]
    answer = {"earliest": {p.partition: o for p, o in reader.beginning_offsets(places).items()},
              "latest": {p.partition: o for p, o in reader.end_offsets(places).items()}}
    for t in times:
        found = reader.offsets_for_times({place: int(t) for place in places})
        answer[t] = {p.partition: -1 if o is None else o.offset for p, o in found.items()}
    reader.close()
    client = KafkaAdminClient(bootstrap_servers=broker)
    found = client.list_partition_offsets({place: kafka.admin.OffsetSpec.MAX_TIMESTAMP for place in places})
    answer["max"] = {p.partition: o.offset for p, o in found.items()}
    answer["max_time"] = {p.partition: o.timestamp for p, o in found.items()}
    client.close()
    print("offsets " + json.dumps(answer))


def admin(broker):
    client = KafkaAdminClient(bootstrap_servers=broker)
    topic = f"admin-{uuid.uuid4().hex[:8]}"
    client.create_topics([NewTopic(topic, 3, REPLICAS, topic_configs={"retention.ms": "-1", "max.message.bytes": "2000000"})])
    found = client.describe_topics([topic])[0]
    report.check(len(found["partitions"]) == 3, "a created topic has its partitions")
    report.check(all(p["leader_id"] >= 0 for p in found["partitions"]), "and a leader for each, at once")
    report.expect(lambda: client.create_topics([NewTopic(topic, 3, REPLICAS)]), "TopicAlreadyExists", "create it again")
    report.expect(lambda: client.create_topics([NewTopic("bad/name", 1, 1)]), "InvalidTopic", "create a bad name")
    client.create_partitions({topic: NewPartitions(5)})
    report.check(len(client.describe_topics([topic])[0]["partitions"]) == 5, "partitions are added")
    report.expect(lambda: client.create_partitions({topic: NewPartitions(4)}), "InvalidPartitions", "fewer partitions")
    report.note(f"configs {client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])}"[:300])
    cluster = client.describe_cluster()
    report.check(len(cluster["brokers"]) == BROKERS and cluster["cluster_id"], f"cluster {cluster['cluster_id']}")
    client.delete_topics([topic])
    report.check(records.soon(lambda: topic not in client.list_topics(), BROKERS), "a deleted topic is gone")
    report.expect(lambda: client.delete_topics([topic]), "UnknownTopic", "delete it again")
    client.close()


def member(broker, topic, group, commit):
    leaving = records.Leaving()
    reader = KafkaConsumer(topic, bootstrap_servers=broker, group_id=group, enable_auto_commit=False, auto_offset_reset="earliest",
                           session_timeout_ms=6000, heartbeat_interval_ms=500, max_poll_records=500)
    while not leaving.is_asked:
        # kafka-python 3.0.12: a leader that has to join again because partitions have changed forgets so as soon as it has assigned (_assignment_snapshot).
        # When its poll() ends between that and SyncGroup's answer nobody takes the answer any more, and it sends no heartbeats for ever. So a long one.
        polled = reader.poll(5000)
        for place, messages in polled.items():
            for message in messages:
                records.have(place.partition, message.offset)
        if polled:
            try:
                reader.commit_async() if commit == "async" else reader.commit()
            except kafka.errors.KafkaError as error:
                report.note(f"commit: {error}")
    reader.close()
    print("left", flush=True)


records.run({"member": member, "version": version, "produce": produce, "consume": consume, "offsets": offsets, "admin": admin})
