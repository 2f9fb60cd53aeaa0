"""balsactl against a real broker: tables, JSON, exit codes, dry runs, and what it says when something is wrong."""
import json
import os
import subprocess

import admin
import balsa
from balsa import check, finish

BALSACTL = os.path.join(os.path.dirname(balsa.BALSAD), "balsactl")


def ctl(where, *words, environment=None):
    """(exit code, stdout, stderr)"""
    environment = {**os.environ, "BALSA_ADMIN": where, **(environment or {})}
    done = subprocess.run([BALSACTL, *words], capture_output=True, text=True, timeout=60, env=environment, check=False)
    return done.returncode, done.stdout, done.stderr


def topics(where):
    code, out, err = ctl(where, "topic", "create", "orders", "--partitions", "3", "--configs", "retention.ms=1000000", "--dry-run")
    check(code == 0, f"a dry run is answered: {err}")
    check(ctl(where, "topic", "list")[1] == "", "and makes nothing")
    code, out, err = ctl(where, "topic", "create", "orders", "--partitions", "3", "--configs", "retention.ms=1000000")
    check(code == 0 and "orders" in out, f"a topic is made: {out} {err}")
    code, out, err = ctl(where, "topic", "create", "orders")
    check(code == 1 and "already exists" in err, f"twice is refused, with the reason: {code} {err}")
    code, out, _ = ctl(where, "topic", "describe", "orders")
    check(code == 0 and "LEADER" in out and out.count("\n") >= 8, f"described as a table: {out}")
    code, out, _ = ctl(where, "--output", "json", "topic", "describe", "orders")
    told = json.loads(out)
    check(told["topic"]["partitions"] == 3 and len(told["partitions"]) == 3, f"described as JSON: {out}")
    check(told["configs"] == [{"name": "retention.ms", "value": "1000000"}], f"with its configuration: {out}")
    code, out, err = ctl(where, "topic", "grow", "orders", "5")
    check(code == 0 and out, f"a topic grows: {out} {err}")
    check(ctl(where, "topic", "grow", "orders", "2")[0] == 1, "and does not shrink")
    code, _, err = ctl(where, "partition", "move", "orders", "0", "7")
    check(code == 1 and "no broker 7" in err, f"a move to nobody is refused: {err}")
    check(ctl(where, "topic", "delete", "orders")[0] == 0 and ctl(where, "topic", "list")[1] == "", "a topic is deleted")


def mistakes(where):
    for words, told in ((("topic", "create"), "<name> is missing"), (("topic", "make"), "no such command"),
                        (("topic", "create", "a", "--partitions", "many"), "is no number"),
                        (("topic", "create", "a", "--what"), "unknown flag"),
                        (("topic", "create", "a", "--partitions"), "needs a value"),
                        (("topic", "delete", "a", "b"), "one word too many"),
                        (("--output", "xml", "topic", "list"), "expected table or json")):
        code, _, err = ctl(where, *words)
        check(code == 2 and told in err, f"{' '.join(words)}: {code} {err}")
    code, _, err = ctl(f"127.0.0.1:{balsa.free_port()}", "topic", "list")
    check(code == 3 and "--admin" in err, f"no broker: {code} {err}")
    code, _, err = ctl(f"127.0.0.1:{balsa.free_port()},{where}", "topic", "list")
    check(code == 0, f"the next address is tried: {code} {err}")
    check(ctl("nonsense", "topic", "list")[0] == 2, "an address needs a port")


def texts(where):
    with open(os.path.join(balsa.ROOT, "docs", "balsactl.1"), encoding="utf-8") as page:
        check(page.read() == ctl(where, "--help=man")[1], "docs/balsactl.1 is what balsactl --help=man prints")
    code, out, _ = ctl(where, "--help")
    check(code == 0 and "topic create" in out, "help lists the commands")
    code, script, _ = ctl(where, "completion")
    done = subprocess.run(["bash", "-c", script + "\nCOMP_WORDS=(balsactl topic '') COMP_CWORD=2; _balsactl; echo ${COMPREPLY[*]}"],
                          capture_output=True, text=True, timeout=30, check=False)
    check(code == 0 and {"create", "delete", "list"} <= set(done.stdout.split()), f"completion completes: {done.stdout} {done.stderr}")


def main():
    with balsa.Broker(settings=admin.settings()) as broker:
        where = admin.address(broker)
        code, out, err = ctl(where, "cluster", "status")
        check(code == 0 and "alive" in out, f"cluster status: {out} {err}")
        topics(where)
        mistakes(where)
        texts(where)
    finish()


if __name__ == "__main__":
    main()
