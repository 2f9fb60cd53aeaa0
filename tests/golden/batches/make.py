#!/usr/bin/env python3
"""Writes the golden record batches beside this file, with kafka-python as the independent implementation.

Needs kafka-python, lz4, zstandard and python-snappy. The records follow a formula that tests/lib/golden_batches.c
knows, too: record i has timestamp T + 3 i - 10 (i mod 4), key "key-i" (null if i mod 5 = 4), value of (37 i) mod 500 bytes
of text (null if i mod 7 = 6) and i mod 3 headers "hj" -> "w" * j (null for j = 1).
"""
import gzip
import os
import struct

import lz4.frame
import snappy
import zstandard
from kafka.record.default_records import DefaultRecordBatchBuilder
from kafka.record.util import calc_crc32c

BASE = 1700000000000
HERE = os.path.dirname(os.path.abspath(__file__))
TEXT = (b"Balsa is the lightest wood that carries a load. " * 12)[:500]
NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)


def record(i):
    """Timestamp, key, value and headers of record i."""
    key = None if i % 5 == 4 else b"key-%d" % i
    value = None if i % 7 == 6 else TEXT[:(37 * i) % 500]
    headers = [("h%d" % j, None if j == 1 else b"w" * j) for j in range(i % 3)]
    return BASE + 3 * i - 10 * (i % 4), key, value, headers


def batch(count, codec, producer=(-1, -1, -1)):
    """One batch as the producer of kafka-python sends it."""
    builder = DefaultRecordBatchBuilder(2, codec, False, *producer, 1 << 24)
    for i in range(count):
        timestamp, key, value, headers = record(i)
        assert builder.append(i, timestamp, key, value, headers) is not None
    return bytes(builder.build())


def repacked(count, codec, pack):
    """The uncompressed batch with its records packed by `pack` instead."""
    plain = batch(count, NONE)
    packed = pack(plain[61:])
    head = bytearray(plain[:61])
    struct.pack_into(">i", head, 8, len(packed) + 49)
    struct.pack_into(">h", head, 21, codec)
    struct.pack_into(">I", head, 17, calc_crc32c(bytes(head[21:]) + packed))
    return bytes(head) + packed


def members(data):
    """Two gzip members, one behind the other."""
    return gzip.compress(data[:999], mtime=0) + gzip.compress(data[999:], mtime=0)


def xerial(blocks):
    """Framing of snappy-java, headers between the streams."""
    out = b""
    for block in blocks:
        packed = snappy.compress(block)
        out += b"\x82SNAPPY\0" + struct.pack(">ii", 1, 1) + struct.pack(">i", len(packed)) + packed
    return out


def main():
    """Writes every file."""
    files = {
        "plain-1": batch(1, NONE),
        "plain-100": batch(100, NONE),
        "gzip-100": batch(100, GZIP),
        "snappy-100": batch(100, SNAPPY),
        "lz4-100": batch(100, LZ4),
        "zstd-100": batch(100, ZSTD),
        "producer-3": batch(3, NONE, (4711, 2, 1000)),
        "snappy-raw-100": repacked(100, SNAPPY, snappy.compress),
        "snappy-joined-100": repacked(100, SNAPPY, lambda b: xerial([b[:5000], b[5000:]])),
        "gzip-members-100": repacked(100, GZIP, members),
        "lz4-linked-100": repacked(100, LZ4, lambda b: lz4.frame.compress(b, block_linked=True, content_checksum=True)),
        "zstd-stream-100": repacked(100, ZSTD, zstandard.ZstdCompressor(write_content_size=False).compress),
    }
    for name, data in files.items():
        with open(os.path.join(HERE, name + ".batch"), "wb") as out:
            out.write(data)


if __name__ == "__main__":
    main()
