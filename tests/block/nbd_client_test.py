#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""xuni-img on NBD exports of other servers (nbdkit, qemu-nbd), beside qemu-img: nbd_client_test.py [GROUP]."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from nbd_server_test import IMG, MIB, PATIENCE, Failed, need, noise, run, same_bytes, wait_for  # noqa: E402


class Kit:
    """nbdkit on a Unix socket that stays the same when it is started again."""

    def __init__(self, folder, *words, name="kit"):
        self.socket, self.pid_file, self.words = folder / name, folder / f"{name}.pid", words
        self.start()

    def start(self):
        self.pid_file.unlink(missing_ok=True)
        self.socket.unlink(missing_ok=True)
        self.process = subprocess.Popen(["nbdkit", "-f", "-U", str(self.socket), "-P", str(self.pid_file), *map(str, self.words)],
                                        stderr=subprocess.DEVNULL)
        wait_for(lambda: self.pid_file.exists() or self.process.poll() is not None, "nbdkit")
        need(self.process.poll() is None, f"nbdkit {self.words} did not start")

    def stop(self):
        self.process.kill()
        self.process.wait()

    def uri(self, export="", scheme="nbd", more=""):
        return f"{scheme}+unix:///{export}?socket={self.socket}{more}"

    def described(self, **more):
        """The same as a json: name, with options that a URI has no place for."""
        return "json:" + json.dumps({"driver": "raw", "file": {"driver": "nbd", "server": {"type": "unix", "path": str(self.socket)}, **more}})

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()


def both(*words, **kwargs):
    """[(exit status, output)] of xuni-img and qemu-img."""
    results = []
    for program in (IMG, "qemu-img"):
        done = run(program, *words, check=False, **kwargs)
        results.append((done.returncode, done.stdout, done.stderr.replace("xuni-img:", "IMG:").replace("qemu-img:", "IMG:")))
    return results


def group_open(folder):
    """Names, texts and refusals as qemu-img has them."""
    with Kit(folder, "memory", "10M") as kit:
        names = [kit.uri(), f"nbd:unix:{kit.socket}", f"nbd:unix:{kit.socket}:exportname=x", kit.uri("xy")]
        for name in names:
            for words in (["info"], ["info", "--output=json"], ["map", "--output=json"], ["check"]):
                ours, theirs = both(*words, name)
                need(ours == theirs, f"{words} {name}: {ours} is not {theirs}")
        ours, theirs = both("resize", "-f", "raw", kit.uri(), "20M")
        need(ours[0] == theirs[0] == 1, f"resize: {ours} {theirs}")
        ours, theirs = both("create", "-f", "raw", kit.uri(), "5M")
        need(ours == theirs and ours[0] == 0, f"create 5M: {ours} is not {theirs}")
        ours, theirs = both("create", "-f", "raw", kit.uri(), "20M")
        need(ours[0] == theirs[0] == 1 and "cannot change the length" in ours[2], f"create 20M: {ours}")
    for name in (f"nbd+unix:///?socket={folder}/none", "nbd://127.0.0.1:1/x"):
        ours, theirs = both("info", name)
        need(ours == theirs, f"{name}: {ours} is not {theirs}")
    for name in ("nbd://", "nbd:x", "nbd+unix://h/?socket=/x", "nbd+unix:///x", "nbd://127.0.0.1:99999/", "nbd://127.0.0.1/%zz", "nbdx://h/"):
        ours, theirs = both("info", name)
        need(ours[0] == 1 and name in ours[2] and ours[2].count("\n") == 1, f"{name}: {ours}")
    with Kit(folder, "-r", "memory", "10M") as kit:
        need("read-only" in run(IMG, "create", "-f", "raw", kit.uri(), "1M", check=False).stderr, "an export for reading only")
        run(IMG, "info", kit.uri())
    with Kit(folder, "-e", "only", "--filter=exportname", "memory", "10M", "exportname-strict=true", "exportname=only") as kit:
        run(IMG, "info", kit.uri("only"))
        done = run(IMG, "info", kit.uri("other"), check=False)
        need(done.returncode == 1 and "other" in done.stderr, f"an export that is not there: {done.stderr}")
    # What is there and is no NBD server.
    with subprocess.Popen(["socat", f"UNIX-LISTEN:{folder}/echo,fork", "EXEC:echo hello"]) as echo:
        wait_for(lambda: (folder / "echo").exists(), "socat")
        done = run(IMG, "create", "-f", "raw", f"nbd+unix:///?socket={folder}/echo", "1M", check=False)
        need(done.returncode == 1, "a greeting that is none")
        echo.terminate()
    environment = dict(os.environ, XUNI_MODULE_DIR=str(folder))
    done = run(IMG, "info", "nbd://127.0.0.1/", check=False, env=environment)
    need("block-nbd.so is not installed" in done.stderr, f"without the module: {done.stderr}")
    (folder / "block-nbd.so").write_bytes(b"no ELF file")
    need("cannot load" in run(IMG, "info", "nbd://127.0.0.1/", check=False, env=environment).stderr, "with a broken module")


def group_data(folder):
    source, back = noise(folder / "source", 24), folder / "back"
    with open(source, "r+b") as f:
        f.seek(3 * MIB)
        f.write(bytes(7 * MIB))
    servers = (["memory", "24M"], ["--filter=blocksize-policy", "memory", "24M", "blocksize-minimum=4096", "blocksize-error-policy=error"],
               ["--filter=nozero", "--filter=noextents", "memory", "24M"], ["--no-sr", "memory", "24M"], ["--filter=fua", "memory", "24M", "fuamode=emulate"],
               ["--filter=blocksize-policy", "memory", "24M", "blocksize-maximum=65536", "blocksize-error-policy=error"])
    for words in servers:
        with Kit(folder, *words) as kit:
            run(IMG, "convert", "-n", "-f", "raw", "-O", "raw", source, kit.uri())
            run("qemu-img", "compare", "-f", "raw", "-F", "raw", source, kit.uri())
            run(IMG, "compare", "-f", "raw", "-F", "raw", source, kit.uri())
            run(IMG, "convert", "-f", "raw", "-O", "raw", kit.uri(), back)
            same_bytes(source, back, f"{words}: there and back")
            # Parts that fit no block, where the server has large ones.
            run(IMG, "bench", "-f", "raw", "-w", "--pattern=65", "-c", "64", "-d", "8", "-s", "1000", "-S", "5000", "-o", "12345", "--flush-interval=16",
                kit.uri())
            run("qemu-img", "bench", "-f", "raw", "-w", "--pattern=65", "-c", "64", "-d", "8", "-s", "1000", "-S", "5000", "-o", "12345", source)
            run("qemu-img", "compare", "-f", "raw", "-F", "raw", source, kit.uri())
            ours, theirs = both("map", "--output=json", kit.uri())
            need(ours[0] == theirs[0] == 0 and extents(ours[1]) == extents(theirs[1]), f"{words}: map: {ours} is not {theirs}")
    # An export does not grow: an image that does not fit is an error, one that fits is good.
    with Kit(folder, "memory", "24M") as kit:
        full = noise(folder / "full", 24)
        done = run(IMG, "convert", "-f", "raw", "-O", "qcow2", full, kit.uri(), check=False)
        need(done.returncode == 1 and "No space left" in done.stderr, f"an image that does not fit: {done.stderr}")
        run(IMG, "convert", "-c", "-f", "raw", "-O", "qcow2", source, kit.uri())
        run("qemu-img", "check", kit.uri())
        run("qemu-img", "compare", "-f", "raw", "-F", "qcow2", source, kit.uri())
    # qcow2 inside an export, under another qcow2.
    disk = folder / "inner.qcow2"
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", source, disk)
    server = subprocess.Popen(["qemu-nbd", "-t", "-e", "0", "-f", "raw", "-k", str(folder / "q"), str(disk)])
    try:
        wait_for(lambda: (folder / "q").exists(), "qemu-nbd")
        uri = f"nbd+unix:///?socket={folder}/q"
        run(IMG, "compare", uri, source)
        run(IMG, "create", "-f", "qcow2", "-b", uri, "-F", "qcow2", folder / "over.qcow2")
        run(IMG, "compare", folder / "over.qcow2", source)
        need(run(IMG, "check", uri).returncode == 0, "check through NBD")
        run("qemu-img", "compare", folder / "over.qcow2", source)
    finally:
        server.kill()
        server.wait()


def extents(text):
    """As one state a range, however it was cut."""
    rows = []
    for e in json.loads(text):
        if rows and rows[-1][1:] == [e["zero"], e["data"]]:
            rows[-1][0] += e["length"]
        else:
            rows.append([e["length"], e["zero"], e["data"]])
    return rows


def group_errors(folder):
    for code, text in (("ENOSPC", "No space left"), ("EIO", "Input/output error"), ("EPERM", "Operation not permitted")):
        with Kit(folder, "--filter=error", "memory", "4M", f"error-pwrite={code}", "error-pwrite-rate=100%") as kit:
            done = run(IMG, "bench", "-f", "raw", "-w", "-c", "8", kit.uri(), check=False)
            need(done.returncode == 1 and text in done.stderr, f"{code}: {done.stderr}")
            need(run(IMG, "bench", "-f", "raw", "-c", "8", kit.uri()).returncode == 0, "reads go on")


def bench(kit, count, **more):
    """Writes against a slow server, so that it can be pulled away meanwhile."""
    return subprocess.Popen([IMG, "bench", "-f", "raw", "-w", "-c", str(count), "-d", "4", "-s", "4096", kit.described(**more)],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def group_reconnect(folder):
    image = folder / "image"
    image.write_bytes(bytes(4 * MIB))
    words = ["--filter=delay", "file", image, "delay-write=20ms"]
    written = lambda: image.read_bytes().count(b"\0") < 4 * MIB  # noqa: E731
    with Kit(folder, *words) as kit:
        # Requests wait for a server that comes back.
        client = subprocess.Popen([IMG, "bench", "-f", "raw", "-w", "--pattern=66", "-c", "1000", "-d", "4", "-s", "4096", kit.described(**{"reconnect-delay": 60})],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for done in (100, 200, 300):
            wait_for(lambda: image.read_bytes().count(b"B") > done * 4096, f"{done} writes")
            kit.stop()
            time.sleep(0.2)
            need(client.poll() is None, "it waits")
            kit.start()
        out, err = client.communicate(timeout=60 * PATIENCE)
        need(client.returncode == 0, f"requests were repeated: {err}")
        need(image.read_bytes()[:1000 * 4096] == b"B" * 1000 * 4096, "and none was lost")
        # Without a delay they fail at once, with one they fail when it is over.
        for delay, low, high in ((0, 0, 15), (2, 1.5, 30)):
            client = bench(kit, 1000, **{"reconnect-delay": delay})
            time.sleep(0.3)
            kit.stop()
            start = time.monotonic()
            out, err = client.communicate(timeout=60 * PATIENCE)
            spent = time.monotonic() - start
            need(client.returncode == 1 and "Input/output error" in err, f"an error: {err}")
            need(low <= spent <= high * PATIENCE, f"reconnect-delay={delay}: failed after {spent:.1f} s")
            kit.start()
        # Another disk in its place is refused, not written to.
        client = bench(kit, 1000, **{"reconnect-delay": 2})
        time.sleep(0.3)
        kit.stop()
        other = folder / "other"
        other.write_bytes(bytes(MIB))
        kit.words = ["file", other]
        kit.start()
        out, err = client.communicate(timeout=60 * PATIENCE)
        need(client.returncode == 1 and other.read_bytes() == bytes(MIB), "an export of another size")
        kit.words = words
        # open-timeout: a server that starts after its client.
        kit.stop()
        client = bench(kit, 10, **{"open-timeout": 30})
        time.sleep(0.5)
        need(client.poll() is None, "it tries again")
        kit.start()
        out, err = client.communicate(timeout=60 * PATIENCE)
        need(client.returncode == 0, f"open-timeout: {err}")
        # A server that is stopped in the middle and goes on: nothing is lost, nothing repeated.
        client = bench(kit, 100)
        time.sleep(0.2)
        kit.process.send_signal(signal.SIGSTOP)
        time.sleep(0.5)
        kit.process.send_signal(signal.SIGCONT)
        out, err = client.communicate(timeout=60 * PATIENCE)
        need(client.returncode == 0, f"after a pause: {err}")
        need(written(), "something was written")


def group_tls(folder):
    pki = folder / "pki"
    pki.mkdir()
    (folder / "ca.info").write_text("cn = a test\nca\ncert_signing_key\n")
    (folder / "server.info").write_text("cn = localhost\ndns_name = localhost\nip_address = 127.0.0.1\ntls_www_server\nencryption_key\nsigning_key\n")
    tool = lambda *words: run("certtool", *words)  # noqa: E731
    for name in ("ca", "server"):
        (pki / f"{name}-key.pem").write_text(tool("--generate-privkey", "--ecc").stdout)
    tool("--generate-self-signed", "--load-privkey", pki / "ca-key.pem", "--template", folder / "ca.info", "--outfile", pki / "ca-cert.pem")
    tool("--generate-certificate", "--load-ca-certificate", pki / "ca-cert.pem", "--load-ca-privkey", pki / "ca-key.pem", "--load-privkey",
         pki / "server-key.pem", "--template", folder / "server.info", "--outfile", pki / "server-cert.pem")
    psk = folder / "keys.psk"
    run("psktool", "-u", "alice", "-p", psk)
    trust = folder / "trust"
    trust.mkdir()
    shutil.copy(pki / "ca-cert.pem", trust)
    source = noise(folder / "source", 2)
    with Kit(folder, "--tls=require", f"--tls-psk={psk}", "memory", "2M") as kit:
        secret = kit.uri(scheme="nbds", more=f"&tls-psk-file={psk}").replace("unix:///", "unix://alice@/")
        run(IMG, "convert", "-n", "-f", "raw", "-O", "raw", source, secret)
        run(IMG, "compare", "-f", "raw", "-F", "raw", source, secret)
        need(run(IMG, "info", kit.uri(), check=False).returncode == 1, "no TLS, no export")
        run(IMG, "info", kit.described(**{"tls-psk-file": str(psk), "tls-username": "alice"}))
        wrong = folder / "wrong.psk"
        run("psktool", "-u", "alice", "-p", wrong)
        need(run(IMG, "info", kit.described(**{"tls-psk-file": str(wrong), "tls-username": "alice"}), check=False).returncode == 1, "a wrong key")
    # Certificates need a host name, so TCP.
    port = 20000 + os.getpid() % 10000
    kit = subprocess.Popen(["nbdkit", "-f", "-i", "127.0.0.1", "-p", str(port), "-P", str(folder / "tcp.pid"), "--tls=require", f"--tls-certificates={pki}", "memory", "2M"])
    try:
        wait_for(lambda: (folder / "tcp.pid").exists(), "nbdkit")
        run(IMG, "info", f"nbds://localhost:{port}/?tls-certificates={trust}")
        done = run(IMG, "info", f"nbds://localhost:{port}/", check=False)
        need(done.returncode == 1, f"a certificate that nobody trusts: {done.stdout}")
        run(IMG, "info", f"nbds://localhost:{port}/?tls-verify-peer=off")
    finally:
        kit.kill()
        kit.wait()


GROUPS = {"open": group_open, "data": group_data, "errors": group_errors, "reconnect": group_reconnect, "tls": group_tls}

if __name__ == "__main__":
    if not (pathlib.Path(IMG).parent / "block-nbd.so").exists():
        print("skipped: the nbd module was not built (package libnbd-dev)")
        sys.exit(77)
    for tool, package in (("qemu-img", "qemu-utils"), ("nbdkit", "nbdkit"), ("certtool", "gnutls-bin"), ("socat", "socat")):
        if not shutil.which(tool):
            print(f"skipped: {tool} is not here (package {package})")
            sys.exit(77)
    bad = 0
    for group in sys.argv[1:] or GROUPS:
        with tempfile.TemporaryDirectory(prefix="xuni-nbd-") as directory:
            try:
                GROUPS[group](pathlib.Path(directory))
                print(f"ok      {group}")
            except Failed as failure:
                print(f"FAILED  {group}: {failure}")
                bad += 1
    sys.exit(1 if bad else 0)
