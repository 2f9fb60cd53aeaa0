"""From a clone to a running broker: scripts/quickstart as README.md has it, and the Debian package, unpacked: what it declares, its unit, its
programs with the configuration that it brings."""
import glob
import os
import re
import shutil
import socket
import subprocess
import tempfile

import balsa
from balsa import check, finish, skip

LIMIT_S = 300
PORT_STEPS = (0, 1, 2, 100, 101, 102, 200, 201, 202)  # of three brokers: clients, HTTP, balsactl; 10000 further, peers
PEER_STEP = 10000


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False, cwd=balsa.ROOT, **options)


def is_free(port):
    with socket.socket() as probe:
        try:
            probe.bind(("0.0.0.0", port))
            return True
        except OSError:
            return False


def port_for_three():
    steps = PORT_STEPS + tuple(PEER_STEP + step for step in PORT_STEPS[:3])
    return next(port for port in iter(balsa.free_port, None) if all(is_free(port + step) for step in steps))


def quickstart(scratch):
    with open(os.path.join(balsa.ROOT, "README.md"), encoding="utf-8") as page:
        check("./scripts/quickstart " in page.read(), "README.md names the command")
    where = {**os.environ, "BALSA_HOME": os.path.join(scratch, "home"), "BALSA_PORT": str(port_for_three())}
    try:
        for what in ("the first time", "again"):
            out = run("scripts/quickstart", env=where)
            told = f"{out.returncode} {out.stdout[-2000:]} {out.stderr[-1000:]}"
            check(out.returncode == 0 and "It works." in out.stdout, f"quickstart, {what}: {told}")
    finally:
        stop = run("scripts/quickstart", "stop", env=where)
    check(stop.returncode == 0, f"and it stops: {stop}")


def package(scratch):
    out = run("scripts/deb")
    path = out.stdout.split("'")[-2] if out.returncode == 0 and "'" in out.stdout else ""
    if not check(path.endswith(".deb"), f"a package is made: {out.returncode} {out.stdout} {out.stderr}"):
        return
    path = os.path.join(balsa.ROOT, path)
    root = os.path.join(scratch, "root")
    fields = run("dpkg-deb", "--field", path, "Depends").stdout
    needed = re.findall(r"([a-z0-9.+-]+) \(>=", fields)
    check(len(needed) > 5, f"it says what it depends on: {fields}")
    check(run("dpkg-query", "-W", *needed).returncode == 0, f"packages of those names are installed here: {needed}")
    check(run("dpkg-deb", "-x", path, root).returncode == 0, "it is unpacked")
    os.unlink(path)
    for name in ("usr/bin/balsad", "usr/bin/balsactl", "usr/share/man/man1/balsactl.1", "usr/share/bash-completion/completions/balsactl",
                 "usr/share/doc/balsa/OPERATIONS.md", "lib/systemd/system/balsa.service", "etc/balsa/server.properties"):
        check(os.path.getsize(os.path.join(root, name)) > 0 if os.path.exists(os.path.join(root, name)) else False, f"/{name} is in it")
    unit(root)
    installed(root, scratch)


def unit(root):
    """systemd's own check, of the unit with the programs where they are unpacked."""
    if not balsa.have("systemd-analyze"):
        skip("the unit", "systemd-analyze is not installed")
        return
    path = os.path.join(root, "lib/systemd/system/balsa.service")
    with open(path, encoding="utf-8") as file:
        text = file.read()
    check("ExecStart=/usr/bin/balsad --config /etc/balsa/server.properties" in text, "the unit starts what is installed")
    changed = os.path.join(root, "balsa.service")
    with open(changed, "w", encoding="utf-8") as file:
        file.write(text.replace("/usr/bin/", os.path.join(root, "usr/bin/")))
    out = run("systemd-analyze", "verify", "--man=no", changed)
    check(out.returncode == 0 and "balsa.service" not in out.stderr, f"systemd takes the unit: {out.returncode} {out.stderr}")


def installed(root, scratch):
    """The installed broker, with the configuration of the package, but data and ports of the test; stopped as systemd stops it."""
    bin_dir = os.path.join(root, "usr/bin")
    broker = balsa.Broker(data=os.path.join(scratch, "data"), settings={
        key: f"127.0.0.1:{balsa.free_port()}" for key in ("balsa.admin.listeners", "balsa.http.listener")})
    broker.program = os.path.join(bin_dir, "balsad")
    plain = broker.args
    broker.args = lambda: [*plain(), "--config", os.path.join(root, "etc/balsa/server.properties")]
    with broker:
        out = run(os.path.join(bin_dir, "balsactl"), "--admin", broker.settings["balsa.admin.listeners"], "cluster", "status")
        check(out.returncode == 0 and "alive" in out.stdout, f"the installed broker serves: {out}")
        check(broker.stop() == 0, f"and stops at SIGTERM: {broker.log_tail()}")


def main():
    for program in ("kcat", "dpkg-deb", "git"):
        if not balsa.have(program):
            skip("package", f"{program} is not installed")
            finish()
    scratch = tempfile.mkdtemp(prefix="balsa-package-")
    before = set(glob.glob(os.path.join(balsa.ROOT, "build", "balsa_*.deb")))
    try:
        quickstart(scratch)
        package(scratch)
    finally:
        for path in set(glob.glob(os.path.join(balsa.ROOT, "build", "balsa_*.deb"))) - before:
            os.unlink(path)
        shutil.rmtree(scratch, ignore_errors=True)
    finish()


if __name__ == "__main__":
    main()
