"""Any request in any version, through kafka-python's codec, which is made from Kafka's own schema files: fields by name, no client between.

    reply = speak.ask(node, "DeleteRecords", 2, topics=[{"name": "t", "partitions": [{"partition_index": 0, "offset": 5}]}], timeout_ms=1000)
    reply.topics[0].partitions[0].low_watermark
"""
import importlib
import struct

import wire

GROUPS = ("metadata", "producer", "consumer", "admin")


def find(name):
    for group in GROUPS:
        module = importlib.import_module("kafka.protocol." + group)
        if hasattr(module, name):
            return getattr(module, name)
    raise KeyError(name)


def build(one, version, fields):
    """Dictionaries become kafka-python's classes, at any depth; what is left out has its default."""
    values = {}
    for name, value in fields.items():
        field = one.fields[name]
        if field.is_struct_array() and value is not None:
            value = [build(field.data_class, version, item) for item in value]
        elif field.is_struct() and value is not None:
            value = build(field.data_class, version, value)
        values[name] = value
    return one(version=version, **values)


def frame(api, version, fields):
    """With its size, header and body."""
    one = find(api + "Request")
    body = build(one, version, fields).encode(version=version)
    head = struct.pack(">hhih", one.API_KEY, version, 1, -1) + (b"\x00" if one.flexible_version_q(version) else b"")
    return struct.pack(">i", len(head) + len(body)) + head + body


def decode(api, version, data):
    """`data`: behind the correlation id."""
    one = find(api + "Response")
    is_flexible = one.flexible_version_q(version)
    # pylint: disable=protected-access
    read = one._struct.compiled_decode_from(version, compact=is_flexible, tagged=is_flexible, data_class=one[None])
    message, position = read(memoryview(data), 1 if is_flexible and api != "ApiVersions" else 0)
    if position != len(data):
        raise ValueError(f"{api} {version}: {len(data) - position} bytes too many")
    return message


def ask(node, api, version, timeout_s=60, **fields):
    with wire.Client(node.port, timeout_s, node.host) as client:
        return decode(api, version, client.call(frame(api, version, fields)))
