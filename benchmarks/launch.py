"""Runs one command and writes what it cost: python launch.py REPORT.json COMMAND [ARGUMENT...]

A process of its own, and small: on Linux a new program starts with the peak memory of the one that
launched it, so a parent that holds media libraries would be measured instead of the command.
"""

import json
import os
import sys
import time


def main() -> int:
    report, *command = sys.argv[1:]
    started = time.perf_counter()
    child = os.posix_spawnp(command[0], command, os.environ)
    _, status, usage = os.wait4(child, 0)
    seconds = time.perf_counter() - started
    with open(report, "w", encoding="utf-8") as out:
        json.dump(
            {
                "exit_code": os.waitstatus_to_exitcode(status),
                "seconds": seconds,
                "cpu_seconds": usage.ru_utime + usage.ru_stime,
                # Of the largest process among it and the children it waited for; macOS counts bytes.
                "peak_bytes": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
            },
            out,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
