"""The checker itself: a good history passes, each planted fault is found and called by its name."""
import copy

import balsa
import history

PARTITIONS = 3
SENT = 30


def good():
    found = {p: [] for p in range(PARTITIONS)}
    acked = {}
    for number in range(SENT):
        partition = number % PARTITIONS
        acked[number] = (partition, len(found[partition]))
        found[partition].append((len(found[partition]), number))
    return acked, found


def planted(kind, change, is_idempotent=True):
    acked, found = copy.deepcopy(good())
    change(acked, found)
    kinds = [name for name, _, _ in history.anomalies(acked, SENT, found, PARTITIONS, is_idempotent)]
    balsa.check(kind in kinds if kind else not kinds, f"planted {kind or 'nothing'}: found {kinds}")


def renumber(records):
    records[:] = [(offset, number) for offset, (_, number) in enumerate(records)]


def lose_last(acked, found):
    found[1].pop()


def lose_middle(acked, found):
    del found[1][4]
    renumber(found[1])


def swap(acked, found):
    found[0][2], found[0][3] = (2, found[0][3][1]), (3, found[0][2][1])


def twice(acked, found):
    found[2].append((len(found[2]), found[2][5][1]))


def invent(acked, found):
    found[0].append((len(found[0]), SENT + 3))


def stray(acked, found):
    found[0].append((len(found[0]), 28))


def hole(acked, found):
    found[0].append((len(found[0]) + 1, 60))


def unknown_outcome(acked, found):
    del acked[7]


def late_unknown(acked, found):
    del acked[29], acked[28]
    found[2].pop()


def without_offset(acked, found):
    acked[7] = (1, None)


def without_offset_lost(acked, found):
    acked[28] = (1, None)
    found[1].pop()


def main():
    planted(None, lambda acked, found: None)
    planted(None, unknown_outcome)
    planted(None, late_unknown)
    planted(None, without_offset)
    planted("lost", without_offset_lost)
    planted("lost", lose_last)
    planted("lost", lose_middle)
    planted("lost", lose_middle, is_idempotent=False)
    planted("lost", swap)
    planted("out of order", swap)
    planted("duplicate", twice)
    planted(None, twice, is_idempotent=False)
    planted("invented", invent)
    planted("wrong partition", stray)
    planted("not dense", hole)
    balsa.finish()


main()
