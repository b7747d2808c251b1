#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Images of a Ceph cluster as disks: one monitor and one OSD in memory, in a network namespace of the test's own, beside qemu-img."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from nbd_client_test import extents  # noqa: E402
from nbd_server_test import IMG, MIB, Failed, need, noise, run, same_bytes, wait_for  # noqa: E402

CONFIG = """
[global]
fsid = {fsid}
mon host = v1:127.0.0.1:6789
public network = 127.0.0.0/8
ms bind msgr2 = false
auth cluster required = none
auth service required = none
auth client required = none
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd crush chooseleaf type = 0
osd crush update on start = false
osd class update on start = false
osd class load list = *
osd class default list = *
osd objectstore = memstore
memstore device bytes = 1073741824
mon allow pool size one = true
mon data avail crit = 1
mon data = {folder}/mon
osd data = {folder}/osd
run dir = {folder}
admin socket = {folder}/$name.asok
pid file = {folder}/$name.pid
log file = {folder}/$name.log
keyring = {folder}/keyring
"""


def persist(*command):
    """A monitor that has just started refuses commands for a moment."""
    for attempt in range(20):
        try:
            return run(*command)
        except Failed:
            if attempt == 19:
                raise
            time.sleep(0.5)


def start_cluster(folder):
    fsid, osd = str(uuid.uuid4()), str(uuid.uuid4())
    conf = folder / "conf"
    conf.write_text(CONFIG.format(fsid=fsid, folder=folder))
    for name in ("mon", "osd"):
        (folder / name).mkdir()
    run("ip", "link", "set", "lo", "up")
    run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", "v1:127.0.0.1:6789", folder / "map")
    run("ceph-mon", "-c", conf, "--mkfs", "-i", "a", "--monmap", folder / "map")
    run("ceph-mon", "-c", conf, "-i", "a")
    ceph = ("ceph", "-c", conf)
    persist(*ceph, "osd", "new", osd)
    run("ceph-osd", "-c", conf, "-i", "0", "--mkfs", "--osd-uuid", osd)
    run("ceph-osd", "-c", conf, "-i", "0")
    persist(*ceph, "osd", "crush", "add", "osd.0", "1.0", "root=default", "host=h")
    persist(*ceph, "osd", "pool", "create", "rbd", "8")
    wait_for(lambda: "1 up" in run(*ceph, "osd", "stat").stdout, "the OSD", 60)
    return conf


def test(folder):
    conf = start_cluster(folder)
    name = lambda image: f"rbd:rbd/{image}:conf={conf}"  # noqa: E731
    source, back = noise(folder / "source", 24), folder / "back"
    with open(source, "r+b") as f:
        f.seek(8 * MIB)
        f.write(bytes(8 * MIB))
    done = run(IMG, "info", name("none"), check=False)
    need(done.returncode == 1 and "No such file" in done.stderr, f"an image that is not there: {done.stderr}")
    for wrong in ("rbd:rbd", "rbd:/x", "rbd:rbd/x:conf", f"rbd:nopool/x:conf={conf}", "rbd:rbd/x:conf=/nonexistent", f"{name('x')}:nosuch=1"):
        done = run(IMG, "info", wrong, check=False)
        need(done.returncode == 1 and done.stderr.startswith("xuni-img: Could not open"), f"{wrong}: {done.stderr}")
    run(IMG, "convert", "-f", "raw", "-O", "raw", source, name("one"))
    run("rbd", "-c", conf, "export", "one", back)
    same_bytes(source, back, "made in the pool")
    run("qemu-img", "compare", "-f", "raw", "-F", "raw", source, name("one"))
    run(IMG, "compare", "-f", "raw", "-F", "raw", source, name("one"))
    ours, theirs = (run(program, "map", "--output=json", "-f", "raw", name("one")).stdout for program in (IMG, "qemu-img"))
    need(extents(ours) == extents(theirs), f"map: {ours} is not {theirs}")
    # A snapshot stays as it was, and is for reading.
    run("rbd", "-c", conf, "snap", "create", "one@then")
    for program, image in ((IMG, name("one")), ("qemu-img", source)):
        run(program, "bench", "-f", "raw", "-w", "--pattern=65", "-c", "64", "-d", "8", "-s", "1000", "-S", "5000", "-o", "12345", image)
    run(IMG, "compare", "-f", "raw", "-F", "raw", source, name("one"))
    run(IMG, "convert", "-f", "raw", "-O", "raw", name("one@then"), folder / "then")
    same_bytes(folder / "then", back, "a snapshot")
    need(run(IMG, "bench", "-f", "raw", "-w", "-c", "1", name("one@then"), check=False).returncode == 1, "snapshots are read-only")
    # By options, through a server of ours, with everything that a disk does.
    described = "json:" + json.dumps({"driver": "raw", "file": {"driver": "rbd", "pool": "rbd", "image": "one", "server": [{"host": "127.0.0.1", "port": "6789"}],
                                                                "auth-client-required": ["none"], "conf": str(conf)}})
    server = subprocess.Popen([IMG, "export", "-t", "-e", "4", "-f", "raw", "--discard=unmap", "-k", str(folder / "s"), described])
    try:
        wait_for(lambda: (folder / "s").exists() or server.poll() is not None, "server")
        export = f"nbd+unix:///?socket={folder}/s"
        run("qemu-io", "-f", "raw", "-c", "write -P 5 1M 1M", "-c", "write -z -u 2M 1M", "-c", "discard 4M 4M", "-c", "write -f -P 6 6M 4k", "-c", "flush",
            "-c", "read -P 5 1M 1M", "-c", "read -P 0 2M 1M", "-c", "read -P 6 6M 4k", "-c", "write -P 7 12345 333", "-c", "read -P 7 12345 333", export)
        run("nbdcopy", "--connections=4", export, folder / "copy")
    finally:
        server.terminate()
        need(server.wait(60) == 0, "ends in good order")
    run(IMG, "convert", "-f", "raw", "-O", "raw", name("one"), back)
    same_bytes(folder / "copy", back, "what nbdcopy read")
    run(IMG, "resize", "-f", "raw", name("one"), "+1M")
    need("25 MiB" in run(IMG, "info", name("one")).stdout, "resize")
    run(IMG, "convert", "-f", "raw", "-O", "qcow2", source, name("two"))
    run(IMG, "check", name("two"))
    run("qemu-img", "compare", name("two"), source)


if __name__ == "__main__":
    if not (pathlib.Path(IMG).parent / "block-rbd.so").exists():
        print("skipped: the rbd module was not built (package librbd-dev)")
        sys.exit(77)
    for tool, package in (("ceph-mon", "ceph-mon"), ("ceph-osd", "ceph-osd"), ("ceph", "ceph-common"), ("qemu-img", "qemu-utils and qemu-block-extra"),
                          ("ip", "iproute2")):
        if not shutil.which(tool):
            print(f"skipped: {tool} is not here (package {package})")
            sys.exit(77)
    inside = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if os.environ.get("XUNI_INSIDE") != "1":
        if subprocess.run([*inside, "true"], capture_output=True).returncode:
            print("skipped: no right to make namespaces")
            sys.exit(77)
        sys.exit(subprocess.run([*inside, sys.executable, __file__], env=dict(os.environ, XUNI_INSIDE="1")).returncode)
    with tempfile.TemporaryDirectory(prefix="xuni-rbd-") as directory:
        try:
            test(pathlib.Path(directory))
            print("ok")
        except Failed as failure:
            print(f"FAILED  {failure}")
            sys.exit(1)
