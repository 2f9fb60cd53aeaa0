#!/usr/bin/env python3
"""Each mistake in a schema is named with its line: check_kgen.py. The last line is `N passed, N failed, N skipped`."""
import sys

from check_schemas import kgen

HEAD = "api 7 x\nrequest 0-3 flexible 2+\n"

# name, text, line, part of the message
CASES = [
    ("type that nobody defined", HEAD + "    thing one 0+\n", 0, "unknown type 'thing'"),
    ("no versions", HEAD + "    int32 one\n", 3, "not a field"),
    ("versions that end before they start", HEAD + "    int32 one 3-2\n", 3, "empty versions"),
    ("bad versions", HEAD + "    int32 one +2\n", 3, "bad versions"),
    ("name of Kafka's spelling", HEAD + "    int32 timeoutMs 0+\n", 3, "bad name"),
    ("word of C", HEAD + "    int32 default 0+\n", 3, "bad name"),
    ("same name twice", HEAD + "    int32 one 0+\n    int8 one 0+\n", 4, "clashes"),
    ("name of an array's count", HEAD + "    []int32 one 0+\n    int32 one_count 0+\n", 4, "clashes"),
    ("null integer", HEAD + "    int32? one 0+\n", 3, "cannot be null"),
    ("null said twice", HEAD + "    string? one 0+ null 1+\n", 3, "no 'null' behind it"),
    ("default null without null", HEAD + "    string one 0+ = null\n", 3, "never null"),
    ("default out of range", HEAD + "    int8 one 0+ = 128\n", 3, "does not fit"),
    ("default of an array", HEAD + "    []int8 one 0+ = 1\n", 3, "no default but null"),
    ("default of the wrong type", HEAD + "    bool one 0+ = 1\n", 3, "bad default"),
    ("tag twice", HEAD + "    int8 one 2+ tag 0\n    int8 two 2+ tag 0\n", 4, "used twice"),
    ("tag before the flexible versions", HEAD + "    int8 one 1+ tag 0\n", 0, "before the message is flexible"),
    ("tag too large", HEAD + "    int8 one 2+ tag 64\n", 3, "above 63"),
    ("indented by three", HEAD + "   int8 one 0+\n", 3, "four spaces"),
    ("indented by a tab", HEAD + "\tint8 one 0+\n", 3, "four spaces"),
    ("indented under an integer", HEAD + "    int8 one 0+\n        int8 two 0+\n", 4, "too far"),
    ("struct twice", HEAD + "    s one 0+\n        int8 a 0+\n    s two 0+\n        int8 b 0+\n", 6, "two definitions"),
    ("field before any message", "api 7 x\n    int8 one 0+\n", 2, "too far"),
    ("message before its api", "request 0 flexible none\n    int8 one 0+\n", 1, "expected"),
    ("message without fields", HEAD, 0, "no fields"),
    ("flexible for a while", "api 7 x\nrequest 0-3 flexible 1-2\n    int8 one 0+\n", 2, "stays flexible"),
    ("struct that is null at times", HEAD + "    s one 0+ null 2+\n        int8 a 0+\n", 0, "in all its versions"),
    ("elements that take no bytes", "api 7 x\nrequest 0-3 flexible none\n    []s one 0+\n        int8 a 2+\n", 0, "no bytes"),
    ("nested without end", HEAD + "".join("    " * d + f"s{d} f{d} 0+\n" for d in range(1, 9)) + "    " * 9 + "int8 z 0+\n", 9,
     "nested deeper"),
]


def main():
    """Runs the cases."""
    failed = 0
    for name, text, line, part in CASES:
        try:
            kgen.parse_text(text, "x.msg")
            problem = "taken as right"
        except kgen.SchemaError as error:
            place = f"x.msg:{line}: "
            problem = None if str(error).startswith(place) and part in str(error) else f"says '{error}'"
        if problem:
            failed += 1
            print(f"{name}: {problem}")
    print(f"{len(CASES) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
