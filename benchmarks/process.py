"""Time and memory of a whole process, from its start to its end. The standard library alone is imported.

`python process.py REPORT COMMAND...` runs a command and writes what it used to the file REPORT, as JSON.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Usage(NamedTuple):
    """What a process took.

    Args:
        seconds: from its start to its end.
        cpu_seconds: of all its threads, in the program and in the kernel.
        megabytes: peak resident memory.
        output: what it printed.
    """

    seconds: float
    cpu_seconds: float
    megabytes: float
    output: str


def measure(command: Sequence[str]) -> Usage:
    """Run a command that must succeed.

    Raises:
        SystemExit: it failed; what it said is on standard error.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        # On Linux the peak of a process is at least that of its parent, so a small one stands between.
        done = subprocess.run(
            [sys.executable, __file__, str(report), *command], stdout=subprocess.PIPE, text=True
        )
        if done.returncode:
            raise SystemExit(f"status {done.returncode} of {shlex.join(command)}")
        return Usage(output=done.stdout, **json.loads(report.read_text()))


def main() -> None:
    """Be the small process."""
    report, *command = sys.argv[1:]
    began = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    megabytes = usage.ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)
    used = {"seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime, "megabytes": megabytes}
    Path(report).write_text(json.dumps(used))
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
