#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Boots a two-CPU Debian kernel again and again on a busy host, and counts where it complained: soak.py ENGINE COUNT.

Two machines run at a time, with two CPUs each; more load beside them is welcome. What the kernel measures or watches by time
must hold: calibration of its timers, clock watchdog, RCU, soft lock-ups.
"""
import concurrent.futures
import re
import sys
import time

from machine import Workspace, engine_or_skip

COMPLAINTS = ["stall", "Kernel panic", "BUG:", "Oops", "unstable", "soft lockup", "Hangcheck", "hung_task", "timer doesn't work",
              "IO-APIC + timer", "Marking TSC", "clocksource watchdog"]


def boot(engine, work, number):
    start = time.monotonic()
    status, text = work.boot(engine, "xuni=report", "-smp", "2", "-no-reboot", timeout=300)
    took = time.monotonic() - start
    wrong = [c for c in COMPLAINTS if c in text]
    if status or "report complete" not in text or "cpus:    2" not in text:
        wrong.append(f"exit status {status}")
    rate = re.search(r"tsc: Detected ([\d.]+) MHz", text)
    return number, took, wrong, rate and float(rate[1]), text


def main():
    engine, count = sys.argv[1], int(sys.argv[2])
    failed, times, rates = 0, [], set()

    engine_or_skip(engine)
    with Workspace() as work, concurrent.futures.ThreadPoolExecutor(2) as pool:
        for number, took, wrong, rate, text in pool.map(lambda n: boot(engine, work, n), range(count)):
            times.append(took)
            rates.add(rate)
            if wrong:
                failed += 1
                print(f"boot {number}: {', '.join(wrong)}\n{text[-1500:]}", flush=True)
    print(f"{count - failed} of {count} boots without a complaint; median {sorted(times)[count // 2]:.1f} s, longest {max(times):.1f} s; "
          f"TSC found at {sorted(map(str, rates))} MHz")
    sys.exit(1 if failed else 0)


main()
