"""The image, built by deploy/docker/Dockerfile without a container engine: buildah, each step in a chroot. What it declares, what is in it, and
a container of it: not root, a read-only root file system, its entry script, its health check, SIGTERM. A campaign: it installs and compiles.

    apt-get install --no-install-recommends buildah debootstrap      (as root)

The base is made by debootstrap from the machine's own apt source, under the name that the Dockerfile asks for. Images stay in build/image (3 GB)."""
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile

import balsa
from balsa import check, finish, skip

STORE = os.path.join(balsa.ROOT, "build", "image")
DOCKERFILE = os.path.join(balsa.ROOT, "deploy", "docker", "Dockerfile")
BASE = "debian:bookworm-slim"
TAG = "localhost/balsa-test"
USER = 10001
SIZE_MIB_MAX = 60           # over the base
BUILDAH = ["buildah", "--root", os.path.join(STORE, "root"), "--runroot", os.path.join(STORE, "run"), "--storage-driver", "vfs"]


def run(*command, limit_s=1800, **options):
    return subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False, **options)


def buildah(*words):
    out = run(*BUILDAH, *words)
    if out.returncode != 0:
        raise RuntimeError(f"buildah {' '.join(words)}: {out.stderr[-3000:]}")
    return out.stdout.strip()


def apt_source():
    """The address of Debian that this machine installs from."""
    told = run("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Codename: bookworm").stdout.split()
    return next((uri for uri in told if "security" not in uri), "http://deb.debian.org/debian")


def make_base():
    """As small as the one of the registry, and with the machine's own way to packages."""
    if run(*BUILDAH, "inspect", "--type", "image", BASE).returncode == 0:
        return
    scratch = tempfile.mkdtemp(prefix="balsa-base-")
    try:
        out = run("debootstrap", "--variant=minbase", "bookworm", scratch, apt_source())
        check(out.returncode == 0, f"debootstrap: {out.stdout[-1000:]} {out.stderr[-1000:]}")
        for path in ("/etc/apt/apt.conf.d", "/etc/apt/sources.list.d"):
            for name in os.listdir(path):
                if "proxy" in name.lower() or name == "debian.sources":
                    shutil.copy(os.path.join(path, name), scratch + path)
        if os.path.exists(os.path.join(scratch, "etc/apt/sources.list.d/debian.sources")):
            os.unlink(os.path.join(scratch, "etc/apt/sources.list"))    # the same once more
        shutil.rmtree(os.path.join(scratch, "var/cache/apt/archives"))
        container = buildah("from", "scratch")
        buildah("add", container, scratch, "/")
        buildah("commit", "--rm", container, f"docker.io/library/{BASE}")
    finally:
        shutil.rmtree(scratch)


def build():
    buildah("build", "--isolation", "chroot", "--layers", "--pull-never", "--format", "docker", "-f", DOCKERFILE, "-t", TAG, balsa.ROOT)
    told = json.loads(buildah("inspect", "--type", "image", TAG))["Docker"]["config"]
    check(told["User"] == f"{USER}:{USER}", f"it does not run as root: {told['User']}")
    check(told["Entrypoint"] == ["entry"] and told["Healthcheck"]["Test"] == ["CMD", "health", "ready"], f"entry and health check: {told}")
    check("/var/lib/balsa" in told["Volumes"] and "9092/tcp" in told["ExposedPorts"], f"volume and ports: {told}")


def size_mib(path):
    return int(run("du", "-sm", path).stdout.split()[0])


class Container:
    """A process in the image's file system, which it cannot write to; its volume and nothing else is writable."""

    SETUP = ('mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && mount --bind "$1" "$0/var/lib/balsa" && mount --bind /dev "$0/dev"'
             ' && mount -t proc proc "$0/proc" && root=$0 && shift 1 && exec chroot --userspec=' + f"{USER}:{USER}" + ' "$root" "$@"')

    def __init__(self, root, data):
        self.root, self.data = root, data
        self.ports = [balsa.free_port() for _ in range(3)]
        self.process = None
        self.log = open(data + ".log", "w+", encoding="utf-8")

    def command(self, *words):
        clients, admin, http = self.ports
        return ["unshare", "--mount", "sh", "-c", self.SETUP, self.root, self.data, "env", "-i", "PATH=/usr/local/bin:/usr/bin:/bin", "HOSTNAME=balsa-0",
                f"BALSA_LISTENERS=PLAINTEXT://127.0.0.1:{clients}", f"BALSA_ADMIN_LISTENERS=127.0.0.1:{admin}",
                f"BALSA_HTTP_LISTENER=127.0.0.1:{http}", *words]

    def start(self):
        self.process = subprocess.Popen(self.command("entry"), stdout=self.log, stderr=self.log)

    def exec(self, *words):
        """Another process in it."""
        return run(*self.command(*words), limit_s=60)

    def tail(self):
        self.log.seek(0)
        return self.log.read()[-2000:]


def live(root):
    scratch = tempfile.mkdtemp(prefix="balsa-image-")
    data = os.path.join(scratch, "data")
    os.mkdir(data)
    os.chown(data, USER, USER)
    container = Container(root, data)
    out = container.exec("sh", "-c", "id -u; touch /x /usr/local/bin/x; command -v gcc make")
    check(out.stdout.split() == [str(USER)] and "Read-only" in out.stderr, f"not root, nothing to write to, nothing to compile with: {out}")
    out = container.exec("ldd", "/usr/local/bin/balsad", "/usr/local/bin/balsactl")
    check(out.returncode == 0 and "not found" not in out.stdout, f"all libraries are there: {out}")
    try:
        for turn in ("first", "second"):
            container.start()
            ready = balsa.wait_until(lambda: container.exec("health", "ready").returncode == 0, 60, 0.2)
            check(ready, f"{turn} start: the health check says ready: {container.tail()}")
            out = container.exec("balsactl", "--admin", f"127.0.0.1:{container.ports[1]}", "topic", "create", f"{turn}-topic")
            check(out.returncode == 0, f"{turn} start: balsactl of the image: {out}")
            container.process.send_signal(signal.SIGTERM)
            check(container.process.wait(60) == 0, f"{turn} start: SIGTERM reaches the broker: {container.tail()}")
        out = container.exec("health", "ready")
        check(out.returncode != 0, f"and then it is not: {out}")
        check(len(re.findall("event=serving", container.tail())) <= 2 and os.listdir(data), "its data is in the volume")
    finally:
        if container.process and container.process.poll() is None:
            container.process.kill()
        container.log.close()
        shutil.rmtree(scratch, ignore_errors=True)


def main():
    missing = [program for program in ("buildah", "debootstrap", "unshare") if not balsa.have(program)]
    if missing or os.geteuid() != 0:
        skip("the image", f"{', '.join(missing)} not installed" if missing else "needs root")
        finish()
    os.makedirs(STORE, exist_ok=True)
    make_base()
    build()
    containers = {name: buildah("from", "--pull-never", name) for name in (BASE, TAG)}
    roots = {name: buildah("mount", container) for name, container in containers.items()}
    try:
        grown = size_mib(roots[TAG]) - size_mib(roots[BASE])
        print(f"  {size_mib(roots[TAG])} MiB, {grown} over its base", flush=True)
        check(grown < SIZE_MIB_MAX, f"it is small: {grown} MiB over its base")
        live(roots[TAG])
    finally:
        for container in containers.values():
            buildah("rm", container)
    finish()


if __name__ == "__main__":
    main()
