# SPDX-License-Identifier: GPL-2.0-or-later
"""Row "power" of bench/run: from exec of the VMM to a boot loader's first screen, by the distribution's firmware.

GRUB's menu is drawn on the VGA and said on COM1, which tells its end without asking the machine while it works. With OVMF, whose
console is both, nothing need be set for that.
"""
import pathlib
import shutil
import subprocess
import threading
import time

OVMF = pathlib.Path("/usr/share/OVMF")
MENU = """serial --unit=0
if [ "$grub_platform" = pc ]; then terminal_output console serial; fi
set timeout=-1
menuentry "The first entry" { true; }
menuentry "The last entry" { true; }
"""
LAST = b"The last entry"


def make_disc(work):
    folder = work / "power/boot/grub"
    folder.mkdir(parents=True)
    (folder / "grub.cfg").write_text(MENU)
    disc = work / "power.iso"
    subprocess.run(["grub-mkrescue", "-o", disc, work / "power"], check=True, capture_output=True)
    return disc


def flash(work):
    variables = work / "power.vars"
    shutil.copy(OVMF / "OVMF_VARS_4M.fd", variables)
    return ["-drive", f"if=pflash,format=raw,readonly=on,file={OVMF}/OVMF_CODE_4M.fd",
            "-drive", f"if=pflash,format=raw,file={variables}"]


def power_on(head, arguments, timeout):
    """Seconds of wall time until the menu is complete; None: it did not come."""
    start = time.monotonic()
    process = subprocess.Popen([str(a) for a in [*head, "-m", "256", "-nodefaults", "-display", "none", "-vga", "std", "-serial", "stdio",
                                                 *arguments]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    timer = threading.Timer(timeout, process.kill)
    timer.start()
    text = b""
    while LAST not in text:
        piece = process.stdout.read1(65536)
        if not piece:
            break
        text += piece
    took = time.monotonic() - start
    timer.cancel()
    process.kill()
    process.wait()
    return took if LAST in text else None


def table(heads, work, rounds, timeout):
    """heads: {engine: command's beginning}. The engines take turns, so that a busy host is busy for all of them."""
    if not shutil.which("grub-mkrescue") or not shutil.which("xorriso"):
        print("power: grub-mkrescue or xorriso is missing")
        return
    disc = make_disc(work)
    rows = {"SeaBIOS, GRUB's CD": lambda: ["-cdrom", disc]}
    if (OVMF / "OVMF_CODE_4M.fd").exists() and pathlib.Path("/usr/lib/grub/x86_64-efi").exists():
        rows["OVMF, GRUB's CD"] = lambda: ["-cdrom", disc, *flash(work)]
    print(f"power: from exec of the VMM to GRUB's menu, wall seconds (median of {rounds}, against tcg: median of the rounds' ratios)")
    for name, arguments in rows.items():
        times = {engine: [] for engine in heads}
        for _ in range(rounds):
            for engine, head in heads.items():
                times[engine].append(power_on(head, arguments(), timeout))
        for engine, seconds in times.items():
            if None in seconds:
                print(f"  {name:20} {engine:10} no menu in {timeout} s")
                continue
            peers = times.get("tcg", [None])
            ratios = "" if None in peers else f"{sorted(s / p for s, p in zip(seconds, peers))[rounds // 2]:8.2f}"
            print(f"  {name:20} {engine:10} {sorted(seconds)[rounds // 2]:8.2f}{ratios}")
