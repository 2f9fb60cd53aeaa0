#!/usr/bin/env python3
"""Compares proto/kafka/*.msg with Kafka's own schema files, field by field and version by version.

Kafka's files are data that lies beside the project, in ../shared/kafka-messages (or the directory named as argument): the
trunk of 2024-10 knows all old versions, 4.3 the newest; a version is looked up in 4.3 first. Compared for each version in
our range: order, names, types, arrays, nullability, tags, defaults, compact form. If ../shared/reference/api-versions.csv
is there, our ranges are compared with it as well. The last line is `N passed, N failed, N skipped`, one for each message and one for the
ranges.
"""
import csv
import glob
import importlib.machinery
import importlib.util
import json
import os
import re
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SOURCES = ("kafka-4.3", "kafka-trunk-2024-10")
OURS_FROM = 1000  # keys of what brokers ask of each other and Kafka does not have
PRIMITIVES = set("bool int8 int16 uint16 int32 uint32 int64 float64 string bytes records uuid".split())


def load_kgen():
    """scripts/kgen as a module."""
    loader = importlib.machinery.SourceFileLoader("kgen", os.path.join(TOP, "scripts", "kgen"))
    sys.dont_write_bytecode = True
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("kgen", loader))
    loader.exec_module(module)
    return module


kgen = load_kgen()


def snake(name):
    """"LogAppendTimeMs" -> "log_append_time_ms"."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()


def camel(name):
    """"list_offsets" -> "ListOffsets"."""
    return "".join(word.capitalize() for word in name.split("_"))


def span(text):
    """Versions of a Kafka schema -> (first, last); "none" or nothing -> None."""
    return None if text in (None, "none") else kgen.parse_versions(text)


def has(versions, version):
    """Whether a span holds a version."""
    return versions is not None and versions[0] <= version <= versions[1]


def kafka_default(field, kind):
    """The default that Kafka's generator gives, in the same form as ours."""
    text = field.get("default")
    if field["type"].startswith("[]") or kind in ("bytes", "struct", "uuid"):
        return "null" if text == "null" else "zero"
    if kind == "records":
        return "zero"            # Kafka's is null; ours is empty, on purpose (proto/README.md)
    if kind == "string":
        return "null" if text == "null" else f'"{text or ""}"'
    if kind == "bool":
        return str(text or "false").lower()
    return str(float(text or 0)) if kind == "float64" else str(int(str(text or "0"), 0))


def our_default(field, kind):
    """The default of a field of ours."""
    if field.default is kgen.NULL:
        return "null"
    if field.is_array or kind in ("bytes", "struct", "uuid", "records"):
        return "zero"
    if kind == "string":
        return f'"{field.default or ""}"'
    if kind == "bool":
        return str(field.default or False).lower()
    return str(float(field.default or 0)) if kind == "float64" else str(int(field.default or 0))


def row(depth, name, kind, is_array, is_null, tag, default, is_compact):
    """One field of one version as text, to be compared."""
    form = "" if is_compact is None else " compact" if is_compact else " classic"
    return (f"{'    ' * depth}{'[]' if is_array else ''}{kind}{'?' if is_null else ''} {name}"
            f"{'' if tag is None else f' tag {tag}'} = {default}{form}")


def form_of(kind, is_array, is_compact):
    """Only what has a size has two forms."""
    return is_compact if is_array or kind in ("string", "bytes", "records") else None


def kafka_rows(fields, commons, flexible, version, depth=0):
    """A Kafka schema in one version: plain fields in order, then tagged ones by tag."""
    rows = []
    present = [f for f in fields if has(span(f["versions"]), version)]
    for field in sorted(present, key=lambda f: f.get("tag", -1)):
        kind = field["type"].removeprefix("[]")
        inner = field.get("fields") or commons.get(kind)
        kind = kind if kind in PRIMITIVES else "struct"
        is_array = field["type"].startswith("[]")
        is_compact = has(span(field.get("flexibleVersions", flexible)), version)
        tag = field["tag"] if has(span(field.get("taggedVersions")), version) else None
        rows.append(row(depth, snake(field["name"]), kind, is_array, has(span(field.get("nullableVersions")), version), tag,
                        kafka_default(field, kind), form_of(kind, is_array, is_compact)))
        if kind == "struct":
            rows += kafka_rows(inner, commons, flexible, version, depth + 1)
    return rows


def our_rows(message, struct, version, depth=0):
    """The same of a schema of ours."""
    rows = []
    is_flexible = message.flexible_min is not None and version >= message.flexible_min
    for field in struct.plain() + struct.tagged():
        if not field.has(version):
            continue
        kind = "struct" if field.struct else field.type
        rows.append(row(depth, field.name, kind, field.is_array, field.is_nullable(version), field.tag,
                        our_default(field, kind), form_of(kind, field.is_array, is_flexible and not field.is_classic)))
        if field.struct:
            rows += our_rows(message, field.struct, version, depth + 1)
    return rows


def load_kafka(directory, name):
    """All files of one message, newest first."""
    found = []
    for source in SOURCES:
        path = os.path.join(directory, source, name + ".json")
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                found.append((source, json.loads(re.sub(r"^\s*//.*$", "", file.read(), flags=re.M))))
    return found


def compare_message(message, directory):
    """Differences of one message, as lines."""
    kind = message.kind.capitalize()
    name = f"{kind}Header" if message.api_key is None else camel(message.api_name) + kind
    sources = load_kafka(directory, name)
    if not sources:
        return [f"{name}: Kafka has no such message"]
    problems = []
    for version in range(message.versions[0], message.versions[1] + 1):
        source, schema = next(((s, j) for s, j in sources if has(span(j["validVersions"]), version)), (None, None))
        if schema is None:
            problems.append(f"{name} v{version}: Kafka has no such version")
            continue
        if schema.get("apiKey") != message.api_key:
            problems.append(f"{name}: key is {schema.get('apiKey')}, ours {message.api_key}")
        if has(span(schema["flexibleVersions"]), version) != (message.flexible_min is not None
                                                              and version >= message.flexible_min):
            problems.append(f"{name} v{version}: flexible in one only")
        commons = {c["name"]: c["fields"] for c in schema.get("commonStructs", [])}
        theirs = kafka_rows(schema["fields"], commons, schema["flexibleVersions"], version)
        ours = our_rows(message, message.top, version)
        for index in range(max(len(theirs), len(ours))):
            pair = [r[index] if index < len(r) else "(nothing)" for r in (theirs, ours)]
            if pair[0] != pair[1]:
                problems.append(f"{name} v{version} ({source}): Kafka '{pair[0].strip()}', ours '{pair[1].strip()}'")
                break
    return problems


def compare_ranges(messages, path):
    """Our ranges against the table of decided ones, for schemas and for the APIs that are served."""
    with open(path, encoding="utf-8") as file:
        table = {int(r["key"]): r for r in csv.DictReader(file)}
    problems = []
    for message in messages:
        if message.api_key is None:
            continue
        want = table[message.api_key]
        if not want["proposed_accept"]:
            continue                 # between brokers only
        if kgen.parse_versions(want["proposed_accept"]) != message.versions:
            problems.append(f"{message.name}: versions {message.versions}, decided {want['proposed_accept']}")
        flexible = "none" if message.flexible_min is None else str(message.flexible_min)
        if flexible != want["first_flexible_version"]:
            problems.append(f"{message.name}: flexible from {flexible}, decided {want['first_flexible_version']}")
    with open(os.path.join(TOP, "proto", "kafka_api.h"), encoding="utf-8") as file:
        served = re.findall(r'X\(\w+, (\d+), "(\w+)", \w+, (\d+), (\d+), (\d+), (\w+)\)', file.read())
    for key, name, first, last, advertised, flexible in served:
        if int(key) >= OURS_FROM:
            continue                 # between brokers only, and not Kafka's
        want = table[int(key)]
        if not want["proposed_accept"]:
            continue
        ours = (name, f"{first}-{last}", f"{advertised}-{last}", "none" if flexible == "INT16_MAX" else flexible)
        decided = (want["name"], want["proposed_accept"], want["proposed_advertise"], want["first_flexible_version"])
        if ours != decided:
            problems.append(f"kafka_api.h: {ours}, decided {decided}")
    if len(served) != len(re.findall(r"^    X\(", open(os.path.join(TOP, "proto", "kafka_api.h"), encoding="utf-8").read(),
                                     flags=re.M)):
        problems.append("kafka_api.h: not all rows of the table were understood")
    return problems


def main():
    """Compares all, prints what differs, and the closing line."""
    directory = sys.argv[1] if len(sys.argv) > 1 else os.path.join(TOP, "..", "shared", "kafka-messages")
    try:
        messages = [m for p in sorted(glob.glob(os.path.join(TOP, "proto", "kafka", "*.msg"))) for m in kgen.parse_file(p)]
    except kgen.SchemaError as error:
        print(error)
        print("0 passed, 1 failed, 0 skipped")
        return 1
    if not os.path.isdir(directory):
        print(f"  SKIP check_schemas: no Kafka schema files in {directory}")
        print(f"0 passed, 0 failed, {len(messages)} skipped")
        return 0
    failed = 0
    for message in messages:
        problems = compare_message(message, directory)
        failed += bool(problems)
        print("".join(p + "\n" for p in problems), end="")
    table = os.path.join(directory, "..", "reference", "api-versions.csv")
    problems = compare_ranges(messages, table) if os.path.exists(table) else []
    failed += bool(problems)
    print("".join(p + "\n" for p in problems), end="")
    print(f"{len(messages) + 1 - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
