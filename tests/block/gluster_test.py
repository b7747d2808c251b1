#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A GlusterFS volume as storage of disks: glusterd and one brick in a network namespace of the test's own."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from nbd_client_test import extents  # noqa: E402
from nbd_server_test import IMG, MIB, Failed, need, noise, run, same_bytes, wait_for  # noqa: E402

ADDRESS = "10.99.0.1"  # on the namespace's loopback interface; Gluster refuses 127.0.0.1


def start_volume(folder):
    """Everything below /var is the namespace's own; all processes end with it."""
    run("ip", "link", "set", "lo", "up")
    run("ip", "address", "add", f"{ADDRESS}/32", "dev", "lo")
    for path in ("/var/lib/glusterd", "/var/log/glusterfs", "/var/run/gluster"):
        os.makedirs(path, exist_ok=True)
        run("mount", "-t", "tmpfs", "none", path)
    run("glusterd")
    wait_for(lambda: run("gluster", "volume", "list", check=False).returncode == 0, "glusterd", 60)
    brick = folder / "brick"
    brick.mkdir()
    run("gluster", "--mode=script", "volume", "create", "vol", f"{ADDRESS}:{brick}", "force")
    run("gluster", "--mode=script", "volume", "start", "vol")
    return brick


def test(folder):
    brick = start_volume(folder)
    uri = f"gluster://{ADDRESS}/vol/disk.raw"
    source, back = noise(folder / "source", 8), folder / "back"
    with open(source, "r+b") as f:
        f.seek(3 * MIB)
        f.write(bytes(2 * MIB))
    done = run(IMG, "info", uri, check=False)
    need(done.returncode == 1 and "No such file" in done.stderr, f"a file that is not there: {done.stderr}")
    done = run(IMG, "info", uri.replace("vol/", "none/"), check=False)
    need(done.returncode == 1 and "volume none" in done.stderr, f"a volume that is not there: {done.stderr}")
    for wrong in (f"gluster://{ADDRESS}/vol", f"gluster+rdma://{ADDRESS}/vol/x", "gluster+unix:///vol/x"):
        need(run(IMG, "info", wrong, check=False).returncode == 1, wrong)
    run(IMG, "convert", "-f", "raw", "-O", "raw", source, uri)
    same_bytes(source, brick / "disk.raw", "made on the volume")
    ours, wanted = (run(IMG, "map", "--output=json", "-f", "raw", name).stdout for name in (uri, brick / "disk.raw"))
    need(extents(ours) == extents(wanted), f"map: {ours} is not {wanted}")
    # All the rest through one server, because leaving a volume takes Gluster's library ten seconds.
    name = "json:" + json.dumps({"driver": "raw", "file": {"driver": "gluster", "volume": "vol", "path": "disk.raw",
                                                           "server": [{"type": "inet", "host": ADDRESS, "port": "24007"}]}})
    server = subprocess.Popen([IMG, "export", "-t", "-e", "4", "-f", "raw", "--discard=unmap", "-k", str(folder / "s"), name])
    try:
        wait_for(lambda: (folder / "s").exists(), "server")
        export = f"nbd+unix:///?socket={folder}/s"
        run("qemu-io", "-f", "raw", "-c", "write -P 5 1M 1M", "-c", "write -z -u 2M 1M", "-c", "discard 4M 1M", "-c", "write -f -P 6 6M 4k", "-c", "flush",
            "-c", "read -P 5 1M 1M", "-c", "read -P 0 2M 1M", "-c", "read -P 6 6M 4k", "-c", "write -P 7 12345 333", "-c", "read -P 7 12345 333", export)
        run("nbdcopy", "--connections=4", export, back)
        same_bytes(back, brick / "disk.raw", "what the brick holds")
        run(IMG, "bench", "-f", "raw", "-w", "-c", "500", "-d", "16", "-s", "65536", export)
    finally:
        server.terminate()
        need(server.wait(60) == 0, "ends in good order")
    run(IMG, "resize", "-f", "raw", uri, "+1M")
    need((brick / "disk.raw").stat().st_size == 9 * MIB, "resize")
    run(IMG, "convert", "-f", "raw", "-O", "qcow2", source, uri.replace("disk.raw", "disk.qcow2"))
    run("qemu-img", "compare", "-f", "qcow2", "-F", "raw", brick / "disk.qcow2", source)


if __name__ == "__main__":
    if not (pathlib.Path(IMG).parent / "block-gluster.so").exists():
        print("skipped: the gluster module was not built (package libglusterfs-dev)")
        sys.exit(77)
    for tool, package in (("glusterd", "glusterfs-server"), ("qemu-img", "qemu-utils"), ("ip", "iproute2")):
        if not shutil.which(tool):
            print(f"skipped: {tool} is not here (package {package})")
            sys.exit(77)
    inside = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if os.environ.get("XUNI_INSIDE") != "1":
        if subprocess.run([*inside, "true"], capture_output=True).returncode:
            print("skipped: no right to make namespaces")
            sys.exit(77)
        sys.exit(subprocess.run([*inside, sys.executable, __file__], env=dict(os.environ, XUNI_INSIDE="1")).returncode)
    with tempfile.TemporaryDirectory(prefix="xuni-gluster-") as directory:
        try:
            test(pathlib.Path(directory))
            print("ok")
        except Failed as failure:
            print(f"FAILED  {failure}")
            sys.exit(1)
