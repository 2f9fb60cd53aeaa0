"""Gets the client programs ready: {name: command}, and why the others are missing.

Libraries go into build/clients/, once; what cannot be had (no compiler, no network) is skipped by the tests with its reason.
"""
import glob
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
BUILD = os.path.join(ROOT, "build", "clients")
JAVA = ("3.4.1", "4.3.1")


class Missing(Exception):
    """Why a client is not there."""


def need(*programs):
    for program in programs:
        if shutil.which(program) is None:
            raise Missing(f"{program} is not installed")


def once(target, sources, make):
    """Calls make() unless the target is newer than its sources; a stamp beside it tells that it is complete."""
    stamp = f"{target}.done"
    if os.path.exists(stamp) and all(os.path.getmtime(source) <= os.path.getmtime(stamp) for source in sources):
        return target
    os.makedirs(BUILD, exist_ok=True)
    make()
    with open(stamp, "w", encoding="ascii"):
        pass
    return target


def call(*command, cwd=HERE, timeout=400):
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as error:
        raise Missing(f"{command[0]} took longer than {timeout} s") from error
    if done.returncode:
        lines = (done.stderr + done.stdout).strip().splitlines()
        raise Missing(f"{' '.join(command[:2])} failed: {lines[-1][:200] if lines else done.returncode}")


def java(version):
    need("java", "javac", "mvn")
    libraries = os.path.join(BUILD, f"java-{version}")
    pom = os.path.join(HERE, "java", "pom.xml")
    once(libraries, [pom], lambda: call("mvn", "-q", "-B", "-f", pom, f"-Dkafka={version}", "dependency:copy-dependencies",
                                        f"-DoutputDirectory={libraries}"))
    classpath = os.path.join(libraries, "*")
    source = os.path.join(HERE, "java", "Worker.java")
    target = os.path.join(BUILD, f"worker-{version}")
    once(target, [source], lambda: call("javac", "-cp", classpath, "-d", target, source))
    return ["java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{target}:{classpath}", "Worker"]


def go(name, package):
    need("go")
    target = os.path.join(BUILD, name)
    sources = glob.glob(os.path.join(HERE, "go", "**", "*.*"), recursive=True)
    once(target, sources, lambda: call("go", "build", "-o", target, package, cwd=os.path.join(HERE, "go")))
    return [target]


def kafkajs():
    need("node", "npm")
    target = os.path.join(BUILD, "js")
    package = os.path.join(HERE, "package.json")

    def install():
        os.makedirs(target, exist_ok=True)
        shutil.copy(package, target)
        call("npm", "install", "--no-audit", "--no-fund", "--no-package-lock", cwd=target)

    once(target, [package], install)
    return ["env", f"NODE_PATH={os.path.join(target, 'node_modules')}", "node", os.path.join(HERE, "worker_kafkajs.js")]


def python(module, worker):
    try:
        __import__(module)
    except ImportError as error:
        raise Missing(str(error)) from error
    return [sys.executable, os.path.join(HERE, worker)]


def kcat():
    need("kcat")
    return [sys.executable, os.path.join(HERE, "worker_kcat.py")]


MAKERS = {
    "kcat": kcat,
    "confluent-kafka": lambda: python("confluent_kafka", "worker_confluent.py"),
    "kafka-python": lambda: python("kafka", "worker_kafka_python.py"),
    "aiokafka": lambda: python("aiokafka", "worker_aiokafka.py"),
    "kafkajs": kafkajs,
    "franz-go": lambda: go("franz-go", "."),
    "sarama": lambda: go("sarama", "./sarama"),
    **{f"java-{version}": lambda version=version: java(version) for version in JAVA},
}


def commands(names):
    ready, missing = {}, {}
    for name in names:
        try:
            ready[name] = MAKERS[name]()
        except Missing as why:
            missing[name] = str(why)
    return ready, missing
