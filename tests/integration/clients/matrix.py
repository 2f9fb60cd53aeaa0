"""Which client is tested with what: the lists that test_clients.py, test_members.py and test_cluster_clients.py go through, and the table of
docs/COMPATIBILITY.md that is printed from them. As a program it prints the table.
"""
import json
import os
import re

import prepare

DOCUMENT = os.path.join(prepare.ROOT, "docs", "COMPATIBILITY.md")

# test_clients.py: way: (codec, acks, idempotent, share of the records)
WAYS = {
    "none": ("none", "all", "1", 0.2),
    "gzip": ("gzip", "1", "0", 0.2),
    "snappy": ("snappy", "all", "0", 0.2),
    "lz4": ("lz4", "all", "1", 0.2),
    "zstd": ("zstd", "1", "0", 0.1),
    "acks0": ("none", "0", "0", 0.1),
}
# test_members.py: how members commit. kcat does it by itself, whichever way is asked for.
COMMITS = ("sync", "async")
# test_cluster_clients.py: what client number n writes with.
KILL_CODECS = ("none", "lz4", "gzip", "snappy", "none", "zstd", "none")
# These refuse to send a header without a value, the Python ones a record without key and value; all of them read such.
STRICT = {"kafkajs", "kafka-python", "aiokafka"}


def kill_codec(client):
    return KILL_CODECS[list(prepare.MAKERS).index(client) % len(KILL_CODECS)]


def pinned():
    """{client: version} of all whose version is written down somewhere; kcat comes with the system."""
    def text_of(*path):
        with open(os.path.join(prepare.ROOT, "tests", *path), encoding="utf-8") as file:
            return file.read()
    versions = dict(re.findall(r"^([\w-]+)==(\S+)$", text_of("requirements.txt"), re.M))
    versions.update(json.loads(text_of("integration", "clients", "package.json"))["dependencies"])
    versions.update(re.findall(r"^\tgithub\.com/\w+/(sarama|franz-go) v(\S+)$", text_of("integration", "clients", "go", "go.mod"), re.M))
    versions.update({f"java-{version}": version for version in prepare.JAVA})
    return {name: version for name, version in versions.items() if name in prepare.MAKERS}


def listed(words):
    return ", ".join(dict.fromkeys(words))


def table():
    versions = pinned()
    codecs = listed(codec for codec, _, _, _ in WAYS.values())
    acks = listed(acks for _, acks, _, _ in WAYS.values())
    lines = ["| client | version | written and read with | acks | idempotent | member of a group, commits | leader's kill -9 |",
             "|---|---|---|---|---|---|---|"]
    for client in prepare.MAKERS:
        name = "kafka-clients (Java)" if client.startswith("java-") else client
        commits = "by itself" if client == "kcat" else " and ".join(COMMITS)
        lines.append(f"| {name} | {versions.get(client, 'of the system')} | {codecs} | {acks} | yes and no | {commits} "
                     f"| while it writes ({kill_codec(client)}, idempotent) and reads |")
    return "\n".join(lines)


def section(text, mark):
    """What stands between the marks of a table in the document."""
    return re.search(rf"(?s)<!-- {mark} -->\n(.*?)\n<!-- /{mark} -->", text).group(1)


def document():
    with open(DOCUMENT, encoding="utf-8") as file:
        return file.read()


def write(mark, made):
    """Puts a table into the document."""
    text = re.sub(rf"(?s)(<!-- {mark} -->\n).*?(<!-- /{mark} -->)", lambda m: m.group(1) + made + "\n" + m.group(2), document())
    with open(DOCUMENT, "w", encoding="utf-8") as file:
        file.write(text)


if __name__ == "__main__":
    print(table())
