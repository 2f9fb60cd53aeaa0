"""Options from file, environment and flags: which one wins, and that a mistake stops the start with its name and place."""
import os
import subprocess
import tempfile

import balsa


def run(args, settings=None, env=None):
    """A start that must fail: (exit code, what it says)."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("BALSA_")}
    environment.update(env or {})
    args = [balsa.BALSAD] + args
    for setting in settings or []:
        args += ["--set", setting]
    try:
        done = subprocess.run(args, env=environment, capture_output=True, timeout=20, check=False)
        return done.returncode, done.stdout.decode() + done.stderr.decode()
    except subprocess.TimeoutExpired:
        return None, "it started"


def mistakes_stop_the_start(folder):
    file = os.path.join(folder, "server.properties")
    with open(file, "w", encoding="ascii") as out:
        out.write("# a comment\nlog.dirs=" + folder + "/data\nzookeeper.connect=localhost:2181\n")
    for args, settings, env, said in [
        (["--config", file], [], {}, f"zookeeper.connect=localhost:2181 ({file}:3): there is no ZooKeeper"),
        (["--config", file + "x"], [], {}, f"{file}x: No such file or directory"),
        ([], ["node.id=abc"], {}, "node.id=abc (--set): expected an integer"),
        ([], ["node.di=1"], {}, "node.di=1 (--set): unknown key"),
        ([], ["listeners=SSL://:9093"], {}, "security protocol SSL is not available"),
        ([], [], {"BALSA_NODE_DI": "1"}, "environment variable BALSA_NODE_DI=1"),
        ([], [], {"BALSA_NODE_ID": "x"}, "node.id=x (environment variable BALSA_NODE_ID)"),
        (["--nonsense"], [], {}, "unknown argument '--nonsense'"),
    ]:
        code, text = run(args, settings, env)
        balsa.check(code == 2 and said in text, f"{args} {settings} {env}: {code}: {text}")
        balsa.check(not os.path.exists(folder + "/data"), "nothing is made by a start that fails")


def help_is_printed():
    code, text = run(["--help"])
    balsa.check(code == 0 and "advertised.listeners" in text, "--help lists the options")
    code, text = run(["--help=markdown"])
    with open("docs/CONFIGURATION.md", encoding="utf-8") as page:
        balsa.check(code == 0 and text == page.read(), "docs/CONFIGURATION.md is what --help=markdown prints")


def sources_are_ranked(folder):
    """The advertised port tells which source won."""
    file = os.path.join(folder, "ports.properties")
    with open(file, "w", encoding="ascii") as out:
        out.write("advertised.listeners = PLAINTEXT://127.0.0.1:1001\nnum.network.threads=3\n")
    for env, settings, port in [
        ({}, {}, 1001),
        ({"BALSA_ADVERTISED_LISTENERS": "PLAINTEXT://127.0.0.1:1002"}, {}, 1002),
        ({"BALSA_ADVERTISED_LISTENERS": "PLAINTEXT://127.0.0.1:1002"},
         {"advertised.listeners": "PLAINTEXT://127.0.0.1:1003"}, 1003),
    ]:
        broker = balsa.Broker(settings=settings, env={**env, "BALSA_PORT": "1", "BALSA_SERVICE_HOST": "x"})
        broker.settings = {**settings}
        args = broker.args()
        broker.args = lambda args=args: args + ["--config", file]
        with broker:
            out = subprocess.run(["kcat", "-L", "-b", broker.address], capture_output=True, timeout=30, check=False)
            balsa.check(f"127.0.0.1:{port}" in out.stdout.decode(), f"{env} {settings}: {out.stdout}")
            balsa.check("option has no effect" in broker.log_tail(), "a key without effect is told")


def main():
    with tempfile.TemporaryDirectory(prefix="balsa-config-") as folder:
        mistakes_stop_the_start(folder)
        help_is_printed()
        if balsa.have("kcat"):
            sources_are_ranked(folder)
        else:
            balsa.skip("config", "kcat is not installed")
    balsa.finish()


main()
