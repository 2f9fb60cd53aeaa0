"""What is under deploy/, without a container engine: manifests against Kubernetes's own schemas, the compose file, the images' entry script with
the environment and arguments that the manifests give it. Pods are hosts of their own (network namespaces) with a name service that moves with
them: ordered start, a pod killed and back with its volume, rescheduled to another address, scaled to five and back, rolled by readiness, all
under load. Containers of the compose file are asked from inside their network and, through their published ports, from outside."""
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import balsa
import cluster
import history
import moves
import namespaces

DEPLOY = os.path.join(balsa.ROOT, "deploy")
ENTRY = os.path.join(DEPLOY, "docker", "entry")
HEALTH = os.path.join(DEPLOY, "docker", "health")
PATH = f"{os.path.dirname(os.path.abspath(balsa.BALSAD))}:{os.environ['PATH']}"
OVERLAYS = ("", "one-node", "monitoring")
DOMAIN = "balsa-headless.default.svc"
CLIENT = 9           # number of the client's host
HOSTS = 9
TOPIC, PARTITIONS = "load", 12


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)


# ---- Manifests ----

def rendered(overlay):
    """The documents of an overlay; without kubectl those of the base as they are written."""
    import yaml
    folder = os.path.join(DEPLOY, "kubernetes", overlay)
    if balsa.have("kubectl"):
        out = run("kubectl", "kustomize", folder)
        balsa.check(out.returncode == 0, f"kubectl kustomize {overlay or 'deploy/kubernetes'}: {out.stderr}")
        return list(yaml.safe_load_all(out.stdout))
    balsa.skip(f"kubectl kustomize {overlay}", "kubectl is not installed")
    base = os.path.join(DEPLOY, "kubernetes", "base")
    documents = []
    for name in sorted(os.listdir(base)):
        if name.endswith(".yaml") and name != "kustomization.yaml":
            with open(os.path.join(base, name), encoding="utf-8") as file:
                documents += list(yaml.safe_load_all(file))
    return documents


def manifests():
    import kubernetes_validate
    for overlay in OVERLAYS:
        for document in rendered(overlay):
            what = f"{overlay or 'base'}: {document['kind']} {document['metadata']['name']}"
            if document["apiVersion"].startswith("monitoring.coreos.com"):
                continue  # not Kubernetes's own
            try:
                kubernetes_validate.validate(document, "1.31", strict=True)
                balsa.check(True, what)
            except kubernetes_validate.ValidationError as error:
                balsa.check(False, f"{what}: {error.message}")


def dashboards():
    with open(os.path.join(DEPLOY, "grafana", "balsa.json"), encoding="utf-8") as file:
        panels = json.load(file)["panels"]
    with open(os.path.join(balsa.ROOT, "docs", "METRICS.md"), encoding="utf-8") as file:
        known = file.read()
    with open(os.path.join(DEPLOY, "prometheus", "alerts.yml"), encoding="utf-8") as file:
        alerts = file.read()
    queries = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    for text in [*queries, alerts]:
        for word in re.findall(r"\b(?:balsa|process)_[a-z_]+", text):
            name = re.sub(r"_(bucket|sum|count)$", "", word)
            balsa.check(f"| `{name}` |" in known or f"| `{word}` |" in known, f"{word}, used in a dashboard or alert, is a metric")
    tool = run(os.path.join(balsa.ROOT, "scripts", "lib", "promtool"))
    if tool.returncode != 0:
        balsa.skip("promtool check rules", "promtool cannot be had")
        return
    out = run(tool.stdout.strip(), "check", "rules", os.path.join(DEPLOY, "prometheus", "alerts.yml"))
    balsa.check(out.returncode == 0, f"promtool check rules: {out.stdout}{out.stderr}")


# ---- Containers as processes ----

class Container:
    """The image's entry script on a host of its own, with the environment and arguments of a manifest, and a volume."""

    def __init__(self, net, home, name, host, environment, arguments):
        self.net = net
        self.name = name
        self.host = host
        self.environment = environment
        self.arguments = arguments
        self.data = os.path.join(home, name)
        self.log_path = self.data + ".log"
        self.process = None

    @property
    def address(self):
        return self.net.host(self.host)

    def environ(self):
        return {"PATH": PATH, "HOSTNAME": self.name, "BALSA_LOG_DIRS": self.data, **self.environment}

    def start(self):
        words = [f"{key}={value}" for key, value in self.environ().items()]
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([*self.net.command(self.host), "env", "-i", *words, ENTRY, *self.arguments], stdout=log, stderr=log)

    def ready(self):
        """The status of the readiness probe, as a kubelet asks; None: nobody answers."""
        try:
            connection = http.client.HTTPConnection(self.address, 9464, timeout=2)
            connection.request("GET", "/health/ready")
            return connection.getresponse().status
        except OSError:
            return None

    def wait_ready(self, timeout_s=90):
        return balsa.check(balsa.wait_until(lambda: self.ready() == 200, timeout_s, 0.05), f"{self.name} is ready within {timeout_s} s\n{self.tail()}")

    def end(self, number, timeout_s=60):
        """A signal to the container's first process: its exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout_s)

    def tail(self, lines=20):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return "".join(log.readlines()[-lines:])


def write_names(net, names):
    """The name service: {host name: address}, in the hosts file of every host; rewritten in place, it is seen at once."""
    text = "127.0.0.1 localhost\n" + "".join(f"{address} {name}\n" for name, address in names.items())
    for number in range(1, HOSTS + 1):
        folder = f"/etc/netns/{net.name(number)}"
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "hosts"), "w", encoding="ascii") as file:
            file.write(text)


def remove_names(net):
    for number in range(1, HOSTS + 1):
        shutil.rmtree(f"/etc/netns/{net.name(number)}", ignore_errors=True)


class Load:
    """The load of the campaigns, from the client's host; its verdict at the end counts here."""

    def __init__(self, net, address):
        self.process = subprocess.Popen([*net.command(CLIENT), sys.executable, os.path.abspath(__file__), "client", address],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        balsa.check(self.process.stdout.readline() == "running\n", "the load runs")

    def finish(self, what):
        out, _ = self.process.communicate("", timeout=300)
        balsa.check(self.process.returncode == 0 and "0 failed" in out, f"{what}: {out}")
        print("".join(f"  {what}: {line}\n" for line in out.splitlines() if line), end="", flush=True)


def client(addresses):
    """In the client's host: load until standard input ends, then everything is read and compared."""
    from confluent_kafka.admin import AdminClient, NewTopic
    admin = AdminClient({"bootstrap.servers": addresses})
    wish = NewTopic(TOPIC, PARTITIONS, replication_factor=3)
    admin.create_topics([wish], operation_timeout=60, request_timeout=60)[TOPIC].result(60)
    load = history.Load(addresses, TOPIC, PARTITIONS, random.Random(1), rate=2000, sizes=(100, 1000))
    load.start()
    load.wait_acked(100)
    print("running", flush=True)
    sys.stdin.read()
    load.finish()
    history.verify("load", load, history.read_all(addresses, TOPIC, PARTITIONS))
    print(f"{load.sent} sent, {len(load.acked)} acknowledged")
    balsa.finish()


# ---- The StatefulSet ----

class StatefulSet:
    """Its pods' lives, from the rendered manifest."""

    def __init__(self, net, home, document):
        spec = document["spec"]["template"]["spec"]
        self.container = spec["containers"][0]
        self.net = net
        self.home = home
        self.pods = {}
        self.names = {}

    def environment(self, pod):
        known = {"POD_NAME": pod, "POD_NAMESPACE": "default"}
        found = {}
        for entry in self.container["env"]:
            path = entry.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath", "")
            value = entry.get("value", {"metadata.name": pod, "metadata.namespace": "default"}.get(path, ""))
            for name, text in {**known, **found}.items():
                value = value.replace(f"$({name})", text)
            found[entry["name"]] = value
        return found

    def schedule(self, ordinal, host):
        """The pod runs on that host from now on, with the volume it had."""
        pod = f"balsa-{ordinal}"
        properties = os.path.join(DEPLOY, "kubernetes", "base", "server.properties")
        arguments = [word.replace("/etc/balsa/server.properties", properties) for word in self.container["args"]]
        self.pods[ordinal] = Container(self.net, self.home, pod, host, self.environment(pod), arguments)
        for name in (pod, f"{pod}.balsa-headless", f"{pod}.{DOMAIN}"):
            self.names[name] = self.net.host(host)
        write_names(self.net, self.names)
        self.pods[ordinal].start()

    def wait_ready(self):
        for pod in self.pods.values():
            pod.wait_ready()


def statefulset_life(net, home):
    document = next(d for d in rendered("") if d["kind"] == "StatefulSet")
    pods = StatefulSet(net, home, document)
    for ordinal in range(document["spec"]["replicas"]):
        pods.schedule(ordinal, ordinal + 1)
        time.sleep(0.5)
    pods.wait_ready()
    health = run(*net.command(1), "env", f"PATH={PATH}", HEALTH, "ready")
    balsa.check(health.returncode == 0 and health.stdout.strip() == "ready", f"the image's health check: {health}")
    load = Load(net, f"balsa-0.{DOMAIN}:9092")
    try:
        balsa.check(pods.pods[1].end(signal.SIGKILL) == -signal.SIGKILL, "a pod is killed")
        pods.pods[1].start()
        pods.wait_ready()
        pods.pods[2].end(signal.SIGKILL)
        pods.schedule(2, 6)  # elsewhere, under its name, with its volume
        pods.wait_ready()
        for ordinal in (3, 4):
            pods.schedule(ordinal, ordinal + 1)
        pods.wait_ready()
        scale_in(net, pods)
        for ordinal in (2, 1, 0):  # a rolling update goes from the last to the first
            balsa.check(pods.pods[ordinal].end(signal.SIGTERM) == 0, f"pod {ordinal} stops at SIGTERM")
            pods.pods[ordinal].start()
            pods.wait_ready()
    finally:
        load.finish("the StatefulSet's life")
    for pod in pods.pods.values():
        balsa.check(pod.end(signal.SIGTERM) == 0, f"{pod.name} stops")


class Asked:
    """As much of a broker as moves.py needs."""

    def __init__(self, host):
        self.host = host
        self.port = 9092


def scale_in(net, pods):
    """Brokers 4 and 5 take replicas, are drained, and go."""
    node = Asked(net.host(1))
    wishes = {(TOPIC, p): [4, 5, 1 + p % 3] for p in range(PARTITIONS)}
    found = moves.alter(node, wishes)
    balsa.check(all(code == moves.NONE for code, _ in found.values()), f"replicas move to the new pods: {found}")
    balsa.check(moves.wait_settled(node, 120), "and are there")
    for number in (4, 5):
        code = moves.unregister(node, number)
        balsa.check(code == moves.NONE, f"broker {number} is to be drained: {code}")
    balsa.check(balsa.wait_until(lambda: not held(net, (4, 5)) and not moves.listed(node), 120, 0.5), "the drained brokers have nothing left")
    for ordinal in (4, 3):
        balsa.check(pods.pods[ordinal].end(signal.SIGTERM) == 0, f"pod {ordinal} goes")
        del pods.pods[ordinal]


def held(net, numbers):
    metadata = cluster.cluster_metadata.metadata(net.host(1), 9092, 10)
    return [p for topic in metadata.topics.values() for p in topic if set(p.replicas) & set(numbers)]


# ---- The compose file ----

def compose_document():
    import yaml
    path = os.path.join(balsa.ROOT, "docker-compose.yml")
    for words in (["docker-compose"], ["docker", "compose"]):
        if balsa.have(words[0]) and run(*words, "version").returncode == 0:
            out = run(*words, "-f", path, "config")
            balsa.check(out.returncode == 0, f"{' '.join(words)} config: {out.stderr}")
            break
    else:
        balsa.skip("docker-compose config", "docker-compose is not installed")
    with open(path, encoding="utf-8") as file:
        return yaml.safe_load(file)


def publish(port, target):
    """A published port: what connects to it on this machine is carried to the container. None: the port is taken."""
    try:
        listener = socket.create_server(("127.0.0.1", port))
    except OSError:
        return None

    def carry(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        finally:
            for end in (source, sink):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def serve():
        while True:
            try:
                near, _ = listener.accept()
                far = socket.create_connection(target, timeout=10)
            except OSError:
                return
            for pair in ((near, far), (far, near)):
                threading.Thread(target=carry, args=pair, daemon=True).start()
    threading.Thread(target=serve, daemon=True).start()
    return listener


def compose_life(net, home):
    document = compose_document()
    names, containers, listeners = {}, [], []
    for host, (name, service) in enumerate(document["services"].items(), 1):
        environment = {key: str(value).replace("$$", "$") for key, value in service["environment"].items()}
        containers.append(Container(net, home, service["hostname"], host, environment, []))
        names[name] = net.host(host)
        for port in service["ports"]:
            near, far = port.rsplit(":", 2)[1:]
            listeners.append(publish(int(near), (net.host(host), int(far))))
    write_names(net, names)
    for container in containers:
        container.start()
    for container in containers:
        container.wait_ready()
    inside = run(*net.command(CLIENT), "kcat", "-b", "balsa-1:9092", "-t", "compose", "-P", "-K:", input="k:from inside\n")
    balsa.check(inside.returncode == 0, f"produce from another container: {inside.stderr}")
    read = ["-t", "compose", "-C", "-e", "-q", "-o", "beginning", "-f", "%s\n"]
    if None in listeners:
        balsa.skip("the compose file's published ports", "a port from 9092 to 9094 or 9464 to 9466 is taken here")
    else:
        outside = run("kcat", "-b", "localhost:9092,localhost:9093,localhost:9094", *read)
        balsa.check(outside.stdout == "from inside\n", f"read from this machine: {outside}")
        told = run("kcat", "-b", "localhost:9093", "-L").stdout
        balsa.check(all(f"at localhost:{port}" in told for port in (9092, 9093, 9094)), f"addresses as seen from this machine: {told}")
    told = run(*net.command(CLIENT), "kcat", "-b", "balsa-2:9092", "-L").stdout
    balsa.check(all(f"at balsa-{n}:9092" in told for n in (1, 2, 3)), f"addresses as seen from another container: {told}")
    for container in containers:
        balsa.check(container.end(signal.SIGTERM) == 0, f"{container.name} stops at SIGTERM\n{container.tail()}")
    for listener in listeners:
        if listener:
            listener.close()


def entry_refuses():
    out = run(ENTRY, env={"PATH": PATH, "HOSTNAME": "nameless"})
    balsa.check(out.returncode == 2 and "set BALSA_NODE_ID" in out.stderr, f"a host without a number: {out}")
    out = run(ENTRY, "--help", env={"PATH": PATH, "HOSTNAME": "balsa-0"})
    balsa.check(out.returncode == 0 and "usage: balsad" in out.stdout, f"arguments go on to balsad: {out}")


def with_hosts(what, life):
    home = tempfile.mkdtemp(prefix="balsa-deploy-")
    failed = balsa.counts()[1]
    with namespaces.Namespaces(HOSTS) as net:
        try:
            life(net, home)
        finally:
            for number in range(1, HOSTS + 1):
                for pid in net.pids(number):
                    os.kill(pid, signal.SIGKILL)
            remove_names(net)
    if balsa.counts()[1] > failed:
        print(f"  {what}: logs are in {home}", flush=True)
    else:
        shutil.rmtree(home)


def main():
    try:
        import yaml  # noqa: F401
    except ImportError:
        balsa.skip("deploy", "PyYAML is not installed")
        balsa.finish()
    manifests()
    dashboards()
    entry_refuses()
    reason = namespaces.why_not()
    if reason or not balsa.have("kcat"):
        balsa.skip("containers as processes", reason or "kcat is not installed")
    else:
        with_hosts("compose", compose_life)
        with_hosts("StatefulSet", statefulset_life)
    balsa.finish()


if sys.argv[1:2] == ["client"]:
    client(sys.argv[2])
main()
