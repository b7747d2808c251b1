#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks behind HTTP, HTTPS and FTP: http_test.py [GROUP]. nginx on loopback, pyftpdlib for FTP, qemu-img beside xuni-img."""
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from nbd_client_test import both  # noqa: E402
from nbd_server_test import IMG, MIB, PATIENCE, Failed, need, noise, run, same_bytes, wait_for  # noqa: E402

CONFIG = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/errors;
events {{}}
http {{
    log_format short '$request $status $http_range'; access_log {folder}/log short;
    client_body_temp_path {folder}/t; proxy_temp_path {folder}/t; fastcgi_temp_path {folder}/t; uwsgi_temp_path {folder}/t; scgi_temp_path {folder}/t;
    server {{
        listen 127.0.0.1:{port}; listen 127.0.0.1:{tls} ssl;
        ssl_certificate {folder}/server-cert.pem; ssl_certificate_key {folder}/server-key.pem;
        root {folder}/www;
        location /norange/ {{ alias {folder}/www/; max_ranges 0; }}
        location /moved {{ return 302 /disk.raw; }}
        location /out {{ return 302 file:///etc/passwd; }}
        location /loop {{ return 302 /loop; }}
        location /private/ {{ alias {folder}/www/; auth_basic x; auth_basic_user_file {folder}/users; }}
        location /cookie/ {{ if ($cookie_key != "open") {{ return 403; }} alias {folder}/www/; }}
        location /busy {{ return 503; }}
    }}
}}
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Nginx:
    def __init__(self, folder):
        self.folder, self.port, self.tls = folder, free_port(), free_port()
        (folder / "www").mkdir()
        (folder / "config").write_text(CONFIG.format(folder=folder, port=self.port, tls=self.tls))
        (folder / "users").write_text("me:" + run("openssl", "passwd", "-apr1", "secret").stdout)
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost",
            "-keyout", folder / "server-key.pem", "-out", folder / "server-cert.pem")
        self.start()

    def start(self):
        (self.folder / "pid").unlink(missing_ok=True)
        self.process = subprocess.Popen(["nginx", "-e", str(self.folder / "errors"), "-c", str(self.folder / "config")])
        wait_for(lambda: self.answers() or self.process.poll() is not None, "nginx")
        need(self.process.poll() is None, "nginx did not start")

    def answers(self):
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def url(self, name):
        return f"http://127.0.0.1:{self.port}/{name}"

    def log(self):
        return (self.folder / "log").read_text().splitlines()

    def stop(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()


def described(driver, url, **more):
    return "json:" + json.dumps({"driver": "raw", "file": {"driver": driver, "url": url, **more}})


def group_http(folder):
    with Nginx(folder) as server:
        www = folder / "www"
        disk = noise(www / "disk.raw", 20)
        (www / "odd").write_bytes(b"x" * 70001)
        (www / "empty").write_bytes(b"")
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", disk, www / "disk.qcow2")
        for name in ("disk.raw", "disk.qcow2", "odd", "none", "norange/disk.raw", "moved"):
            ours, theirs = both("info", server.url(name))
            need(ours == theirs, f"info {name}: {ours} is not {theirs}")
        need(run(IMG, "info", server.url("empty")).stdout.count("0 B"), "an empty file")
        for name in ("moved", "disk.qcow2", "disk.raw"):
            run(IMG, "convert", "-O", "raw", server.url(name), folder / "back")
            same_bytes(disk, folder / "back", name)
        run(IMG, "compare", "-f", "raw", "-F", "raw", server.url("odd"), www / "odd")
        need(run(IMG, "check", server.url("disk.qcow2")).returncode == 0, "check")
        # Small reads fetch windows, each once.
        before = len(server.log())
        run(IMG, "bench", "-f", "raw", "-c", "5120", "-d", "32", "-s", "4096", server.url("disk.raw"))
        fetched = [line for line in server.log()[before:] if "bytes=0-0" not in line]
        need(len(fetched) == len(set(fetched)) == 80, f"20 MiB in windows of 256 KiB: {len(fetched)} requests")
        before = len(server.log())
        run(IMG, "bench", "-f", "raw", "-c", "64", "-d", "4", "-s", "4096", described("http", server.url("disk.raw"), readahead=65536))
        need(len(server.log()) - before == 1 + 4, f"readahead=65536: {len(server.log()) - before} requests")
        for readahead in (0, 1000, 1 << 30):
            need("readahead" in run(IMG, "info", described("http", server.url("disk.raw"), readahead=readahead), check=False).stderr, f"readahead={readahead}")
        # An overlay over it.
        run(IMG, "create", "-f", "qcow2", "-b", server.url("disk.raw"), "-F", "raw", folder / "over.qcow2")
        run(IMG, "compare", folder / "over.qcow2", disk)
        run(IMG, "bench", "-w", "-c", "16", "-s", "65536", folder / "over.qcow2")
        need(run(IMG, "check", folder / "over.qcow2").returncode == 0, "the overlay")
        # What is refused.
        need("does not support writes" in run(IMG, "create", "-f", "raw", server.url("disk.raw"), "1M", check=False).stderr, "writing")
        for name in ("out", "loop", "busy", "private/disk.raw", "cookie/disk.raw"):
            done = run(IMG, "info", server.url(name), check=False)
            need(done.returncode == 1 and "CURL: Error opening file" in done.stderr and done.stderr.count("\n") == 1, f"{name}: {done}")
        run(IMG, "info", described("http", server.url("cookie/disk.raw"), cookie="key=open"))
        run(IMG, "info", f"http://me:secret@127.0.0.1:{server.port}/private/disk.raw")
        run(IMG, "info", "--object", "secret,id=s,data=secret", described("http", server.url("private/disk.raw"), username="me", **{"password-secret": "s"}))
        need(run(IMG, "info", "--object", "secret,id=s,data=wrong", described("http", server.url("private/disk.raw"), username="me", **{"password-secret": "s"}),
                 check=False).returncode == 1, "a wrong password")
        need("nosuch" in run(IMG, "info", described("http", server.url("private/disk.raw"), **{"password-secret": "nosuch"}), check=False).stderr, "no secret")


def group_https(folder):
    with Nginx(folder) as server:
        disk = noise(folder / "www/disk.raw", 2)
        url = f"https://localhost:{server.tls}/disk.raw"
        done = run(IMG, "info", url, check=False)
        need(done.returncode == 1 and "verif" in done.stderr, f"a certificate that nobody trusts: {done.stderr}")
        run(IMG, "convert", "-O", "raw", described("https", url, sslverify=False), folder / "back")
        same_bytes(disk, folder / "back", "sslverify=off")
        need(run(IMG, "info", described("http", url), check=False).returncode == 1, "the URL of another driver")


def group_changes(folder):
    """Servers that go, hang, or change the file under us."""
    with Nginx(folder) as server:
        disk = noise(folder / "www/disk.raw", 64)
        slow = [IMG, "bench", "-f", "raw", "-c", "100000", "-d", "1", "-s", "262144", "-S", "262144"]

        def start(**more):
            client = subprocess.Popen([*slow, described("http", server.url("disk.raw"), **more)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            before = len(server.log())
            wait_for(lambda: len(server.log()) > before + 20, "requests")
            return client

        client = start()
        server.stop()
        out, err = client.communicate(timeout=30 * PATIENCE)
        need(client.returncode == 1 and "Input/output error" in err, f"a server that went: {err}")
        server.start()
        client = start(timeout=1)
        server.process.send_signal(signal.SIGSTOP)
        begin = time.monotonic()
        out, err = client.communicate(timeout=30 * PATIENCE)
        server.process.send_signal(signal.SIGCONT)
        need(client.returncode == 1 and "Input/output error" in err, f"a server that hangs: {err}")
        need(time.monotonic() - begin < 10 * PATIENCE, "for a second")
        client = start()
        other = folder / "www/other"
        other.write_bytes(bytes(64 * MIB))
        other.rename(disk)
        out, err = client.communicate(timeout=30 * PATIENCE)
        need(client.returncode == 1, "another file under the same name is not mixed with the first")


class Liar(threading.Thread):
    """Answers every connection's requests with the same bytes."""

    def __init__(self, answer):
        super().__init__(daemon=True)
        self.answer, self.socket = answer, socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}/x"
        self.start()

    def run(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection:
                try:
                    connection.recv(65536)
                    connection.sendall(self.answer)
                except OSError:
                    pass


def group_lies(folder):
    """Answers that do not fit the question end in an error, and nothing is read beyond what fits."""
    head = b"HTTP/1.1 206 Partial Content\r\nConnection: close\r\n"
    first = head + b"Content-Range: bytes 0-0/1048576\r\nContent-Length: 1\r\n\r\nx"
    for answer in (b"", b"no HTTP at all", b"HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n" + bytes(MIB), b"HTTP/1.1 206 x\r\n\r\nx",
                   head + b"Content-Range: bytes 0-0/abc\r\nContent-Length: 1\r\n\r\nx", head + b"Content-Range: bytes 0-0/*\r\nContent-Length: 1\r\n\r\nx",
                   head + b"Content-Range: bytes 0-9/100\r\n\r\n0123456789", head + b"A: " + b"x" * 500000 + b"\r\n\r\n", b"HTTP/1.1 404 x\r\n\r\n"):
        done = run(IMG, "info", "-f", "raw", Liar(answer).url, check=False)
        need(done.returncode == 1 and "CURL" in done.stderr, f"{answer[:60]}: {done}")
    run(IMG, "info", "-f", "raw", Liar(first).url)
    done = run(IMG, "bench", "-f", "raw", "-c", "1", Liar(first).url, check=False)
    need(done.returncode == 1 and "Input/output error" in done.stderr, f"an answer to another question: {done}")
    done = run(IMG, "info", "-f", "raw", Liar(head + b"Content-Range: bytes 0-0/18446744073709551615\r\nContent-Length: 1\r\n\r\nx").url, check=False)
    need(done.returncode == 1, f"a size that no disk has: {done}")


def group_ftp(folder):
    python = "/usr/bin/python3"  # the distribution's, whose package it is
    if run(python, "-c", "import pyftpdlib", check=False).returncode:
        print("FTP left out: pyftpdlib is not here (package python3-pyftpdlib)")
        return
    disk, port = noise(folder / "disk.raw", 5), free_port()
    server = subprocess.Popen([python, "-m", "pyftpdlib", "-i", "127.0.0.1", "-p", str(port), "-d", str(folder)], stderr=subprocess.DEVNULL)
    try:
        url = f"ftp://127.0.0.1:{port}/disk.raw"
        wait_for(lambda: run(IMG, "info", url, check=False).returncode == 0, "the FTP server")
        run(IMG, "convert", "-f", "raw", "-O", "raw", url, folder / "back")
        same_bytes(disk, folder / "back", "FTP")
        run(IMG, "bench", "-f", "raw", "-c", "500", "-d", "16", url)
        need(run(IMG, "info", url.replace("disk.raw", "none"), check=False).returncode == 1, "a file that is not there")
    finally:
        server.kill()
        server.wait()


GROUPS = {"http": group_http, "https": group_https, "changes": group_changes, "lies": group_lies, "ftp": group_ftp}

if __name__ == "__main__":
    os.environ["no_proxy"] = "*"
    if not (pathlib.Path(IMG).parent / "block-curl.so").exists():
        print("skipped: the curl module was not built (package libcurl4-gnutls-dev, 7.85 or later)")
        sys.exit(77)
    for tool, package in (("qemu-img", "qemu-utils"), ("nginx", "nginx-light"), ("openssl", "openssl")):
        if not shutil.which(tool):
            print(f"skipped: {tool} is not here (package {package})")
            sys.exit(77)
    bad = 0
    for group in sys.argv[1:] or GROUPS:
        with tempfile.TemporaryDirectory(prefix="xuni-http-") as directory:
            os.chmod(directory, 0o755)
            try:
                GROUPS[group](pathlib.Path(directory))
                print(f"ok      {group}")
            except Failed as failure:
                print(f"FAILED  {group}: {failure}")
                bad += 1
    sys.exit(1 if bad else 0)
