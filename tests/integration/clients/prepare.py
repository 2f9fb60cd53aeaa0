"""Gets the client programs ready: {name: command}, and why the others are missing. As a program it gets all of them ready.

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


def go(name, package, module="go"):
    need("go")
    target = os.path.join(BUILD, name)
    home = os.path.join(HERE, module)
    sources = glob.glob(os.path.join(home, "**", "*.go"), recursive=True) + glob.glob(os.path.join(home, "go.*"))
    once(target, sources, lambda: call("go", "build", "-o", target, package, cwd=home))
    return [target]


def javascript(name, package, worker):
    need("node", "npm")
    target = os.path.join(BUILD, name)

    def install():
        os.makedirs(target, exist_ok=True)
        shutil.copy(package, target)
        call("npm", "install", "--no-audit", "--no-fund", "--no-package-lock", cwd=target)

    once(target, [package], install)
    return ["env", f"NODE_PATH={os.path.join(target, 'node_modules')}", "node", os.path.join(HERE, worker)]


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
    "kafkajs": lambda: javascript("js", os.path.join(HERE, "package.json"), "worker_kafkajs.js"),
    "franz-go": lambda: go("franz-go", "."),
    "sarama": lambda: go("sarama", "./sarama"),
    **{f"java-{version}": lambda version=version: java(version) for version in JAVA},
}

# Of the admin service.
GRPC_MAKERS = {
    "grpc-go": lambda: go("grpc-go", ".", "grpc"),
    "grpcurl": lambda: go("grpcurl", "github.com/fullstorydev/grpcurl/cmd/grpcurl", "grpc"),
    "grpc-js": lambda: javascript("grpc-js", os.path.join(HERE, "grpc", "package.json"), os.path.join("grpc", "client.js")),
}


def commands(names, makers=None):
    ready, missing = {}, {}
    for name in names:
        try:
            ready[name] = (makers or MAKERS)[name]()
        except Missing as why:
            missing[name] = str(why)
    return ready, missing


if __name__ == "__main__":
    every = {**MAKERS, **GRPC_MAKERS}
    there, absent = commands(every, every)
    for client, reason in absent.items():
        print(f"  SKIP {client}: {reason}")
    print(f"{len(there)} passed, 0 failed, {len(absent)} skipped")
