"""aiokafka as producer, consumer by assignment and admin client."""
import asyncio
import json
import os
import uuid

import aiokafka
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

import records

report = records.Report()
BROKERS = int(os.environ.get("BROKERS", "1"))
IN_FLIGHT = 2000


def version():
    report.note(f"version aiokafka {aiokafka.__version__}")


async def produce(broker, topic, path, codec, acks, idempotent):
    producer = AIOKafkaProducer(bootstrap_servers=broker, compression_type=None if codec == "none" else codec, acks="all" if acks == "all" else int(acks),
                                enable_idempotence=idempotent == "1", max_request_size=1 << 21, max_batch_size=65536, linger_ms=20)
    await producer.start()
    next_offset = {}
    errors = []
    waiting = []

    async def settle():
        for partition, future in waiting:
            try:
                metadata = await future
            except aiokafka.errors.KafkaError as error:
                errors.append(str(error))
                continue
            due = next_offset.get(partition, 0)
            if acks != "0" and metadata.offset != due:
                errors.append(f"partition {partition}: acknowledged at {metadata.offset} instead of {due}")
            next_offset[partition] = due + 1
        waiting.clear()

    sent = 0
    for partition, timestamp, key, value, headers in records.read(path):
        waiting.append((partition, await producer.send(topic, value, key, partition, timestamp, [(name.decode(), text) for name, text in headers])))
        sent += 1
        if len(waiting) == IN_FLIGHT:
            await settle()
    await producer.flush()
    await settle()
    await producer.stop()
    report.check(not errors, f"{sent} sent and acknowledged, each where it belongs {errors[:3]}")


async def started(broker, **more):
    reader = AIOKafkaConsumer(bootstrap_servers=broker, enable_auto_commit=False, **more)
    await reader.start()
    return reader


async def places_of(broker, reader, topics):
    """All partitions of the topics, which are assigned to none by asking."""
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    described = await admin.describe_topics(list(topics))
    await admin.close()
    return [TopicPartition(topic["topic"], p["partition"]) for topic in described for p in topic["partitions"]]


async def consume(broker, out, *topics):
    reader = await started(broker, auto_offset_reset="none", max_partition_fetch_bytes=1 << 20)
    digests = records.Digests(out)
    places = await places_of(broker, reader, topics)
    reader.assign(places)
    await reader.seek_to_beginning()
    ends = await reader.end_offsets(places)
    left = {place for place in places if ends[place] > 0}
    silent = 0
    while left and silent < 60:
        polled = await reader.getmany(timeout_ms=1000, max_records=5000)
        silent = 0 if polled else silent + 1
        for place, messages in polled.items():
            for message in messages:
                digests.add(message.topic, message.partition, message.offset, message.timestamp, message.key, message.value,
                            [(name.encode(), text) for name, text in message.headers])
            if await reader.position(place) >= ends[place]:
                left.discard(place)
    await reader.stop()
    digests.close()
    report.check(not left, f"{len(places)} partitions read to their end")


async def offsets(broker, topic, *times):
    reader = await started(broker)
    places = await places_of(broker, reader, [topic])
    answer = {"earliest": {p.partition: o for p, o in (await reader.beginning_offsets(places)).items()},
              "latest": {p.partition: o for p, o in (await reader.end_offsets(places)).items()}}
    for t in times:
        found = await reader.offsets_for_times({place: int(t) for place in places})
        answer[t] = {place.partition: entry.offset if entry else -1 for place, entry in found.items()}
    await reader.stop()
    print("offsets " + json.dumps(answer))


async def admin(broker):
    client = AIOKafkaAdminClient(bootstrap_servers=broker)
    await client.start()
    topic = f"admin-{uuid.uuid4().hex[:8]}"
    await client.create_topics([NewTopic(topic, 3, min(BROKERS, 3), topic_configs={"retention.ms": "-1"})])
    described = await client.describe_topics([topic])
    report.check(len(described[0]["partitions"]) == 3 and all(p["leader"] >= 0 for p in described[0]["partitions"]), "a created topic has leaders at once")
    cluster = await client.describe_cluster()
    report.check(len(cluster["brokers"]) == BROKERS and cluster["cluster_id"], f"cluster {cluster['cluster_id']}")
    await client.delete_topics([topic])
    end = asyncio.get_running_loop().time() + 10
    while (is_there := topic in await client.list_topics()) and asyncio.get_running_loop().time() < end:
        await asyncio.sleep(0.02)
    report.check(not is_there, "a deleted topic is gone")
    await client.close()


async def member(broker, topic, group, commit):
    leaving = records.Leaving()
    reader = AIOKafkaConsumer(topic, bootstrap_servers=broker, group_id=group, enable_auto_commit=False, auto_offset_reset="earliest",
                              session_timeout_ms=6000, heartbeat_interval_ms=500)
    await reader.start()
    commits = set()
    while not leaving.is_asked:
        polled = await reader.getmany(timeout_ms=200, max_records=500)
        for place, messages in polled.items():
            for message in messages:
                records.have(place.partition, message.offset)
        if not polled:
            continue
        task = asyncio.ensure_future(reader.commit())
        commits.add(task)
        task.add_done_callback(lambda done: (commits.discard(done), done.exception() and report.note(f"commit: {done.exception()}")))
        if commit != "async":
            await asyncio.wait([task])
    if commits:
        await asyncio.wait(commits)
    await reader.stop()
    print("left", flush=True)


def waiting(function):
    return lambda *args: asyncio.run(function(*args))


records.run({"version": version, "produce": waiting(produce), "consume": waiting(consume), "offsets": waiting(offsets), "admin": waiting(admin),
             "member": waiting(member)})
