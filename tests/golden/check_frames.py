#!/usr/bin/env python3
"""Compares the codec with kafka-python's, an implementation of its own: check_frames.py FRAMES_BINARY [SEED [COUNT]]

COUNT random messages of every schema and version, written by ours, must be read by theirs to the last byte, with no tag
that they do not know, and be written by theirs as the same bytes; ours reads that and writes it once more. The last line is
`N passed, N failed, N skipped`: each API's request and response in all their versions is one.
"""
import importlib
import os
import subprocess
import sys

GROUPS = ("metadata", "producer", "consumer", "admin")


def load_classes():
    """(kind, key) -> kafka-python's class."""
    classes = {}
    for group in GROUPS:
        module = importlib.import_module("kafka.protocol." + group)
        for name in dir(module):
            kind = next((k for k in ("request", "response") if name.endswith(k.capitalize())), None)
            if kind:
                one = getattr(module, name)
                classes[kind, one.API_KEY] = one
    return classes


def unknown_tags(message):
    """Tags, at any depth, that kafka-python carried along without understanding them."""
    found = list(getattr(message, "unknown_tags", None) or ())
    struct = getattr(message, "_struct", None)
    for field in getattr(struct, "_fields", ()):
        value = getattr(message, field.name, None)
        for one in value if isinstance(value, (list, tuple)) else [value]:
            if hasattr(one, "_struct"):
                found += unknown_tags(one)
    return found


def through_theirs(one, version, data):
    """Decodes and encodes; what is wrong as text, or None."""
    is_flexible = one.flexible_version_q(version)
    # pylint: disable=protected-access
    decode = one._struct.compiled_decode_from(version, compact=is_flexible, tagged=is_flexible, data_class=one[None])
    try:
        message, position = decode(memoryview(data), 0)
        message._header = None
        again = message.encode(version=version)
    except Exception as error:  # pylint: disable=broad-exception-caught
        return f"they fail: {error!r}"
    if position != len(data):
        return f"they leave {len(data) - position} bytes"
    tags = unknown_tags(message)
    if tags:
        return f"they do not know tags {tags}"
    return None if again == data else f"they write {again.hex()}"


def compare(lines, classes):
    """(kind, key) -> list of what is wrong; a missing class is None."""
    results = {}
    for line in lines:
        kind, key, version, *rest = line.split(" ")
        one = classes.get((kind, int(key)))
        if one is None or int(version) > one.max_version:
            results.setdefault((kind, int(key)), None)
            continue
        problems = results.setdefault((kind, int(key)), [])
        problem = through_theirs(one, int(version), bytes.fromhex(rest[0]))
        if problem:
            problems.append(f"{one.name} v{version} {rest[0][:200]}: {problem[:300]}")
    return results


def main():
    """Runs the comparison and prints what differs."""
    binary = sys.argv[1]
    seed, count = (sys.argv[2:] + ["1", "20"][len(sys.argv[2:]):])[:2]
    try:
        classes = load_classes()
    except ImportError:
        print("  SKIP check_frames: kafka-python is not installed here (tests/requirements.txt)")
        print("0 passed, 0 failed, 1 skipped")
        return 0
    made = subprocess.run([binary, "random", seed, count], stdout=subprocess.PIPE, check=True, text=True).stdout
    echoed = subprocess.run([binary, "echo"], input=made, stdout=subprocess.PIPE, check=True, text=True).stdout
    lines = made.splitlines()
    results = compare(lines, classes)
    for line, echo in zip(lines, echoed.splitlines()):
        kind, key, _ = line.split(" ", 2)
        if line != echo and results[kind, int(key)] is not None:
            results[kind, int(key)].append(f"ours does not read what it wrote: {line[:200]}: {echo[:200]}")
    failed = [k for k, problems in results.items() if problems]
    for key in failed:
        print("\n".join(results[key][:3]))
    skipped = sum(problems is None for problems in results.values())
    print(f"{len(results) - len(failed) - skipped} passed, {len(failed)} failed, {skipped} skipped")
    return 1 if failed or os.path.getsize(binary) == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
