#!/usr/bin/env python3
"""Records what clients send: a broker of one topic in memory, just good enough to keep a client talking.

record.py --name CLIENT --out DIR [--port N] [--classic]

Each new (API, version) is written to DIR/CLIENT-api-vN.bin: the request's header and body, without the size before it; a
second, larger one of the same kind to CLIENT-api-vN-2.bin. --classic advertises only versions before the flexible ones, so
that today's clients show how they spoke years ago. Needs kafka-python, whose codec writes the answers: what is recorded
owes nothing to ours. Ends when the standard input is closed. It is a tool for making golden frames, not a test.
"""
import argparse
import os
import socketserver
import struct
import sys
import threading
import types

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
from check_frames import load_classes  # noqa: E402
from check_schemas import TOP, kgen  # noqa: E402

TOPIC = "golden"
TOPIC_ID = "60f1a6f2-7a4a-4d1c-8f3e-0123456789ab"
PARTITIONS = 2
FRAME_MAX = 4096


class State:
    """Everything that the clients' threads share; one lock around each request."""

    def __init__(self, args):
        self.args = args
        self.lock = threading.Lock()
        self.classes = load_classes()
        self.logs = {p: [] for p in range(PARTITIONS)}   # (base offset, last offset, bytes)
        self.seen = {}
        self.offsets = {}
        self.versions = {}
        for file in sorted(os.listdir(os.path.join(TOP, "proto", "kafka"))):
            for message in kgen.parse_file(os.path.join(TOP, "proto", "kafka", file)):
                if message.kind == "request" and message.api_key is not None:
                    first, last = message.versions
                    flexible = 99 if message.flexible_min is None else message.flexible_min
                    last = min(last, flexible - 1) if args.classic else last
                    if first <= last:
                        self.versions[message.api_key] = (message.api_name, 0 if message.api_key == 0 else first, last)

    def record(self, key, version, frame):
        """Writes the frame if it shows something new."""
        sizes = self.seen.setdefault((key, version), [])
        if len(frame) > FRAME_MAX or len(sizes) > 1 or (sizes and len(frame) < sizes[0] * 5 // 4):
            return
        sizes.append(len(frame))
        suffix = "" if len(sizes) == 1 else f"-{len(sizes)}"
        name = f"{self.args.name}-{self.versions[key][0]}-v{version}{suffix}.bin"
        with open(os.path.join(self.args.out, name), "wb") as file:
            file.write(frame)

    def append(self, partition, data):
        """Adds record batches, gives them their offsets, returns the first."""
        log = self.logs[partition]
        first = log[-1][1] + 1 if log else 0
        base = first
        while data:
            size = 12 + struct.unpack(">i", data[8:12])[0]
            last = base + struct.unpack(">i", data[23:27])[0]
            log.append((base, last, struct.pack(">q", base) + data[8:size]))
            data, base = data[size:], last + 1
        return first

    def end(self, partition):
        """The high watermark."""
        log = self.logs.get(partition)
        return log[-1][1] + 1 if log else 0


def field(message, *names):
    """The first of the fields that the message has."""
    return next((getattr(message, n) for n in names if getattr(message, n, None) is not None), None)


def topic_partitions(topic):
    """Partition indexes of a topic in any request."""
    for name in ("partitions", "partition_data", "partition_indexes"):
        found = getattr(topic, name, None)
        if found is not None:
            return [p if isinstance(p, int) else field(p, "partition_index", "index", "partition") for p in found]
    return []


class Answers:
    """One method per API that needs more than defaults: (state, request, version) -> fields of the answer as dicts."""

    @staticmethod
    def api_versions(state, _request, _version):
        return {"api_keys": [{"api_key": k, "min_version": v[1], "max_version": v[2]} for k, v in state.versions.items()]}

    @staticmethod
    def metadata(state, request, _version):
        names = sorted({getattr(t, "name", None) or TOPIC for t in request.topics or []}) or [TOPIC]
        partitions = [{"partition_index": p, "leader_id": 0, "leader_epoch": 1, "replica_nodes": [0], "isr_nodes": [0],
                       "offline_replicas": []} for p in range(PARTITIONS)]
        return {"brokers": [{"node_id": 0, "host": "127.0.0.1", "port": state.args.port}], "cluster_id": "golden",
                "controller_id": 0, "topics": [{"name": n, "topic_id": TOPIC_ID, "partitions": partitions} for n in names]}

    @staticmethod
    def produce(state, request, _version):
        topics = []
        for topic in request.topic_data:
            answers = []
            for one in topic.partition_data:
                answers.append({"index": one.index, "base_offset": state.append(one.index, bytes(one.records)),
                                "log_start_offset": 0})
            topics.append({"name": getattr(topic, "name", ""), "topic_id": TOPIC_ID, "partition_responses": answers})
        return {"responses": topics}

    @staticmethod
    def fetch(state, request, _version):
        topics = []
        for topic in request.topics:
            parts = []
            for one in topic.partitions:
                data = b"".join(b for _, last, b in state.logs.get(one.partition, []) if last >= one.fetch_offset)
                parts.append({"partition_index": one.partition, "high_watermark": state.end(one.partition),
                              "last_stable_offset": state.end(one.partition), "log_start_offset": 0,
                              "aborted_transactions": None, "preferred_read_replica": -1, "records": data})
            topics.append({"topic": getattr(topic, "topic", ""), "topic_id": TOPIC_ID, "partitions": parts})
        return {"responses": topics, "session_id": 0}

    @staticmethod
    def list_offsets(state, request, _version):
        return {"topics": [{"name": t.name, "partitions": [
            {"partition_index": p.partition_index, "timestamp": -1, "leader_epoch": 1,
             "offset": 0 if p.timestamp == -2 else state.end(p.partition_index)} for p in t.partitions]}
            for t in request.topics]}

    @staticmethod
    def offset_for_leader_epoch(state, request, _version):
        return {"topics": [{"topic": t.topic, "partitions": [
            {"partition": p.partition, "leader_epoch": 1, "end_offset": state.end(p.partition)} for p in t.partitions]}
            for t in request.topics]}

    @staticmethod
    def find_coordinator(state, request, _version):
        where = {"node_id": 0, "host": "127.0.0.1", "port": state.args.port}
        return {**where, "coordinators": [{"key": k, **where} for k in getattr(request, "coordinator_keys", None) or []]}

    @staticmethod
    def join_group(_state, request, _version):
        member = request.member_id or "member-1"
        first = request.protocols[0]
        return {"generation_id": 1, "protocol_type": request.protocol_type, "protocol_name": first.name, "leader": member,
                "member_id": member, "members": [{"member_id": member, "metadata": first.metadata}]}

    @staticmethod
    def sync_group(_state, request, _version):
        return {"protocol_type": getattr(request, "protocol_type", None),
                "protocol_name": getattr(request, "protocol_name", None),
                "assignment": request.assignments[0].assignment if request.assignments else b""}

    @staticmethod
    def leave_group(_state, request, _version):
        return {"members": [{"member_id": m.member_id} for m in getattr(request, "members", None) or []]}

    @staticmethod
    def offset_commit(_state, request, _version):
        return {"topics": [{"name": t.name, "partitions": [{"partition_index": p} for p in topic_partitions(t)]}
                           for t in request.topics]}

    @staticmethod
    def offset_fetch(_state, request, _version):
        def topics(source):
            return [{"name": t.name, "partitions": [{"partition_index": p, "committed_offset": -1, "committed_leader_epoch": -1,
                                                     "metadata": ""} for p in topic_partitions(t)]} for t in source or []]
        groups = [{"group_id": g.group_id, "topics": topics(g.topics)} for g in getattr(request, "groups", None) or []]
        return {"topics": topics(getattr(request, "topics", None)), "groups": groups}

    @staticmethod
    def init_producer_id(_state, _request, _version):
        return {"producer_id": 1000, "producer_epoch": 0}

    @staticmethod
    def create_topics(_state, request, _version):
        return {"topics": [{"name": t.name, "topic_id": TOPIC_ID, "num_partitions": PARTITIONS, "replication_factor": 1,
                            "configs": []} for t in request.topics]}

    @staticmethod
    def delete_topics(_state, request, version):
        names = [t.name for t in request.topics] if version >= 6 else request.topic_names
        return {"responses": [{"name": n, "topic_id": TOPIC_ID} for n in names]}

    @staticmethod
    def create_partitions(_state, request, _version):
        return {"results": [{"name": t.name} for t in request.topics]}

    @staticmethod
    def describe_configs(_state, request, _version):
        return {"results": [{"resource_type": r.resource_type, "resource_name": r.resource_name, "configs": []}
                            for r in request.resources]}

    @staticmethod
    def alter_configs(_state, request, _version):
        return {"responses": [{"resource_type": r.resource_type, "resource_name": r.resource_name} for r in request.resources]}

    incremental_alter_configs = alter_configs

    @staticmethod
    def describe_cluster(state, _request, _version):
        return {"cluster_id": "golden", "controller_id": 0,
                "brokers": [{"broker_id": 0, "host": "127.0.0.1", "port": state.args.port}]}

    @staticmethod
    def delete_records(_state, request, _version):
        return {"topics": [{"name": t.name, "partitions": [{"partition_index": p} for p in topic_partitions(t)]}
                           for t in request.topics]}

    @staticmethod
    def delete_groups(_state, request, _version):
        return {"results": [{"group_id": g} for g in request.groups_names]}

    @staticmethod
    def describe_groups(_state, request, _version):
        return {"groups": [{"group_id": g, "group_state": "Empty", "protocol_type": "consumer", "members": []}
                           for g in request.groups]}


def fill(struct, version, fields):
    """Values of a struct's fields from dicts, at all depths, with defaults; what the version lacks is left out."""
    values = {}
    for part in struct._fields:  # pylint: disable=protected-access
        if not part.for_version_q(version):
            continue
        value = fields.get(part.name, part.default)
        if part.is_struct_array() and value:
            value = [types.SimpleNamespace(tags=None, unknown_tags=None, **fill(part, version, v)) for v in value]
        if part.name in fields or not part.tagged_field_q(version):
            values[part.name] = value
    return values


class Connection(socketserver.StreamRequestHandler):
    """One client's connection."""

    def handle(self):
        """Answers requests in order until the client leaves."""
        while True:
            size = self.rfile.read(4)
            if len(size) < 4:
                return
            frame = self.rfile.read(struct.unpack(">i", size)[0])
            with self.server.state.lock:
                answer = self.respond(frame)
            if answer is None:
                continue
            self.wfile.write(struct.pack(">i", len(answer)) + answer)

    def respond(self, frame):
        """The answer's bytes, or None for acks=0."""
        state = self.server.state
        key, version = struct.unpack(">hh", frame[:4])
        if key not in state.versions or not state.versions[key][1] <= version <= state.versions[key][2]:
            if key != 18:
                raise ConnectionError(f"not advertised: API {key} v{version}")
            return frame[4:8] + state.classes["response", 18](version=0, error_code=35, api_keys=[]).encode(version=0)
        state.record(key, version, frame)
        request = state.classes["request", key].decode(frame, version=version, header=True)
        answer = getattr(Answers, state.versions[key][0], lambda *_: {})
        one = state.classes["response", key]
        response = one(version=version, **fill(one._struct, version, answer(state, request, version)))  # pylint: disable=W0212
        if key == 0 and request.acks == 0:
            return None
        is_flexible = one.flexible_version_q(version) and key != 18
        return frame[4:8] + (b"\0" if is_flexible else b"") + response.encode(version=version)


class Server(socketserver.ThreadingTCPServer):
    """One thread a connection."""

    allow_reuse_address = True
    daemon_threads = True


def main():
    """Listens until the standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--name", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--port", type=int, default=19092)
    parser.add_argument("--classic", action="store_true")
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    with Server(("127.0.0.1", args.port), Connection) as server:
        server.state = State(args)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sys.stdin.read()
        for (key, version), sizes in sorted(server.state.seen.items()):
            print(server.state.versions[key][0], version, sizes)


if __name__ == "__main__":
    main()
