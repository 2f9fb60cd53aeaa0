"""Kafka's own dump tool as the judge of our segment files:  tests/integration/kafka_dump.py DIR...

Every directory with segments in or below a DIR is checked by kafka.tools.DumpLogSegments: each batch and record is
readable and valid, batches follow one another without a gap in offsets or positions up to the file's end, and both indexes
agree with the batches. The broker must be stopped. The tool comes with Maven into build/kafka-tools once; without java,
mvn or a network this skips.
"""
import os
import re
import subprocess
import sys

import balsa

JARS = os.path.join(balsa.ROOT, "build/kafka-tools")
POM = os.path.join(balsa.ROOT, "tests/integration/java/kafka-tools.pom")
SEGMENT = re.compile(r"^\d{20}(\.\d+)?\.log$")  # with a number in the middle: compacted
BATCH = re.compile(r"^baseOffset: (\d+) lastOffset: (\d+) count: (\d+) .* position: (\d+) .* size: (\d+) .* isvalid: (\w+)")
NOISE = re.compile(r"^(Dumping |SLF4J: |log4j:|Log starting offset: |$)")
GAP = re.compile(r"^(Non-consecutive offsets in .*\.\d+\.log$|  \d+ is followed by \d+$)")  # records that a compaction removed


def prepare():
    """The class path, or None and why."""
    if not balsa.have("java"):
        return None, "java is not installed"
    stamp = os.path.join(JARS, "done")
    if not os.path.exists(stamp) or os.path.getmtime(stamp) < os.path.getmtime(POM):
        if not balsa.have("mvn"):
            return None, "mvn is not installed"
        command = ["mvn", "-q", "-B", "-f", POM, "dependency:copy-dependencies", f"-DoutputDirectory={JARS}"]
        out = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
        if out.returncode != 0:
            return None, f"Kafka's tools could not be fetched: {out.stdout[-300:]}"
        with open(stamp, "w", encoding="ascii"):
            pass
    return os.path.join(JARS, "*"), None


def dump(class_path, directory, files, *options):
    command = ["java", "-cp", class_path, "kafka.tools.DumpLogSegments", *options, "--files", ",".join(files)]
    out = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=900, check=False)
    return out.returncode, (out.stdout + out.stderr).splitlines()


def check_logs(class_path, directory, names):
    code, lines = dump(class_path, directory, names, "--deep-iteration")
    balsa.check(code == 0, f"{directory}: the dump ends well: {lines[-3:]}")
    name = None
    next_offset = None
    ends = {}
    records = 0
    for line in lines:
        if line.startswith("Dumping "):
            name = line.split()[1]
            ends[name] = 0
            continue
        match = BATCH.match(line)
        if match is None:
            if line.startswith("| offset: "):
                records += 1
            else:
                balsa.check(NOISE.match(line) or GAP.match(line), f"{directory}/{name}: {line}")
            continue
        base, last, count, position, size = (int(group) for group in match.groups()[:5])
        good = match[6] == "true" and position == ends[name] and (last >= base + count - 1 if name.count(".") > 1 else last == base + count - 1)
        good = good and next_offset in (None, base)
        if not good:
            balsa.check(False, f"{directory}/{name}: expected offset {next_offset}, position {ends[name]}: {line}")
        next_offset = last + 1
        records -= count
        ends[name] += size
    balsa.check(records == 0, f"{directory}: {records} records more than the batches count")
    for name in names:
        size = os.path.getsize(os.path.join(directory, name))
        balsa.check(ends.get(name) == size, f"{directory}/{name}: {ends.get(name)} of {size} bytes are batches")


def check_indexes(class_path, directory, names):
    files = [name[:-4] + suffix for name in names for suffix in (".index", ".timeindex")]
    files = [name for name in files if os.path.exists(os.path.join(directory, name))]
    if not files:
        return
    code, lines = dump(class_path, directory, files, "--verify-index-only")
    said = [line for line in lines if not NOISE.match(line)]
    balsa.check(code == 0 and not said, f"{directory}: indexes: {said[:5]}")


def check_below(class_path, top):
    found = 0
    for directory, _, files in sorted(os.walk(top)):
        names = sorted(name for name in files if SEGMENT.match(name) and os.path.getsize(os.path.join(directory, name)))
        if names:
            found += len(names)
            check_logs(class_path, directory, names)
            check_indexes(class_path, directory, names)
    return found


def main():
    if len(sys.argv) < 2:
        print(__doc__)
        sys.exit(2)
    class_path, why = prepare()
    if class_path is None:
        balsa.skip("dump", why)
        balsa.finish()
    for top in sys.argv[1:]:
        balsa.check(check_below(class_path, top) > 0, f"{top}: no segments below")
    balsa.finish()


if __name__ == "__main__":
    main()
