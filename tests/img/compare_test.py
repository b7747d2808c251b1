#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The same commands under xuni-img and qemu-img: exit codes, texts and JSON, and each one's images read by the other.

compare_test.py [GROUP]. What may differ is listed in normalise(): program name, disk sizes, dates, layout of new images.
"""
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
OURS = os.environ.get("XUNI_IMG", str(ROOT / "build/xuni-img"))
THEIRS = "qemu-img"
NO_CHECK = 63  # exit status: the format has no checks

# $IMG is the program under test, each line a shell command; both run in folders of their own that begin alike.
GROUPS = {
    "create": """
        $IMG create -f qcow2 a.qcow2 10M
        $IMG create -f raw a.raw 10M
        $IMG create a2.raw 1.5M
        $IMG create -f qcow2 -o cluster_size=4k,compat=0.10 b.qcow2 1G
        $IMG create -f qcow2 -b a.qcow2 -F qcow2 c.qcow2
        $IMG create -f qcow2 -F qcow2 -b a.qcow2 c2.qcow2 20M
        $IMG create -f qcow2 -b a.qcow2 d.qcow2
        $IMG create -f qcow2 x.qcow2
        $IMG create -f qcow2 -b nono -F raw x.qcow2
        $IMG create -f nofmt x 1M
        $IMG create -f qcow2 -o foo=1 x 1M
        $IMG create -f qcow2 -o cluster_size=3k x.qcow2 1M
        $IMG create -f qcow2 -o lazy_refcounts=on,compat=0.10 x.qcow2 1M
        $IMG create -f qcow2 -o refcount_bits=3 x.qcow2 1M
        $IMG create -f qcow2 -o preallocation=falloc,lazy_refcounts=on,refcount_bits=8,compression_type=zstd p.qcow2 1M
        $IMG create -f qcow2 -o preallocation=metadata m.qcow2 100M
        $IMG create -q -f raw q.raw 5000
        $IMG create -f raw
        $IMG create -f qcow2 -o size=2G y.qcow2
        $IMG create -f raw -o preallocation=full z.raw 1M
        $IMG create -u -f qcow2 -b nono -F raw u.qcow2 1M
        $IMG create -f qcow2 -o backing_file=a.qcow2,backing_fmt=qcow2 e.qcow2
        $IMG create -u -f qcow2 -b nono u2.qcow2; $IMG create -u -f qcow2 -b nono u2.qcow2 1M; $IMG create -f qcow2 -b '' u2.qcow2 1M; $IMG create -f qcow2 -o backing_file= u2.qcow2 1M; ls u2.qcow2; $IMG create -f qcow2 -o backing_file=nono,backing_fmt=raw -b a.qcow2 -F qcow2 e2.qcow2; $IMG info e2.qcow2 | grep back
        $IMG --trace nono info e2.qcow2 | head -1; $IMG -T nono,file=x info e2.qcow2 | head -1; $IMG --trace=enable=nono info e2.qcow2 | head -1
        $IMG create x 1M 2M
        $IMG create -f qcow2 a.qcow2 huge
        mkdir sub; $IMG create -f qcow2 -b ../a.qcow2 -F qcow2 sub/r.qcow2
        $IMG info a.qcow2; $IMG info b.qcow2; $IMG info c.qcow2; $IMG info p.qcow2; $IMG info y.qcow2; $IMG info z.raw
        $IMG info c2.qcow2; $IMG info e.qcow2; $IMG info m.qcow2; $IMG info sub/r.qcow2; $IMG info --backing-chain sub/r.qcow2
        $IMG info --output=json a.qcow2; $IMG info --output=json b.qcow2; $IMG info --output=json a.raw
        $IMG info --output=json --backing-chain sub/r.qcow2
        $IMG check a.qcow2; $IMG check b.qcow2; $IMG check p.qcow2; $IMG check m.qcow2
        stat -c %s a.raw a2.raw q.raw z.raw
    """,
    "options": """
        $IMG create -f raw -o help
        $IMG create -f raw -o '?' x
        $IMG create -f nofmt -o help
        $IMG convert -O raw -o help
        $IMG create -f null-co -o help
        $IMG create -f null-co x 1M
        $IMG create -f raw -o preallocation=metadata x.raw 1M
        $IMG create -f raw -o preallocation=foo x.raw 1M
        $IMG create -f raw -o nocow=x x.raw 1M
        $IMG create -f raw -o nocow=on a.raw 1M
        $IMG create -f raw -o extent_size_hint=1x x.raw 1M
        $IMG create -f raw -o extent_size_hint=2M,nocow=off,preallocation=off b.raw 1M
        $IMG create -f raw -o preallocation=falloc c.raw 1M; stat -c '%s %b' c.raw
        $IMG create -f raw -o size=99E x.raw
        $IMG create -f raw -b a.raw x.raw 1M
        $IMG create -f raw -F raw x.raw 1M
        $IMG create -f raw -o backing_file=a.raw x.raw 1M
        $IMG create -f raw /nonono/x 1M
        $IMG create -f qcow2 /nonono/x 1M
        $IMG create -f qcow2 -o preallocation=off,lazy_refcounts=off a.qcow2 1M
        $IMG create -f qcow2 -o lazy_refcounts=yes b.qcow2 1M
        $IMG create -f qcow2 -o lazy_refcounts,size=2M c.qcow2
        $IMG create -f qcow2 -o size=2M x.qcow2 3M
        $IMG create -f qcow2 -o preallocation=foo x.qcow2 3M
        $IMG create -f qcow2 -o compression_type=foo x.qcow2 3M
        $IMG create -f qcow2 -o compat=foo x.qcow2 3M
        $IMG create -f qcow2 -o cluster_size=1.5k x.qcow2 3M
        $IMG create -f qcow2 -o cluster_size=-1 x.qcow2 3M
        $IMG create -f qcow2 -o refcount_bits=-1 x.qcow2 3M
        $IMG create -f qcow2 -o refcount_bits=x x.qcow2 3M
        $IMG create -f qcow2 -o refcount_bits=99999999999999999999 x.qcow2 3M
        $IMG create -f qcow2 -o foo,bar=1 x.qcow2 3M
        $IMG create -f qcow2 -o '' x.qcow2 3M
        $IMG create -f qcow2 -o , x.qcow2 3M
        $IMG create -f qcow2 -F nono x.qcow2 3M
        $IMG create -f qcow2 -u -F raw -b 'a,b' u.qcow2 3M
        $IMG convert -O raw -o foo=1 a.raw x.raw
        $IMG convert -O qcow2 -o lazy_refcounts=3 a.raw x.qcow2
        $IMG convert -O qcow2 -o compat=foo a.raw x.qcow2
        $IMG convert -O null-co a.raw x
        $IMG convert -O raw -B a.raw -F raw a.raw x
        $IMG measure -O nofmt --size 1M; $IMG measure -O null-co --size 1M
        $IMG measure -O qcow2 -o foo=1 --size 1M
        $IMG measure -O qcow2 -o help --size 1M
        $IMG measure -O qcow2 -o cluster_size=3k --size 1M
        $IMG measure -O raw -o preallocation=full,nocow=on --size 1M
        $IMG create -q -f qcow2 r.qcow2 1M; for o in l2-cache-size=1M cache-size=1M cache-size=1M,l2-cache-size=2M cache-size=1M,l2-cache-size=1M,refcount-cache-size=1M refcount-cache-size=2M,cache-size=1M l2-cache-entry-size=4k l2-cache-entry-size=5k l2-cache-entry-size=128k cache-clean-interval=30 overlap-check=all overlap-check=foo overlap-check.template=cached overlap-check.main-header=off overlap-check=all,overlap-check.template=cached pass-discard-request=on pass-discard-snapshot=off,pass-discard-other=on lazy-refcounts=on file.aio-max-batch=3 file.drop-cache=on; do $IMG info --image-opts driver=qcow2,file.filename=r.qcow2,$o 2>&1; done
        for o in throttle-group,id=x throttle-group,id=x,limits.bps-total=1000000 throttle-group,id=x,x-iops-total=10000 throttle-group,id=x,limits.bps-total=1,limits.bps-read=5 throttle-group throttle-group,id=9 secret,id=9,data=x 'secret,id=a b,data=x' '{"qom-type":"throttle-group","id":"x","limits":{"bps-total":100000}}'; do $IMG info --object "$o" r.qcow2; echo $?; $IMG map --object "$o" --output=json --image-opts driver=throttle,throttle-group=x,file.driver=qcow2,file.file.filename=r.qcow2 2>/dev/null; echo $?; done 2>&1; $IMG info --object throttle-group,id=x --object throttle-group,id=x r.qcow2
        $IMG create -q -f qcow2 -o compat=0.10 r2.qcow2 1M; $IMG info --image-opts driver=qcow2,file.filename=r2.qcow2,lazy-refcounts=on
        cp a.raw w.raw; dd if=/dev/urandom of=w.raw bs=64k count=2 seek=3 conv=notrunc 2>/dev/null; for o in offset=65536,size=524288 offset=64k size=256k offset=0 read-only=on; do for v in info 'info --output=json' map 'map --output=json' check; do $IMG $v --image-opts driver=raw,$o,file.filename=w.raw 2>&1; done; done
        for j in '"offset":65536,"size":524288,"file":{"driver":"file","filename":"w.raw"}' '"offset":"65536","file.filename":"w.raw"'; do for v in info 'info --output=json' map 'map --output=json'; do $IMG $v "json:{\\"driver\\":\\"raw\\",$j}"; done; done
        qemu-io -c 'write 192k 64k' r.qcow2 >/dev/null; T='--object throttle-group,id=t --image-opts'; for o in driver=qcow2,file.driver=raw,file.offset=0,file.file.filename=r.qcow2 driver=qcow2,file.driver=raw,file.file.filename=r.qcow2 driver=throttle,throttle-group=t,file.driver=qcow2,file.file.filename=r.qcow2 driver=raw,size=512k,file.driver=throttle,file.throttle-group=t,file.file.driver=qcow2,file.file.file.filename=r.qcow2; do for v in info 'info --output=json' map 'map --output=json' check; do $IMG $v $T $o 2>&1; done; done
    """,
    "errors": """
        $IMG
        $IMG foo
        $IMG info
        $IMG info nono
        $IMG info --output=xml nono
        $IMG info -Z nono
        $IMG check nono
        $IMG create -f raw a.raw 1M
        for o in foo=1 '' driver=qcow2; do $IMG info --image-opts "$o"; done; $IMG info json:{}; $IMG info 'json:{"driver":"foo"}'
        $IMG --help | sed -n '/^Command syntax/,/^$/p' | grep -v '  export '
        $IMG create --image-opts a.raw 1M; $IMG info --image-opts=on a.raw; $IMG info --backing-chain=x a.raw; $IMG convert --tar a.raw b.raw; $IMG info --out=json nono; $IMG resize nono zz
        $IMG info null-co://; $IMG info null-co:x; $IMG commit -b nono a.raw
        $IMG create -q -f qcow2 own.qcow2 1M; for f in raw qcow2 vmdk vdi vhdx vpc qcow; do $IMG convert -O $f own.qcow2 own.qcow2 2>/dev/null; echo $?; $IMG info own.qcow2; done; $IMG dd -O qcow2 if=own.qcow2 of=own.qcow2 2>/dev/null; echo $?; $IMG create -f qcow2 -b own.qcow2 -F qcow2 own.qcow2; $IMG check own.qcow2
        $IMG check a.raw
        $IMG compare a.raw
        $IMG compare a.raw nono
        $IMG convert a.raw
        $IMG convert -O nofmt a.raw b
        $IMG convert nono b
        $IMG convert -n -O raw a.raw missing
        $IMG convert -c -O raw a.raw b.raw
        $IMG convert --target-is-zero a.raw b.raw
        $IMG convert -S 5 a.raw b.raw
        $IMG resize a.raw
        $IMG resize -f raw a.raw foo
        $IMG resize -f raw a.raw -2M
        $IMG resize -f raw a.raw 512k
        $IMG map nono
        $IMG info -f qcow2 a.raw
        head -c 65536 /dev/urandom > junk.qcow2; printf 'QFI\\373' | dd of=junk.qcow2 conv=notrunc status=none; $IMG info junk.qcow2 >/dev/null 2>&1
    """,
    "data": """
        $IMG create -q -f qcow2 base.qcow2 10M
        qemu-io -f qcow2 -c 'write -P 7 0 200k' -c 'write -P 8 9M 1M' base.qcow2 >/dev/null
        $IMG create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2 12M
        qemu-io -f qcow2 -c 'write -P 3 1M 300k' -c 'write -z 5M 64k' -c 'write -P 9 64k 4k' top.qcow2 >/dev/null
        $IMG check top.qcow2; $IMG check base.qcow2; $IMG check --output=json top.qcow2
        $IMG map top.qcow2; $IMG map --output=json top.qcow2; $IMG map --output=json --start-offset=1M --max-length=1M top.qcow2; $IMG map -s 1M -l 2M top.qcow2; $IMG map -s foo top.qcow2
        for o in '-s 0 -l 0' '-s 1 -l 1' '-s 100 -l 513' '-s 12M' '-s 13M' '-s 1E' '-s 12582911' '-s 3M -l 9E' '-s 11M -l 2M' '-l 99E' '-s -1'; do for f in base.qcow2 top.qcow2; do $IMG map $o --output=json $f; echo $?; done; done 2>&1; $IMG create -f file f.raw 1M
        $IMG convert top.qcow2 w.raw; T='--object throttle-group,id=x --image-opts'; for n in driver=throttle,throttle-group=x,file.driver=qcow2,file.file.filename=top.qcow2 driver=blkdebug,image.driver=qcow2,image.file.filename=top.qcow2 driver=raw,file.driver=qcow2,file.file.filename=top.qcow2 driver=raw,file.driver=throttle,file.throttle-group=x,file.file.driver=qcow2,file.file.file.filename=top.qcow2 driver=qcow2,file.driver=throttle,file.throttle-group=x,file.file.filename=top.qcow2; do for O in raw qcow2; do $IMG convert $T -O $O $n o.$O; $IMG compare -f $O -F raw o.$O w.raw; done; case $n in driver=raw*) ;; *) $IMG compare $T $n driver=raw,file.filename=w.raw; $IMG measure $T -O qcow2 $n; $IMG map $T --output=json $n;; esac; done; rm o.raw o.qcow2 w.raw
        $IMG snapshot top.qcow2; $IMG snapshot -c s top.qcow2; $IMG info --output=json --backing-chain top.qcow2; $IMG snapshot -d s top.qcow2
        $IMG compare base.qcow2 top.qcow2
        $IMG convert -O raw top.qcow2 flat.raw
        sha256sum < flat.raw
        $IMG compare flat.raw top.qcow2; $IMG compare -f raw -F qcow2 -s flat.raw top.qcow2
        $IMG convert -O qcow2 top.qcow2 flat.qcow2; $IMG check flat.qcow2; $IMG compare flat.qcow2 top.qcow2
        $IMG map --output=json flat.qcow2 | python3 ../extents.py
        $IMG convert -c -O qcow2 top.qcow2 packed.qcow2; $IMG check -q packed.qcow2; $IMG compare packed.qcow2 top.qcow2
        $IMG convert -c -o compression_type=zstd -O qcow2 top.qcow2 zstd.qcow2; $IMG compare zstd.qcow2 top.qcow2; $IMG check -q zstd.qcow2
        $IMG convert -O qcow2 -B base.qcow2 -F qcow2 top.qcow2 over.qcow2; $IMG compare over.qcow2 top.qcow2; $IMG info over.qcow2
        $IMG convert -O qcow2 -o cluster_size=512 top.qcow2 small.qcow2; $IMG compare small.qcow2 top.qcow2; $IMG check -q small.qcow2
        $IMG convert -O qcow2 -o compat=0.10 top.qcow2 old.qcow2; $IMG compare old.qcow2 top.qcow2; $IMG info old.qcow2
        dd if=/dev/urandom of=noise.raw bs=1M count=12 status=none; cp noise.raw n2.raw
        $IMG convert -n -O raw top.qcow2 n2.raw; $IMG compare -f raw n2.raw top.qcow2
        $IMG convert -O qcow2 -S 0 top.qcow2 full.qcow2; $IMG compare full.qcow2 top.qcow2
        $IMG convert -p -O raw base.qcow2 p.raw | tail -c 20
        $IMG convert -O raw base.qcow2 flat.raw both.raw; stat -c %s both.raw; sha256sum < both.raw
        $IMG map flat.raw
        $IMG compare noise.raw flat.raw
        $IMG compare -q noise.raw flat.raw
        $IMG compare -s base.qcow2 top.qcow2
        $IMG create -q -f qcow2 c.qcow2 10M; qemu-io -c 'write -P 1 0 5M' c.qcow2 >/dev/null; for at in 1 2; do cp c.qcow2 d.qcow2; dd if=/dev/zero of=d.qcow2 bs=64k seek=$at count=1 conv=notrunc status=none; $IMG check d.qcow2; echo $?; $IMG check --output=json d.qcow2; $IMG check -r all d.qcow2 2>/dev/null; echo $?; $IMG check d.qcow2; $IMG compare c.qcow2 d.qcow2; done
        cp c.qcow2 d.qcow2; printf '\\x80\\0\\0\\0\\0\\7\\0\\0' | dd of=d.qcow2 bs=1 seek=262144 conv=notrunc status=none; $IMG check d.qcow2; echo $?; $IMG check -r all d.qcow2; echo $?; $IMG check d.qcow2
        W() { cp c.qcow2 d.qcow2; printf "$1" | dd of=d.qcow2 bs=1 seek=$2 conv=notrunc status=none; }; for w in '\\200\\0\\0\\0\\0\\5\\2\\0 262160' '\\200\\0\\0\\0\\0\\5\\0\\0 262160' '\\200\\0\\0\\0\\0\\6\\0\\6 262160' '\\0\\0\\0\\0\\0\\0\\0\\6 262168' '\\207\\0\\0\\0\\0\\4\\0\\1 196608'; do W $w; for o in '' --output=json '-q' '-r leaks'; do $IMG check $o d.qcow2; echo $?; done; done 2>&1; W '\\200\\0\\0\\0\\0\\4\\2\\0' 196608; $IMG check -r leaks d.qcow2 2>&1 | grep 'Repairing cluster [45] '; $IMG convert -c -O qcow2 c.qcow2 e.qcow2; $IMG check --output=json e.qcow2; rm e.qcow2; printf '\\0\\1' | dd of=c.qcow2 bs=1 seek=131372 conv=notrunc status=none; for o in '' --output=json '--output=json -r leaks' ''; do $IMG check $o c.qcow2; echo $?; done 2>&1; rm d.qcow2
    """,
    "subclusters": """
        $IMG create -f qcow2 -o extended_l2=on a.qcow2 10M; $IMG info a.qcow2; $IMG info --output=json a.qcow2
        $IMG create -f qcow2 -o extended_l2=on,compat=0.10 x.qcow2 1M
        $IMG create -f qcow2 -o extended_l2=on,cluster_size=8k x.qcow2 1M
        $IMG create -q -f qcow2 -o extended_l2=on,cluster_size=128k,preallocation=metadata m.qcow2 3M; $IMG check -q m.qcow2
        $IMG map --output=json m.qcow2 | python3 ../extents.py
        qemu-io -f qcow2 -c 'write -P 1 3k 2k' -c 'write -P 2 70k 130k' -c 'write -z 80k 10k' -c 'write -z 128k 64k' -c 'write -P 4 1M 1k' -c 'write -zu 1M 4k' a.qcow2 >/dev/null
        $IMG map --output=json a.qcow2 | python3 ../extents.py; $IMG check a.qcow2; $IMG map a.qcow2 | sed 's/0x[0-9a-f]* *a/a/'
        $IMG convert -O raw a.qcow2 a.raw; sha256sum < a.raw
        $IMG create -q -f qcow2 -o extended_l2=on,cluster_size=2M -b a.qcow2 -F qcow2 o.qcow2 12M
        qemu-io -f qcow2 -c 'write -P 9 1k 1k' -c 'write -P 8 2M 3M' -c 'write -z 2200k 100k' -c 'discard 4M 2M' o.qcow2 >/dev/null
        $IMG map --output=json o.qcow2 | python3 ../extents.py; $IMG convert -O raw o.qcow2 o.raw; sha256sum < o.raw; $IMG compare o.raw o.qcow2
        $IMG snapshot -c s o.qcow2; qemu-io -f qcow2 -c 'write -P 7 2M 1k' -c 'write -P 6 5k 1k' -c 'write -z 3M 1M' o.qcow2 >/dev/null; $IMG check o.qcow2
        $IMG convert -O raw o.qcow2 o.raw; sha256sum < o.raw; $IMG snapshot -a s o.qcow2; $IMG convert -O raw o.qcow2 o.raw; sha256sum < o.raw; $IMG snapshot -d s o.qcow2; $IMG check o.qcow2
        $IMG convert -O qcow2 -o extended_l2=on o.qcow2 c.qcow2; $IMG check -q c.qcow2; $IMG compare c.qcow2 o.qcow2; $IMG map --output=json c.qcow2 | python3 ../extents.py
        $IMG convert -c -O qcow2 -o extended_l2=on o.qcow2 p.qcow2; $IMG compare p.qcow2 o.qcow2; $IMG check p.qcow2
        $IMG rebase -b '' o.qcow2; $IMG check -q o.qcow2; $IMG convert -O raw o.qcow2 o2.raw; cmp o.raw o2.raw
        $IMG resize o.qcow2 20M; $IMG resize --shrink o.qcow2 3000k; $IMG check -q o.qcow2; $IMG convert -O raw o.qcow2 o.raw; sha256sum < o.raw
        $IMG create -q -f qcow2 -o extended_l2=on,preallocation=metadata -b a.qcow2 -F qcow2 pre.qcow2; $IMG check -q pre.qcow2; $IMG compare pre.qcow2 a.qcow2
        $IMG map --output=json pre.qcow2 | python3 ../extents.py; $IMG bench -w -q -c 5 -s 1k -S 100k pre.qcow2 >/dev/null; $IMG check pre.qcow2; $IMG compare pre.qcow2 a.qcow2
        $IMG measure -O qcow2 -o extended_l2=on --size 10G; $IMG measure -O qcow2 -o extended_l2=on,cluster_size=32k a.qcow2
    """,
    "datafile": """
        $IMG create -q -f qcow2 b.qcow2 1M; for o in data_file=d.raw,compat=0.10 data_file_raw=on data_file=d.raw,data_file_raw=on,backing_file=b.qcow2,backing_fmt=qcow2 data_file=nodir/d.raw; do $IMG create -f qcow2 -o $o x.qcow2 1M; ls x.qcow2; done
        for o in data_file=d.raw,preallocation=metadata data_file=d.raw,preallocation=falloc data_file=d.raw,preallocation=full,data_file_raw=on data_file=d.raw,extended_l2=on,data_file_raw=on; do $IMG create -f qcow2 -o $o p.qcow2 1M; stat -c '%s' d.raw; $IMG map --output=json p.qcow2; $IMG check p.qcow2; $IMG info p.qcow2; done
        $IMG create -f qcow2 -o data_file=d1.raw a.qcow2 1M; $IMG info --output=json a.qcow2; stat -c %s d1.raw; qemu-io -f qcow2 -c 'write -P 1 0 64k' -c 'write -P 2 200k 100k' -c 'write -z 64k 64k' a.qcow2 >/dev/null; $IMG map --output=json a.qcow2; $IMG map a.qcow2; $IMG check a.qcow2
        $IMG convert -O raw a.qcow2 a.raw; sha256sum < a.raw; $IMG compare a.raw a.qcow2
        $IMG snapshot -c s a.qcow2
        $IMG snapshot -l a.qcow2
        $IMG resize a.qcow2 2M; stat -c %s d1.raw; $IMG resize --shrink a.qcow2 500k; stat -c %s d1.raw; $IMG check -q a.qcow2
        $IMG convert -O qcow2 -o data_file=c.raw a.raw c.qcow2; $IMG compare c.qcow2 a.raw; $IMG check c.qcow2; $IMG map --output=json c.qcow2; $IMG convert -O qcow2 -o data_file=c2.raw,data_file_raw=on a.raw c2.qcow2; cmp c2.raw a.raw; $IMG map --output=json c2.qcow2
        $IMG convert -c -O qcow2 -o data_file=c3.raw a.raw x.qcow2
        $IMG create -q -f qcow2 -o data_file=d2.raw,data_file_raw=on r.qcow2 1M; $IMG resize r.qcow2 2M; $IMG map --output=json r.qcow2; qemu-io -f qcow2 -c 'write -P 1 0 256k' -c 'write -z 64k 64k' -c 'discard 128k 64k' -c 'write -zu 0 64k' r.qcow2 >/dev/null; $IMG map --output=json r.qcow2; $IMG map --output=json -f raw d2.raw; $IMG compare -F raw r.qcow2 d2.raw
        $IMG bench -w --pattern 5 -c 10 -S 100k -s 1000 r.qcow2 | head -1; $IMG compare -F raw r.qcow2 d2.raw; $IMG check -q r.qcow2; $IMG convert -n -O qcow2 a.raw r.qcow2; $IMG compare -F raw r.qcow2 d2.raw; $IMG compare r.qcow2 a.raw
        $IMG create -q -f qcow2 -o data_file=d3.raw -b a.qcow2 -F qcow2 o.qcow2 1M; $IMG bench -w --pattern 5 -c 10 -S 30k -s 1000 o.qcow2 | head -1; $IMG check o.qcow2; $IMG convert o.qcow2 o.raw; sha256sum < o.raw; $IMG commit o.qcow2; $IMG check -q o.qcow2; $IMG map --output=json o.qcow2; $IMG convert a.qcow2 a.raw; sha256sum < a.raw
        cp d2.raw d2b.raw; rm d2.raw; $IMG info r.qcow2 | head -3; $IMG convert r.qcow2 y.raw
        $IMG convert --image-opts driver=qcow2,file.filename=r.qcow2,data-file.filename=d2b.raw,data-file.driver=file y.raw; sha256sum < y.raw
        $IMG convert --image-opts driver=qcow2,file.filename=b.qcow2,data-file.filename=d2b.raw,data-file.driver=file y.raw
        $IMG convert 'json:{"driver":"qcow2","file":{"driver":"file","filename":"r.qcow2"},"data-file":{"driver":"file","filename":"d2b.raw"}}' y.raw; sha256sum < y.raw; mv d2b.raw d2.raw
        $IMG measure -O qcow2 -o data_file=d.raw --size 1G
    """,
    "commit": """
        $IMG create -q -f raw base.raw 2M; $IMG bench -q -w -f raw --pattern 1 -c 10 -s 64k -S 128k base.raw; $IMG create -q -f qcow2 -b base.raw -F raw mid.qcow2 3M; $IMG bench -q -w --pattern 2 -c 5 -s 64k -S 256k mid.qcow2; $IMG create -q -f qcow2 -b mid.qcow2 -F qcow2 top.qcow2 4M; $IMG bench -q -w --pattern 3 -c 5 -s 64k -S 320k top.qcow2; qemu-io -f qcow2 -c 'write -z 1M 128k' top.qcow2 >/dev/null; $IMG convert top.qcow2 want.raw; sha256sum < want.raw; mkdir keep; cp base.raw mid.qcow2 top.qcow2 keep
        $IMG commit top.qcow2; $IMG convert top.qcow2 a.raw; cmp a.raw want.raw; $IMG convert mid.qcow2 a.raw; sha256sum < a.raw; $IMG map --output=json top.qcow2 | python3 ../extents.py; $IMG info mid.qcow2 | grep virt; $IMG check -q top.qcow2; $IMG check -q mid.qcow2; cp keep/* .
        $IMG commit -b base.raw top.qcow2; sha256sum < base.raw; $IMG convert top.qcow2 a.raw; cmp a.raw want.raw; $IMG map --output=json top.qcow2 | python3 ../extents.py; $IMG convert mid.qcow2 a.raw; sha256sum < a.raw; $IMG info top.qcow2 | grep back; cp keep/* .
        $IMG commit -b mid.qcow2 top.qcow2; $IMG convert mid.qcow2 a.raw; sha256sum < a.raw; $IMG map --output=json top.qcow2 | python3 ../extents.py; cp keep/* .
        $IMG commit -d top.qcow2; $IMG convert top.qcow2 a.raw; cmp a.raw want.raw; $IMG map --output=json top.qcow2 | python3 ../extents.py; cp keep/* .
        $IMG commit -q top.qcow2; $IMG commit -q mid.qcow2; sha256sum < base.raw; stat -c %s base.raw; cp keep/* .
        $IMG commit -r 100M -t none top.qcow2; $IMG convert top.qcow2 a.raw; cmp a.raw want.raw; cp keep/* .
        $IMG commit -p top.qcow2 | tail -c 30 | tr '\\r' '\\n'; cp keep/* .
        $IMG commit -r foo top.qcow2
        $IMG commit -r 9E top.qcow2
        $IMG commit -r
        $IMG commit -b nono top.qcow2
        $IMG commit -b top.qcow2 top.qcow2
        $IMG commit -f raw base.raw
        $IMG commit mid.qcow2 top.qcow2
        $IMG commit
        $IMG commit nono
        $IMG commit -t foo top.qcow2
        $IMG commit --image-opts driver=qcow2,file.filename=top.qcow2; $IMG convert top.qcow2 a.raw; cmp a.raw want.raw; cp keep/* .
        $IMG commit 'json:{"driver":"qcow2","file":{"driver":"file","filename":"top.qcow2"}}'; $IMG convert top.qcow2 a.raw; cmp a.raw want.raw; cp keep/* .
        mkdir d; $IMG create -q -f qcow2 -b ../mid.qcow2 -F qcow2 d/t.qcow2; for b in mid.qcow2 ./mid.qcow2 $PWD/mid.qcow2 base.raw ./base.raw $PWD/base.raw nono d/t.qcow2; do echo "== $b"; $IMG commit -b $b d/t.qcow2; echo $?; done 2>&1 | sed "s,$PWD,PWD,g"; cd d; for b in mid.qcow2 ../mid.qcow2 $PWD/../mid.qcow2 ../d/../mid.qcow2; do $IMG commit -b $b t.qcow2; echo $?; done 2>&1; cd ..; rm -r d
        J='json:{"driver":"raw","offset":1048576,"size":2097152,"file":{"driver":"file","filename":"big.raw"}}'; seq 1000000 | head -c 6M > big.raw; for b in "$J" ''; do $IMG create -q -f qcow2 -b "$J" -F raw o.qcow2; $IMG bench -q -w --pattern 2 -c 5 -s 64k -S 256k o.qcow2; $IMG convert o.qcow2 w.raw; $IMG commit ${b:+-b "$b"} o.qcow2; sha256sum < big.raw; $IMG compare -F raw o.qcow2 w.raw; done; rm o.qcow2 big.raw w.raw
        $IMG create -q -f qcow2 -b base.raw -F raw bm.qcow2; $IMG bitmap --add bm.qcow2 x; qemu-io -f qcow2 -c 'write -P 6 200k 200k' bm.qcow2 >/dev/null; $IMG commit bm.qcow2; $IMG check bm.qcow2; python3 ../bits.py bm.qcow2; $IMG rebase -b '' bm.qcow2; $IMG check -q bm.qcow2; cp keep/* .
        $IMG commit -f raw top.qcow2
        chmod a-w base.raw; rm -rf keep
        mkdir f; cd f; T='--object throttle-group,id=t --image-opts'; F='driver=throttle,throttle-group=t,file.driver=qcow2,file.file.filename=b.qcow2 driver=copy-on-read,file.driver=qcow2,file.file.filename=b.qcow2 driver=blkdebug,image.driver=qcow2,image.file.filename=b.qcow2 driver=qcow2,file.driver=throttle,file.throttle-group=t,file.file.filename=b.qcow2'; make() { rm -f *; qemu-img create -q base.raw 2M; qemu-img create -q -f qcow2 -b base.raw -F raw a.qcow2; qemu-img create -q -f qcow2 -b a.qcow2 -F qcow2 b.qcow2; qemu-io -c 'write -P 1 0 64k' a.qcow2 >/dev/null; qemu-io -c 'write -P 2 192k 64k' b.qcow2 >/dev/null; cp base.raw new.raw; qemu-io -f raw -c 'write -P 9 1M 64k' new.raw >/dev/null; }; look() { for f in base.raw a.qcow2 b.qcow2; do qemu-img convert -O raw $f x; sha256sum < x; done; qemu-img info b.qcow2 | grep back; qemu-img map --output=json b.qcow2 | grep -c '"depth": 0'; }; for n in $F; do for o in '' -d '-b a.qcow2'; do make; $IMG commit $T $o $n 2>&1; look; done; done; make; $IMG commit $T -b nono $n; qemu-img rebase -u -b '' b.qcow2; $IMG commit $T $n; $IMG commit -p b.qcow2; rm *
    """,
    "rebase": """
        $IMG create -q -f raw base.raw 2M; $IMG bench -q -w -f raw --pattern 1 -c 10 -s 64k -S 128k base.raw; cp base.raw base2.raw; $IMG create -q -f qcow2 -b base.raw -F raw mid.qcow2 3M; $IMG bench -q -w --pattern 2 -c 5 -s 64k -S 256k mid.qcow2; $IMG create -q -f qcow2 -b mid.qcow2 -F qcow2 top.qcow2 4M; $IMG bench -q -w --pattern 3 -c 5 -s 4k -S 300k top.qcow2; qemu-io -f qcow2 -c 'write -z 1M 128k' top.qcow2 >/dev/null; $IMG convert top.qcow2 want.raw; sha256sum < want.raw; cp top.qcow2 keep; $IMG create -q -f qcow2 other.qcow2 1M; $IMG bench -q -w --pattern 2 -c 5 -s 64k -S 128k other.qcow2
        for b in 'base.raw -F raw' 'other.qcow2 -F qcow2' 'base2.raw -F raw' 'mid.qcow2 -F qcow2'; do $IMG rebase -b $b top.qcow2; $IMG compare top.qcow2 want.raw; $IMG map --output=json top.qcow2 | python3 ../extents.py places; $IMG info top.qcow2 | grep back; $IMG check -q top.qcow2; cp keep top.qcow2; done
        $IMG rebase -b '' top.qcow2; $IMG compare top.qcow2 want.raw; $IMG map --output=json top.qcow2 | python3 ../extents.py places; $IMG info top.qcow2 | grep back; $IMG rebase -b mid.qcow2 -F qcow2 top.qcow2; $IMG compare top.qcow2 want.raw; $IMG info top.qcow2 | grep back; cp keep top.qcow2
        $IMG rebase -p -b base.raw -F raw top.qcow2 | tr '\\r' '\\n'; cp keep top.qcow2; $IMG rebase -p -u -b base.raw -F raw top.qcow2 | tr '\\r' '\\n'; $IMG info top.qcow2 | grep back; cp keep top.qcow2
        $IMG rebase -u -b nono -F raw top.qcow2; $IMG info top.qcow2 | grep back; $IMG rebase -u -b '' top.qcow2; $IMG info top.qcow2 | grep back; $IMG rebase -u -b mid.qcow2 -F qcow2 top.qcow2; $IMG compare top.qcow2 want.raw; cp keep top.qcow2
        $IMG rebase -b nono -F raw top.qcow2
        $IMG rebase -b base.raw top.qcow2
        $IMG rebase -u -b base.raw top.qcow2
        $IMG rebase -u -b base.raw -F foo top.qcow2
        $IMG rebase -b base.raw -F foo top.qcow2
        $IMG rebase top.qcow2
        cp keep top.qcow2; $IMG rebase -u top.qcow2; $IMG rebase -b base2.raw -F raw top.qcow2; $IMG convert top.qcow2 a.raw; sha256sum < a.raw; $IMG map --output=json top.qcow2 | python3 ../extents.py places; $IMG create -q -f raw short.raw 1000k; $IMG bench -q -w -f raw --pattern 5 -c 9 -s 4k -S 111k short.raw; cp keep top.qcow2; $IMG rebase -b short.raw -F raw top.qcow2; $IMG compare top.qcow2 want.raw; $IMG map --output=json top.qcow2 | python3 ../extents.py places; $IMG rebase -u -b '' top.qcow2; $IMG convert top.qcow2 s.raw; $IMG rebase -b short.raw -F raw top.qcow2; $IMG compare top.qcow2 s.raw; $IMG rebase -b base2.raw -F raw top.qcow2; $IMG compare top.qcow2 s.raw; cp keep top.qcow2
        seq 1000000 | head -c 6M > big.raw; $IMG create -q -f qcow2 -b 'json:{"driver":"raw","offset":1048576,"file":{"driver":"file","filename":"big.raw"}}' -F raw j.qcow2 4M; $IMG convert j.qcow2 j.raw; sha256sum < j.raw; $IMG rebase -b big.raw -F raw j.qcow2; $IMG compare -F raw j.qcow2 j.raw; $IMG info j.qcow2 | grep back; rm j.qcow2 j.raw big.raw
        $IMG rebase -b base.raw
        $IMG rebase -b base.raw -F raw nono
        $IMG rebase -f raw -b base.raw -F raw base2.raw
        $IMG rebase -t foo -b base.raw -F raw top.qcow2
        $IMG rebase -T foo -b base.raw -F raw top.qcow2
        $IMG rebase -U -b base.raw -F raw top.qcow2
        $IMG rebase -u -b "$(printf 'x%.0s' $(seq 1100))" -F raw top.qcow2
        $IMG rebase --image-opts -b base.raw -F raw driver=qcow2,file.filename=top.qcow2; $IMG compare top.qcow2 want.raw; $IMG info top.qcow2 | grep back; cp keep top.qcow2
        mkdir sub; $IMG create -q -f qcow2 -b ../base.raw -F raw sub/s.qcow2; $IMG rebase -b ../base2.raw -F raw sub/s.qcow2; $IMG info sub/s.qcow2 | grep back; $IMG rebase -b base2.raw -F raw sub/s.qcow2
        $IMG create -q -f qcow2 -o extended_l2=on -b mid.qcow2 -F qcow2 x.qcow2 4M; $IMG bench -q -w --pattern 4 -c 5 -s 4k -S 300k x.qcow2; $IMG convert x.qcow2 xw.raw; $IMG rebase -b base.raw -F raw x.qcow2; $IMG compare x.qcow2 xw.raw; $IMG map --output=json x.qcow2 | python3 ../extents.py places; mv x.qcow2 e.qcow2
        $IMG create -q -f qcow2 -b other.qcow2 -F qcow2 l.qcow2 4M; $IMG rebase -b base.raw -F raw l.qcow2; $IMG map --output=json l.qcow2 | python3 ../extents.py
        rm want.raw xw.raw
        mkdir f; cd f; T='--object throttle-group,id=t --image-opts'; F='driver=throttle,throttle-group=t,file.driver=qcow2,file.file.filename=b.qcow2 driver=copy-on-read,file.driver=qcow2,file.file.filename=b.qcow2 driver=blkdebug,image.driver=qcow2,image.file.filename=b.qcow2 driver=qcow2,file.driver=throttle,file.throttle-group=t,file.file.filename=b.qcow2'; make() { rm -f *; qemu-img create -q base.raw 2M; qemu-img create -q -f qcow2 -b base.raw -F raw a.qcow2; qemu-img create -q -f qcow2 -b a.qcow2 -F qcow2 b.qcow2; qemu-io -c 'write -P 1 0 64k' a.qcow2 >/dev/null; qemu-io -c 'write -P 2 192k 64k' b.qcow2 >/dev/null; cp base.raw new.raw; qemu-io -f raw -c 'write -P 9 1M 64k' new.raw >/dev/null; }; look() { for f in base.raw a.qcow2 b.qcow2; do qemu-img convert -O raw $f x; sha256sum < x; done; qemu-img info b.qcow2 | grep back; qemu-img map --output=json b.qcow2 | grep -c '"depth": 0'; }; for n in $F; do for o in '-u -b base.raw -F raw' "-b $PWD/base.raw -F raw" "-b $PWD/new.raw -F raw" "-b ''"; do make; eval $IMG rebase $T $o $n 2>&1 | sed "s,$PWD,.,g"; look | sed "s,$PWD,.,g"; done; done; make; for n in $F; do case $n in *image.*) ;; *) $IMG rebase $T -b base.raw -F raw $n 2>&1;; esac; done; look; mkdir d; qemu-img create -q -f qcow2 d/c.qcow2 2M; cp base.raw d; $IMG rebase --image-opts -b base.raw -F raw driver=qcow2,file.filename=d/c.qcow2; $IMG info d/c.qcow2 | grep back; rm -r *
    """,
    "compare": """
        $IMG create -q -f qcow2 a.qcow2 4M; $IMG bench -q -w --pattern 1 -c 10 -s 64k -S 128k a.qcow2; $IMG convert a.qcow2 a.raw; $IMG convert -O qcow2 a.qcow2 b.qcow2; qemu-io -f qcow2 -c 'write -P 9 1300k 1k' b.qcow2 >/dev/null; $IMG create -q -f qcow2 z.qcow2 5M; $IMG convert -O qcow2 a.qcow2 l.qcow2; $IMG resize -q l.qcow2 6M; cp l.qcow2 l2.qcow2; qemu-io -f qcow2 -c 'write -P 9 5M 1k' l2.qcow2 >/dev/null; qemu-io -f qcow2 -c 'write -z 3M 1M' z.qcow2 >/dev/null
        for x in a.qcow2 a.raw b.qcow2 z.qcow2 l.qcow2 l2.qcow2; do for y in a.qcow2 a.raw b.qcow2 z.qcow2 l.qcow2 l2.qcow2; do for s in '' -s '-q -s'; do echo $x $y $s; $IMG compare $s $x $y; echo $?; done; done; done
        $IMG compare -p a.qcow2 a.raw | tr '\\r' '\\n'; $IMG compare -p l.qcow2 a.raw | tr '\\r' '\\n'; $IMG compare -p b.qcow2 a.raw | tr '\\r' '\\n'; $IMG compare -p -q a.qcow2 a.raw; $IMG compare -p z.qcow2 z.qcow2 | tr '\\r' '\\n'
        $IMG compare -f qcow2 -F raw a.qcow2 a.raw
        $IMG compare -f raw -F raw a.qcow2 a.raw
        $IMG compare -f foo a.qcow2 a.raw
        $IMG compare -F foo a.qcow2 a.raw
        $IMG compare -T none a.qcow2 a.raw
        $IMG compare -T foo a.qcow2 a.raw
        $IMG compare -U a.qcow2 a.raw
        $IMG compare --image-opts driver=qcow2,file.filename=a.qcow2 driver=raw,file.filename=a.raw
        $IMG compare --image-opts driver=qcow2,file.filename=a.qcow2 a.raw
        $IMG compare 'json:{"driver":"qcow2","file":{"driver":"file","filename":"a.qcow2"}}' a.raw
        $IMG compare --image-opts -f raw driver=qcow2,file.filename=a.qcow2 file.filename=a.raw
        $IMG compare -Z a.qcow2 a.raw
        $IMG compare a.qcow2
        $IMG compare a.qcow2 a.raw b.qcow2
        $IMG compare nono a.raw
        $IMG compare a.raw nono
        B='driver=raw,file.driver=blkdebug,file.inject-error.0.event=none,file.inject-error.0.iotype=read,file.inject-error.0.sector=1100,file.image.driver=file,file.image.filename=a.raw'; $IMG compare --image-opts $B driver=raw,file.filename=a.raw 2>&1 | sed 's/of .*:/of X:/'; $IMG compare --image-opts driver=raw,file.filename=a.raw $B 2>&1 | sed 's/of .*:/of X:/'
    """,
    "dd": """
        seq 700000 | head -c 4200000 > in.raw; $IMG convert -O qcow2 in.raw in.qcow2
        for o in '' bs=64k bs=1M 'bs=1M count=2' 'bs=1M skip=1' 'bs=1000 skip=3 count=5' 'bs=1M count=2 skip=3' count=10 skip=10 'bs=4k count=100000' 'bs=1M skip=5' 'bs=1M count=0'; do for f in raw qcow2; do echo "$o $f"; $IMG dd -f raw -O $f $o if=in.raw of=out.$f; echo $?; $IMG convert -f $f -O raw out.$f o.raw; sha256sum < o.raw; stat -c %s out.raw; rm -f out.$f; done; done
        $IMG dd if=in.qcow2 of=q.raw bs=128k; $IMG compare -F raw in.qcow2 q.raw; stat -c %s q.raw
        $IMG dd -U if=in.qcow2 of=q.raw bs=128k count=3; sha256sum < q.raw
        for o in bs=0 bs=foo count=x skip=-1 foo=1 foo bs= of=; do $IMG dd if=in.raw of=x.raw $o; done
        $IMG dd if=in.raw
        $IMG dd of=x.raw
        $IMG dd
        $IMG dd -f foo if=in.raw of=x.raw
        $IMG dd -O foo if=in.raw of=x.raw
        $IMG dd if=nono of=x.raw
        $IMG dd if=in.raw of=nodir/x.raw
        $IMG dd --image-opts if=driver=qcow2,file.filename=in.qcow2 of=q.raw bs=1M count=1; sha256sum < q.raw
        $IMG dd -n if=in.raw of=q.raw
        echo 12345678 > small; $IMG dd -f raw if=small of=s.raw bs=4; stat -c %s s.raw; $IMG dd -f raw if=in.raw of=in2.raw bs=1M; cmp in.raw in2.raw | head -1
    """,
    "bench": """
        $IMG create -q -f qcow2 a.qcow2 4M; for o in '-c 10' '-c 10 -d 1' '-c 10 -s 64k -S 128k' '-w -c 10 --pattern 7' '-w -c 64 --flush-interval 16 -d 8' '-w -c 64 --flush-interval 16 -d 8 --no-drain' '-c 10 -o 1M' '-c 10 -t none' '-c 10 -i threads' '-c 10 -i io_uring' '-n -c 10 -t none' '-n -c 10' '-c 10 -i native' '-c 10 -i native -t none' '-c 10 -U' '-q -c 10' '-c 2000 -s 512 -S 3k' '-c 10 -f qcow2' '-c 10 -s 1000' '-c 300 -s 64k'; do $IMG bench $o a.qcow2; echo $?; done; $IMG convert a.qcow2 a.raw; sha256sum < a.raw; $IMG check -q a.qcow2
        for o in '-c 0' '-c x' '-d x' '-d -1' '-c -1' '-c 1G' '-s 8M' '-s 3G' '-s 0' '-s x' '-S x' '-o x' '-o 5M' '--pattern 256' '--pattern x' '--flush-interval x' '--flush-interval 5' '-w --flush-interval 5' '-t foo' '-i foo' '-f foo' '-Z'; do echo "== $o"; $IMG bench $o a.qcow2; echo $?; done
        $IMG bench
        $IMG bench a b
        $IMG bench nono
        $IMG bench -c 5 --image-opts driver=qcow2,file.filename=a.qcow2
        $IMG bench -c 5 'json:{"driver":"qcow2","file":{"driver":"file","filename":"a.qcow2"}}'
        $IMG create -q -f raw s.raw 1k; $IMG bench -f raw -c 5 s.raw
    """,
    "sizes": """
        $IMG create -q -f raw src.raw 10M; $IMG bench -q -w -f raw --pattern 5 -c 20 -s 64k -S 320k src.raw; $IMG bench -q -w -f raw --pattern 6 -c 7 -s 4k -S 777k src.raw; for f in qcow vdi vpc vmdk vhdx qcow2 raw; do $IMG convert -f raw -O $f src.raw a.$f; done; $IMG convert -f raw -O vpc -o subformat=fixed,force_size=on src.raw fixed.vpc; $IMG convert -f raw -O vdi -o static=on src.raw static.vdi; for s in monolithicFlat twoGbMaxExtentSparse twoGbMaxExtentFlat streamOptimized; do $IMG convert -f raw -O vmdk -o subformat=$s src.raw $s.vmdk; done; $IMG convert -f raw -O vhdx -o subformat=fixed src.raw fixed.vhdx
        exec 2>&1; for i in 'qcow a.qcow' 'vdi a.vdi' 'vdi static.vdi' 'vpc a.vpc' 'vpc fixed.vpc' 'vmdk a.vmdk' 'vmdk monolithicFlat.vmdk' 'vmdk twoGbMaxExtentSparse.vmdk' 'vmdk twoGbMaxExtentFlat.vmdk' 'vmdk streamOptimized.vmdk' 'vhdx a.vhdx' 'vhdx fixed.vhdx' 'raw a.raw'; do set -- $i; R=(20M '--shrink 5M' '--preallocation=falloc 30M'); case $2 in a.*) R+=(+1M -1M '--shrink -- -1M' 10M 0 '--shrink 0' '--preallocation=metadata 40M' '-q 11M' '--shrink --preallocation=full 1M' 9000P foo +); esac; for r in "${R[@]}"; do echo "== $2 $r"; cp $2 t.$1; case $2 in twoGb*Sparse*) cp twoGbMaxExtentSparse-s001.vmdk t-s001.vmdk; sed -i s/twoGbMaxExtentSparse-/t-/ t.$1;; *Flat*) cp monolithicFlat-flat.vmdk t-flat.vmdk; esac; case $r in *-\ *) $IMG resize -f $1 --shrink t.$1 -1M;; *-*\ *) $IMG resize -f $1 ${r% *} t.$1 ${r##* };; *) $IMG resize -f $1 t.$1 $r; esac; echo $?; $IMG info -f $1 t.$1 | grep virtual; cmp -s t.$1 $2 || { $IMG check -q -f $1 t.$1; $IMG compare -f raw -F $1 src.raw t.$1; }; rm -f t.$1 t-*; done; done
        rm -f a.vpc fixed.vpc
    """,
    "formats": """
        $IMG create -q -f raw src.raw 10M; $IMG bench -q -w -f raw --pattern 5 -c 20 -s 64k -S 320k src.raw; $IMG bench -q -w -f raw --pattern 6 -c 7 -s 4k -S 777k src.raw; for f in qcow vdi vpc vmdk vhdx qcow2 raw; do $IMG convert -f raw -O $f src.raw a.$f; done; $IMG convert -f raw -O vpc -o subformat=fixed,force_size=on src.raw fixed.vpc; $IMG convert -f raw -O vdi -o static=on src.raw static.vdi; for s in monolithicFlat twoGbMaxExtentSparse twoGbMaxExtentFlat streamOptimized; do $IMG convert -f raw -O vmdk -o subformat=$s src.raw $s.vmdk; done; $IMG convert -f raw -O vhdx -o subformat=fixed src.raw fixed.vhdx
        exec 2>&1; for f in qcow vdi vpc vmdk vhdx qcow2 raw; do for o in raw qcow qcow2 vdi vpc vmdk vhdx luks; do for s in '' --output=json; do echo "$f $o"; [ $f = vhdx ] || $IMG measure $s -f $f -O $o a.$f; $IMG measure $s -O $o --size 3G; done; done; [ $f = vhdx ] || $IMG measure -f $f -O qcow2 -o cluster_size=4k a.$f; done
        exec 2>&1; for s in '--size 0' '--size 1' '--size 70000' '--size 1G' a.raw a.qcow2; do for o in preallocation=full preallocation=falloc preallocation=metadata backing_file=s.raw,backing_fmt=raw extended_l2=on,backing_file=s.raw,preallocation=falloc backing_fmt=raw data_file=x,preallocation=full; do $IMG measure -O qcow2 -o $o $s; $IMG measure -O raw -o ${o##*,} $s; done; done; for o in '-f raw' --image-opts '-l s' -U; do $IMG measure $o --size 1M; $IMG measure $o; done
        truncate -s 1M blk; L=$(losetup -f --show blk 2>/dev/null) || exit 0; trap "losetup -d $L; rm -f blk" EXIT; N() { sed "s,$L,LOOP,g"; }; exec 2>&1; for s in 2M 512k 1M; do qemu-img create -q -f qcow2 $L 1M; $IMG create -f raw $L $s | N; $IMG info $L | head -3 | N; done; seq 100000 | head -c 512k > in.raw; for O in raw qcow2 qcow; do for o in '' '-S 0' -C; do tr '\\0' a < /dev/zero | head -c 1M > blk; $IMG convert $o -O $O in.raw $L | N; $IMG convert -f $O -O raw $L o.raw; head -c 512k o.raw | cmp - in.raw; done; done; rm in.raw o.raw
        truncate -s 1M blk; L=$(losetup -f --show blk 2>/dev/null) || exit 0; trap "losetup -d $L; rm -f blk in.raw o.raw" EXIT; exec 2>&1; seq 100000 | head -c 512k > in.raw; H() { $IMG "$@" | sed "s,$L,LOOP,g"; }; { H create -f host_device $L 512k; H create -f host_device $L 2M; H create -f host_device nono 1M; H create -f host_device -o help; H create -f host_device -o help $L; H create -f host_device -o nocow=on $L 1M; H create -f host_device $L; for o in -n '' '-S 0' -C '-o preallocation=off'; do tr '\\0' a < /dev/zero | head -c 1M > blk; H convert $o -O host_device in.raw $L; H convert -f host_device -O raw $L o.raw; head -c 512k o.raw | cmp - in.raw; done; H convert -O host_device -o preallocation=full in.raw $L; H convert -O host_device -o preallocation=x in.raw $L; H convert -c -O host_device in.raw $L; H convert -O host_device in.raw nono; H convert -O host_device -B in.raw -F raw in.raw $L; H dd -O host_device if=in.raw of=$L; H dd -O host_device if=in.raw of=nono; H measure -O host_device in.raw; H map --output=json -f host_device $L; H resize -f raw $L 3M; truncate -s 2M in.raw; H convert -O host_device in.raw $L; H convert -n -O host_device in.raw $L; ls; } 2>&1 | sed "s,$L,LOOP,g"
        truncate -s 1M blk; L=$(losetup -r -f --show blk 2>/dev/null) || exit 0; trap "losetup -d $L; rm -f blk" EXIT; for c in "bench -c 1 -w -f raw $L" "convert -n -f raw -O raw blk $L" "info -f raw $L" "convert -f raw -O raw $L o.raw"; do $IMG $c >/dev/null 2>&1; echo $?; done; rm o.raw
        exec 2>&1; for f in fixed.vpc static.vdi monolithicFlat.vmdk streamOptimized.vmdk fixed.vhdx; do $IMG measure --output=json -f ${f#*.} -O raw $f; $IMG info -f ${f#*.} --output=json $f | grep -v filename; $IMG check -f ${f#*.} --output=json $f; echo $?; $IMG check -f ${f#*.} -r leaks $f; $IMG map -f ${f#*.} --output=json $f | python3 ../extents.py places; done
        exec 2>&1; for f in qcow vdi vpc vmdk vhdx raw; do for o in '-l' '-c x' '-a x' '-d x' '-U -l'; do echo "$f $o"; $IMG snapshot --image-opts $o driver=$f,file.filename=a.$f; echo $?; done; done
        exec 2>&1; for f in qcow vdi vpc vmdk vhdx raw; do for o in help foo=1 size=20M preallocation=off ''; do echo "$f $o"; $IMG amend -f $f -o "$o" a.$f; echo $?; done; $IMG amend a.$f; done
        exec 2>&1; for f in qcow vdi vpc vmdk vhdx raw; do for o in "-b src.raw -F raw" "-u -b a.raw -F raw" "-u -b ''" "-b ''" "-u -b a.raw" "-b nono -F raw" "-p -u -b a.raw -F raw"; do echo "$f $o"; eval $IMG rebase -f $f $o a.$f; echo $?; done; done
        exec 2>&1; for f in qcow vdi vpc vmdk vhdx raw; do for o in '--add' '--remove' '--clear' '--enable' '--disable' '--merge y'; do $IMG bitmap $o -f $f a.$f x; echo $?; done; $IMG commit -f $f a.$f; $IMG convert -c -f raw -O $f src.raw c.$f; $IMG convert --bitmaps -f qcow2 -O $f a.qcow2 c.$f; echo $?; rm -f c.$f; done
        exec 2>&1; for f in qcow vdi vpc vmdk vhdx raw; do $IMG check -f $f -r all a.$f; $IMG check -f $f -r leaks --output=json a.$f; $IMG check -f $f -r foo a.$f; $IMG check -U -f $f a.$f; $IMG compare -f $f -F raw a.$f src.raw; done; rm -f a.vpc fixed.vpc
    """,
    "amend": """
        $IMG create -q -f qcow2 a.qcow2 1M; for f in qcow2 luks raw vmdk; do $IMG amend -f $f -o help; done
        $IMG amend a.qcow2
        $IMG amend -o compat=1.1
        $IMG amend -o compat=1.1 a b
        $IMG amend -o compat=1.1 nono
        $IMG amend -q -t foo -o compat=1.1 a.qcow2
        for o in foo=1 cluster_size=4k encryption=on compression_type=zstd preallocation=full extended_l2=on compat=0.7 refcount_bits=3 refcount_bits=128 backing_file=x data_file=x encrypt.state=active lazy_refcounts=x size=foo; do $IMG amend -o $o a.qcow2; done
        qemu-io -f qcow2 -c 'write -P 1 0 64k' -c 'write -z 128k 64k' -c 'write -P 2 192k 64k' -c 'write -z 192k 64k' a.qcow2 >/dev/null; $IMG amend -o compat=0.10 a.qcow2; $IMG info a.qcow2; $IMG check a.qcow2; $IMG map --output=json a.qcow2 | python3 ../extents.py
        $IMG amend -o lazy_refcounts=on a.qcow2
        $IMG amend -o refcount_bits=8 a.qcow2
        $IMG create -q -f qcow2 -o compression_type=zstd z.qcow2 1M; qemu-io -c 'write -P 1 0 1M' z.qcow2 >/dev/null; $IMG convert -c -O qcow2 -o compression_type=zstd z.qcow2 z2.qcow2; $IMG amend -o compat=0.10 z2.qcow2; $IMG amend -o compat=0.10 z.qcow2; $IMG info z.qcow2
        $IMG create -q -f qcow2 -o extended_l2=on z.qcow2 1M; $IMG amend -o compat=0.10 z.qcow2
        $IMG create -q -f qcow2 v.qcow2 1M; qemu-io -c 'write -P 1 0 1M' v.qcow2 >/dev/null; $IMG snapshot -c one v.qcow2; qemu-io -c 'write -P 3 0 128k' v.qcow2 >/dev/null; $IMG amend -o compat=0.10 v.qcow2; $IMG info v.qcow2 | grep compat; $IMG snapshot -l v.qcow2; $IMG check v.qcow2; $IMG snapshot -a one v.qcow2; $IMG check -q v.qcow2; $IMG resize -q v.qcow2 2M; $IMG amend -o compat=1.1 v.qcow2; $IMG amend -o compat=0.10 v.qcow2
        $IMG amend -p -o compat=1.1 a.qcow2 | tr '\\r' '\\n' | sed -n '1p;$p'; $IMG info a.qcow2; $IMG check -q a.qcow2; $IMG amend -o lazy_refcounts=on a.qcow2; $IMG info a.qcow2
        for b in 1 64 8 16 2 32; do $IMG amend -o refcount_bits=$b a.qcow2; $IMG info a.qcow2 | grep refcount; $IMG check a.qcow2; done
        $IMG amend -o compat=0.10 a.qcow2
        $IMG amend -o compat=0.10,refcount_bits=16,lazy_refcounts=off a.qcow2; $IMG info a.qcow2; $IMG check -q a.qcow2; $IMG convert a.qcow2 a.raw; sha256sum < a.raw
        $IMG amend -o size=5M a.qcow2; $IMG amend -o size=2M,compat=v3 a.qcow2; $IMG info a.qcow2; $IMG check -q a.qcow2
        $IMG create -q -f qcow2 s.qcow2 1M; qemu-io -f qcow2 -c 'write -P 1 0 640k' s.qcow2 >/dev/null; $IMG snapshot -c one s.qcow2; $IMG snapshot -c two s.qcow2; $IMG amend -o refcount_bits=1 s.qcow2 2>&1 | sed 's/0x[0-9a-f]*/N/'; $IMG check -q s.qcow2; $IMG amend -o refcount_bits=2 s.qcow2; $IMG check -q s.qcow2; $IMG amend -o refcount_bits=64 s.qcow2; $IMG check -q s.qcow2; $IMG snapshot -d one s.qcow2; $IMG snapshot -a two s.qcow2; $IMG check -q s.qcow2
        $IMG create -q -f qcow2 -o cluster_size=512,refcount_bits=1 t.qcow2 1M; $IMG bench -q -w -c 300 -s 1k -S 3k t.qcow2 >/dev/null; for b in 64 1 8; do $IMG amend -o refcount_bits=$b t.qcow2; $IMG check -q t.qcow2; done; $IMG convert t.qcow2 t.raw; sha256sum < t.raw
        $IMG create -q -f qcow2 -b a.qcow2 -F qcow2 o.qcow2; qemu-io -f qcow2 -c 'write -z 0 128k' o.qcow2 >/dev/null; $IMG amend -o compat=0.10 o.qcow2; $IMG check -q o.qcow2; $IMG info o.qcow2; $IMG convert o.qcow2 o.raw; sha256sum < o.raw; $IMG map --output=json o.qcow2 | python3 ../extents.py; $IMG amend -o compat=1.1 o.qcow2; $IMG info o.qcow2
        $IMG create -q -f qcow2 -o data_file=d.raw,data_file_raw=on d.qcow2 1M; $IMG amend -o compat=0.10 d.qcow2
        cp d.raw d2.raw; $IMG amend -o data_file=d2.raw,data_file_raw=off d.qcow2; $IMG info d.qcow2; $IMG amend -o data_file_raw=on d.qcow2
        $IMG create -q -f raw r.raw 1M; $IMG amend -f raw -o size=2M r.raw
        S="--object secret,id=s,data=abc --object secret,id=t,data=def --object secret,id=w,data=wrong"; for i in $(seq 30); do $IMG create -q -f luks $S -o key-secret=s,iter-time=30 l.luks 1M 2>err && break; done; for o in state=active state=active,new-secret=t,old-secret=s state=active,new-secret=zz state=active,new-secret=t,keyslot=9 state=active,new-secret=t,keyslot=0 state=foo new-secret=t state=inactive state=inactive,new-secret=t state=inactive,iter-time=5,keyslot=0 state=inactive,keyslot=0 state=inactive,keyslot=3 state=inactive,keyslot=9 state=inactive,old-secret=s state=inactive,old-secret=w state=inactive,old-secret=w,keyslot=0 state=inactive,old-secret=s,keyslot=2 cipher-alg=foo keyslot=x; do $IMG amend $S -o $o --image-opts driver=luks,file.filename=l.luks,key-secret=s; done
        S="--object secret,id=s,data=abc --object secret,id=t,data=def"; A() { for i in $(seq 30); do $IMG amend $S -o $1 --image-opts driver=luks,file.filename=l.luks,key-secret=$2 2>err && break; grep -q accurate err || break; done; sed '/accurate/d' err >&2; $IMG info l.luks | grep active: | tr -d '\\n '; echo; }; A state=active,new-secret=t,iter-time=30 s; A state=active,new-secret=t,iter-time=30,keyslot=5 s; A state=inactive,old-secret=s t; A state=inactive,keyslot=1 t; A state=inactive,old-secret=t t; A state=active,new-secret=s,iter-time=30 t; $IMG amend --force $S -o state=inactive,keyslot=0 --image-opts driver=luks,file.filename=l.luks,key-secret=t; A state=inactive,keyslot=5 t; mv l.luks b.luks; echo -n def > pw
        S="--object secret,id=s,data=abc --object secret,id=t,data=def"; for i in $(seq 30); do $IMG create -q -f qcow2 $S -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=30 q.crypt 1M 2>err && break; done; for i in $(seq 30); do $IMG amend $S -o encrypt.state=active,encrypt.new-secret=t,encrypt.iter-time=30 --image-opts driver=qcow2,file.filename=q.crypt,encrypt.key-secret=s 2>err && break; done; $IMG amend $S -o encrypt.state=inactive,encrypt.keyslot=1 --image-opts driver=qcow2,file.filename=q.crypt,encrypt.key-secret=t; $IMG info q.crypt; $IMG amend $S -o encrypt.state=inactive,encrypt.keyslot=0 --image-opts driver=qcow2,file.filename=q.crypt,encrypt.key-secret=s
        $IMG create -q -f qcow2 --object secret,id=s,data=abc -o encrypt.format=aes,encrypt.key-secret=s e.qcow2 1M; $IMG amend --object secret,id=s,data=abc -o encrypt.state=active,encrypt.new-secret=s --image-opts driver=qcow2,file.filename=e.qcow2,encrypt.key-secret=s; rm e.qcow2
        for m in '' '-b base.raw -F raw'; do qemu-img create -q base.raw 2M; qemu-io -f raw -c 'write -P 7 0 2M' base.raw >/dev/null; qemu-img create -q -f qcow2 $m zs.qcow2 2M; qemu-io -c 'write -P 1 0 512k' -c 'write -z 0 64k' -c 'write -z -u 64k 64k' -c 'write -z 1M 128k' zs.qcow2 >/dev/null; qemu-img snapshot -c s zs.qcow2; $IMG amend -o compat=0.10 zs.qcow2; qemu-img info zs.qcow2 | grep compat; qemu-img check -q zs.qcow2; echo $?; for o in '' '-l s'; do qemu-img convert $o -O raw zs.qcow2 x; sha256sum < x; done; done; rm -f x zs.qcow2 base.raw
    """,
    "convert": """
        $IMG create -q -f qcow2 a.qcow2 4M; $IMG bench -q -w --pattern 1 -c 10 -s 64k -S 256k a.qcow2; $IMG snapshot -c s1 a.qcow2; $IMG bench -q -w --pattern 2 -c 10 -s 64k -S 128k a.qcow2; $IMG convert a.qcow2 a.raw; sha256sum < a.raw
        for l in s1 1 snapshot.id=1 snapshot.name=s1 snapshot.id=1,snapshot.name=s1; do $IMG convert -l $l a.qcow2 o.raw; sha256sum < o.raw; done
        $IMG convert -l nono a.qcow2 o.raw
        yes | head -c 60M > big.raw; $IMG convert -r 5M -O raw big.raw out.raw 2>err & p=$!; until [ -s out.raw ]; do sleep 0.05; done; until [ -s err ]; do kill -USR1 $p; sleep 0.05; done; kill -TERM $p; wait $p; echo $?; head -1 err | sed 's/[0-9.]*\\//N\\//'; rm big.raw out.raw err
        $IMG convert -l snapshot.id=1,snapshot.name=x a.qcow2 o.raw
        $IMG convert -l snapshot.foo=1 a.qcow2 o.raw
        $IMG convert -l s1 -f raw a.raw o.raw
        $IMG convert -l s1 a.qcow2 a.qcow2 o.raw
        $IMG resize a.qcow2 6M; $IMG convert -l s1 -O qcow2 a.qcow2 o.qcow2; $IMG info o.qcow2 | grep virt; $IMG map --output=json o.qcow2 | python3 ../extents.py; $IMG measure -l s1 -O qcow2 a.qcow2; $IMG measure -l nono -O qcow2 a.qcow2; $IMG measure -l snapshot.id=1 -O raw a.qcow2
        for s in 0 512 4k 64k 1M 16M; do for f in raw qcow2; do $IMG convert -S $s -O $f a.qcow2 s.$f; $IMG map -f $f --output=json s.$f | python3 ../extents.py; $IMG compare s.$f a.qcow2; done; done
        for s in 5 1k5 17M -1 foo; do $IMG convert -S $s a.qcow2 x.raw; done
        $IMG convert -C -c -O qcow2 a.qcow2 x.qcow2
        $IMG convert -C -S 4k a.qcow2 x.raw
        $IMG convert -r foo a.qcow2 x.raw
        $IMG convert -r 100M -C a.qcow2 x.raw; $IMG compare x.raw a.qcow2
        for m in 0 1 5 16 17 x; do $IMG convert -m $m -O qcow2 a.qcow2 m.qcow2 && $IMG compare m.qcow2 a.qcow2; done
        $IMG convert -W -m 8 -O qcow2 a.qcow2 w.qcow2; $IMG compare w.qcow2 a.qcow2; $IMG check w.qcow2 | sed 's/[0-9.]*% frag/- frag/'
        for f in raw qcow2; do $IMG convert -p -O $f a.qcow2 p.$f | tr '\\r' '\\n'; done; $IMG convert -p -S 0 a.qcow2 p.raw | tr '\\r' '\\n'; $IMG convert -p -q a.qcow2 p.raw; $IMG convert -p -O raw a.raw a.qcow2 p.raw | tr '\\r' '\\n'; $IMG create -q -f raw e.raw 0; $IMG convert -p e.raw e2.raw | tr '\\r' '\\n'; seq 3000000 > big.raw; $IMG convert -p -O qcow2 big.raw big.qcow2 | tr '\\r' '\\n'
        $IMG create -q -f qcow2 base.qcow2 3M; $IMG bench -q -w --pattern 9 -c 20 -s 64k -S 128k base.qcow2; $IMG create -q -f qcow2 -b base.qcow2 -F qcow2 over.qcow2; $IMG convert -n -O qcow2 a.qcow2 over.qcow2
        $IMG create -q -f qcow2 -b base.qcow2 -F qcow2 over.qcow2 6M; $IMG convert -n -O qcow2 a.qcow2 over.qcow2; $IMG compare over.qcow2 a.qcow2; $IMG map --output=json over.qcow2 | python3 ../extents.py
        $IMG create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2 4M; $IMG bench -q -w --pattern 5 -c 5 -s 64k -S 512k top.qcow2; $IMG convert -O qcow2 -B base.qcow2 -F qcow2 top.qcow2 t2.qcow2; $IMG map --output=json t2.qcow2 | python3 ../extents.py; $IMG compare t2.qcow2 top.qcow2; $IMG convert -O qcow2 -o backing_file=base.qcow2,backing_fmt=qcow2 top.qcow2 t3.qcow2; $IMG map --output=json t3.qcow2 | python3 ../extents.py; $IMG compare t3.qcow2 top.qcow2
        $IMG convert -O qcow2 -B base.qcow2 top.qcow2 x.qcow2
        $IMG convert -O qcow2 -B nono -F qcow2 top.qcow2 x.qcow2
        $IMG convert -O qcow2 -B base.qcow2 -F qcow2 top.qcow2 top.qcow2 x.qcow2
        for b in 'base.qcow2 -F qcow2' 'big.raw -F raw' 'short.raw -F raw'; do truncate -s 8M big.raw; truncate -s 1500k short.raw; qemu-io -f raw -c 'write -P 1 0 8M' big.raw >/dev/null; qemu-io -f raw -c 'write -P 1 0 1500k' short.raw >/dev/null; for s in base.qcow2 short.raw big.raw; do for o in '' '-S 0' -c '-W -m 8'; do $IMG convert -O qcow2 $o -B $b $s y.qcow2; echo $?; $IMG compare $s y.qcow2; [ "$o" = -c ] || $IMG map --output=json y.qcow2 | python3 ../extents.py places; done; done; done; rm big.raw short.raw y.qcow2
        for o in '-F qcow2' '-o backing_fmt=qcow2' '-o backing_file=base.qcow2' '-F qcow2 -o backing_fmt=qcow2'; do rm -f x.qcow2; $IMG convert -O qcow2 $o top.qcow2 x.qcow2; echo $?; case $o in *file*) ;; *) $IMG create -f qcow2 $o x.qcow2 3M;; esac; test -e x.qcow2; echo $?; done 2>&1; $IMG convert -O qcow2 -o backing_file=base.qcow2 -F qcow2 top.qcow2 bo.qcow2; $IMG compare bo.qcow2 top.qcow2; $IMG convert -O vdi -o backing_file=base.qcow2 top.qcow2 x.vdi
        cp t2.qcow2 t5.qcow2; $IMG convert -n --target-is-zero -B base.qcow2 -F qcow2 -O qcow2 top.qcow2 t5.qcow2 || true
        seq 900000 | head -c 5000k > cs.raw; for c in 64k 1M 2M; do for o in -c '-c -W -m 16' '-c -m 1 -S 0'; do $IMG convert -O qcow2 -o cluster_size=$c $o cs.raw cs.qcow2; echo $?; $IMG compare cs.raw cs.qcow2; $IMG check cs.qcow2 | grep -v -e end -e frag; done; done 2>&1; rm cs.raw cs.qcow2
        $IMG convert -O raw -B base.qcow2 -F qcow2 top.qcow2 x.raw
        cp top.qcow2 t4.qcow2; $IMG convert -n -O qcow2 -B base.qcow2 top.qcow2 t4.qcow2; $IMG compare t4.qcow2 top.qcow2
        seq 2000000 | head -c 6M > noise.raw; cp noise.raw n.raw; $IMG convert -n --target-is-zero a.qcow2 n.raw; sha256sum < n.raw; cp noise.raw n.raw; $IMG convert -n a.qcow2 n.raw; $IMG compare n.raw a.qcow2
        $IMG convert -n -o cluster_size=4k a.qcow2 n.raw
        $IMG convert --target-is-zero a.qcow2 n.raw
        $IMG convert -n -O qcow2 noise.raw w.qcow2; $IMG compare noise.raw w.qcow2
        $IMG convert -n a.qcow2 nono.raw
        $IMG convert -n -O raw a.qcow2 a.raw
        $IMG convert -c -O raw a.qcow2 x.raw
        $IMG convert -C a.qcow2 k.raw; sha256sum < k.raw; $IMG convert -C top.qcow2 k.raw; sha256sum < k.raw; truncate -s 8M h.raw; dd if=noise.raw of=h.raw bs=64k seek=40 count=9 conv=notrunc 2>/dev/null; $IMG convert -C h.raw k.raw; $IMG map k.raw; sha256sum < k.raw; $IMG convert -C -O qcow2 h.raw k.qcow2; $IMG compare h.raw k.qcow2; cp noise.raw k.raw; $IMG convert -C -n h.raw k.raw 2>&1; truncate -s 8M k.raw; $IMG convert -C -n h.raw k.raw; $IMG compare h.raw k.raw
        $IMG convert -c -S 0 -O qcow2 a.qcow2 c0.qcow2; $IMG compare c0.qcow2 a.qcow2; $IMG check c0.qcow2
        B='driver=raw,file.driver=blkdebug,file.inject-error.0.event=none,file.inject-error.0.iotype=read,file.inject-error.0.sector=1000,file.image.driver=file,file.image.filename=noise.raw'; $IMG convert --salvage --image-opts $B sal.raw 2>&1 | sort; sha256sum < sal.raw; $IMG convert --salvage -q --image-opts $B sal.raw
        B='driver=raw,file.driver=blkdebug,file.inject-error.0.event=none,file.inject-error.0.iotype=read,file.inject-error.0.sector=1000,file.image.driver=file,file.image.filename=noise.raw'; $IMG convert --image-opts $B sal.raw 2>&1 | sed 's/byte [0-9]*/byte N/'
        $IMG convert -T foo a.qcow2 x.raw
        $IMG convert -t foo a.qcow2 x.raw
        for t in none off writeback writethrough directsync unsafe; do $IMG convert -t $t -T writeback -O qcow2 a.qcow2 t.qcow2 && $IMG compare t.qcow2 a.qcow2; done
        $IMG convert -U a.qcow2 u.raw; $IMG convert --force-share -f qcow2 a.qcow2 u.raw; $IMG compare u.raw a.qcow2
        $IMG convert -f foo a.qcow2 x.raw
        $IMG convert
        $IMG convert a.qcow2
        $IMG convert -f raw -O raw e.raw e3.raw; stat -c %s e3.raw
    """,
    "bitmap": """
        $IMG create -q -f qcow2 a.qcow2 10M; $IMG bitmap --add a.qcow2 b0; $IMG bitmap --add --disable -g 32k a.qcow2 b1; $IMG info a.qcow2; $IMG info --output=json a.qcow2; $IMG check a.qcow2; $IMG measure -O qcow2 a.qcow2; $IMG measure -O qcow2 -o cluster_size=4k --output=json a.qcow2
        $IMG bitmap --add a.qcow2 b0
        for g in 1000 256 4G foo -5; do $IMG bitmap --add -g $g a.qcow2 b2; done
        $IMG bitmap a.qcow2 b2
        for o in --clear --remove --enable --disable '--merge b0'; do $IMG bitmap $o a.qcow2 nono; done
        $IMG bitmap --merge nono a.qcow2 b0
        $IMG bitmap --clear -g 4k a.qcow2 b0
        $IMG bitmap --add -b x a.qcow2 b3
        $IMG bitmap --merge b0 -F raw a.qcow2 b1
        $IMG bitmap --add a.qcow2
        $IMG bitmap --add a.qcow2 b5 b6
        $IMG bitmap --add nono b5
        $IMG create -q -f qcow2 -o compat=0.10 v2.qcow2 1M; $IMG bitmap --add v2.qcow2 b 2>&1 | sed 's/#block[0-9]*/NODE/'
        $IMG create -q -f raw r.raw 1M; $IMG bitmap --add -f raw r.raw b 2>&1 | sed 's/#block[0-9]*/NODE/'; $IMG bitmap --remove -f raw r.raw b
        $IMG bitmap --add a.qcow2 ""
        qemu-io -f qcow2 -c 'write -P 5 1M 100k' -c 'write -z 5M 64k' -c 'discard 7M 64k' a.qcow2 >/dev/null; $IMG bitmap --merge b0 a.qcow2 b1; $IMG check -q a.qcow2; $IMG info a.qcow2
        $IMG convert --bitmaps -O qcow2 a.qcow2 c.qcow2; $IMG info c.qcow2; $IMG check c.qcow2; $IMG bitmap --add --merge b0 -b c.qcow2 -F qcow2 a.qcow2 copy; $IMG info a.qcow2 | grep -A30 bitmaps
        $IMG convert --bitmaps -O raw a.qcow2 c.raw
        $IMG convert --bitmaps -f raw -O qcow2 r.raw c2.qcow2
        $IMG convert --skip-broken-bitmaps -O qcow2 a.qcow2 c2.qcow2
        $IMG convert --bitmaps -O qcow2 a.qcow2 a.qcow2 c2.qcow2
        $IMG snapshot -c s a.qcow2
        $IMG snapshot -a s a.qcow2
        $IMG snapshot -d s a.qcow2
        $IMG resize a.qcow2 20M; $IMG info a.qcow2; $IMG check a.qcow2; $IMG resize --shrink a.qcow2 6M; $IMG check a.qcow2
        $IMG bitmap --merge b0 -b c.qcow2 a.qcow2 b1 2>&1 | sed 's/(.*)//'
        $IMG bitmap --clear a.qcow2 b0; $IMG bench -q -w -c 20 -s 64k -S 128k a.qcow2 >/dev/null; $IMG bitmap --remove a.qcow2 copy; python3 ../bits.py a.qcow2; $IMG bitmap --merge b0 a.qcow2 b1; python3 ../bits.py a.qcow2; $IMG info a.qcow2 | grep -A30 bitmaps; $IMG check -q a.qcow2
        python3 ../mark.py a.qcow2; $IMG info a.qcow2 | grep -A30 bitmaps; $IMG check -q a.qcow2
        $IMG bitmap --clear a.qcow2 b0
        $IMG bitmap --merge b0 a.qcow2 b1
        $IMG convert --bitmaps -O qcow2 a.qcow2 c3.qcow2
        $IMG convert --bitmaps --skip-broken-bitmaps -O qcow2 a.qcow2 c3.qcow2; $IMG info c3.qcow2 | grep -A30 bitmaps; $IMG measure -O qcow2 a.qcow2
        $IMG resize a.qcow2 30M
        $IMG bitmap --remove a.qcow2 b0; $IMG resize a.qcow2 30M; $IMG bitmap --remove a.qcow2 b1; $IMG info a.qcow2; $IMG check a.qcow2 | sed 's/[0-9.]*% frag/- frag/'
        $IMG create -q -f qcow2 -b c.qcow2 -F qcow2 o.qcow2; for i in 1 2 3 4 5 6 7 8 9; do $IMG bitmap --add -g 4k o.qcow2 a-rather-long-name-of-a-bitmap-$i; done; $IMG check -q o.qcow2; $IMG info o.qcow2; $IMG compare o.qcow2 c.qcow2; $IMG rebase -u -b '' o.qcow2; $IMG info o.qcow2 | head -20
        $IMG create -q -f qcow2 -o cluster_size=512 t.qcow2 1M; $IMG bitmap --add -g 512 t.qcow2 fine; $IMG bench -q -w -c 100 -s 1k -S 5k t.qcow2 >/dev/null; python3 ../bits.py t.qcow2; $IMG check t.qcow2 | sed 's/[0-9.]*% frag/- frag/'
    """,
    "encrypt": """
        make() { for i in $(seq 40); do $IMG create "$@" >out 2>err && break; grep -q accurate err || break; done; cat out; cat err >&2; }; declare -f make > make
        . ./make; make -f qcow2 --object secret,id=s,data=abc -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=40,preallocation=metadata,encrypt.cipher-alg=aes-128 a.qcow2 1M; $IMG info a.qcow2; $IMG info --output=json a.qcow2; $IMG check --object secret,id=s,data=abc --image-opts driver=qcow2,encrypt.key-secret=s,file.filename=a.qcow2
        for o in encrypt.format=aes encrypt.format=foo,encrypt.key-secret=s encrypt.key-secret=s encrypt.format=luks,encrypt.key-secret=zz encrypt.format=luks,encryption=on,encrypt.key-secret=s encrypt.format=luks,encrypt.key-secret=s,encrypt.cipher-alg=foo encrypt.format=luks,encrypt.key-secret=s,encrypt.hash-alg=foo encrypt.iter-time=x; do $IMG create -f qcow2 --object secret,id=s,data=abc -o $o x.qcow2 1M; done
        $IMG create -f qcow2 --object secret,id=s,data=abc -o encryption=on,encrypt.key-secret=s b.qcow2 4M; $IMG info b.qcow2; $IMG info --output=json b.qcow2
        $IMG create -f qcow2 --object secret,id=s,data=abc -o encrypt.format=aes,encrypt.key-secret=s,cluster_size=4k b2.qcow2 4M; $IMG check --object secret,id=s,data=abc --image-opts driver=qcow2,encrypt.key-secret=s,file.filename=b2.qcow2
        $IMG check a.qcow2
        $IMG convert a.qcow2 x.raw
        $IMG convert --object secret,id=s,data=wrong --image-opts driver=qcow2,encrypt.key-secret=s,file.filename=a.qcow2 x.raw
        $IMG info --image-opts driver=qcow2,encrypt.format=aes,file.filename=a.qcow2
        seq 1000000 | head -c 4M > in.raw; for f in b b2; do $IMG convert -n --object secret,id=s,data=abc in.raw --target-image-opts driver=qcow2,encrypt.key-secret=s,file.filename=$f.qcow2; $IMG compare --object secret,id=s,data=abc --image-opts driver=qcow2,encrypt.key-secret=s,file.filename=$f.qcow2 driver=raw,file.filename=in.raw; done
        for i in $(seq 30); do $IMG convert --object secret,id=s,data=abc -O qcow2 -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=40 in.raw c.qcow2 2>err && break; done; $IMG convert --object secret,id=s,data=abc --image-opts driver=qcow2,encrypt.key-secret=s,file.filename=c.qcow2 out.raw; cmp in.raw out.raw
        $IMG map --object secret,id=s,data=abc --output=json --image-opts driver=qcow2,encrypt.key-secret=s,file.filename=c.qcow2
        $IMG map --object secret,id=s,data=abc --image-opts driver=qcow2,encrypt.key-secret=s,file.filename=c.qcow2
        $IMG convert -c --object secret,id=s,data=abc -O qcow2 -o encrypt.format=aes,encrypt.key-secret=s in.raw x.qcow2
        $IMG convert -c -O qcow2 -o preallocation=metadata in.raw x.qcow2
        $IMG measure -O qcow2 -o encrypt.format=luks --size 1G
        $IMG measure -O qcow2 --object secret,id=s,data=abc -o encrypt.format=aes,encrypt.key-secret=s --size 1G
        for i in $(seq 30); do $IMG measure -O qcow2 --object secret,id=s,data=abc -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=20 --size 1G 2>err && break; done
        $IMG snapshot --object secret,id=s,data=abc --image-opts -c snap driver=qcow2,encrypt.key-secret=s,file.filename=c.qcow2; $IMG snapshot -l c.qcow2 | wc -l
        $IMG resize --object secret,id=s,data=abc --image-opts driver=qcow2,encrypt.key-secret=s,file.filename=c.qcow2 5M
        $IMG create -q -f qcow2 --object secret,id=s,data=abc -o encrypt.format=aes,encrypt.key-secret=s -b in.raw -F raw o.qcow2; $IMG info o.qcow2; $IMG convert --object secret,id=s,data=abc --image-opts driver=qcow2,encrypt.key-secret=s,file.filename=o.qcow2 out.raw; cmp in.raw out.raw
        $IMG dd --object secret,id=s,data=abc --image-opts if=driver=qcow2,encrypt.key-secret=s,file.filename=o.qcow2 of=dd.raw bs=1M count=2; cmp -n 2M dd.raw in.raw
        K='--object secret,id=s,data=abc --image-opts'; B=driver=qcow2,file.filename=b.qcow2,encrypt.key-secret=s; O=driver=qcow2,file.filename=ov.qcow2,backing.encrypt.key-secret=s; cp b.qcow2 keep; $IMG create -q -f qcow2 -b b.qcow2 -F qcow2 ov.qcow2; $IMG convert ov.qcow2 x.raw; $IMG convert $K $O out.raw; cmp in.raw out.raw; qemu-io $K $O -c 'write -P 5 1M 100k' >/dev/null; $IMG convert $K $O want.raw; sha256sum < want.raw; $IMG commit $K $O; $IMG compare $K $B driver=raw,file.filename=want.raw; $IMG compare $K $O driver=raw,file.filename=want.raw; qemu-io $K $O -c 'write -P 6 2M 100k' >/dev/null; $IMG convert $K $O want.raw; $IMG rebase $K -b '' $O; $IMG compare -F raw ov.qcow2 want.raw; $IMG rebase -u -b b.qcow2 -F qcow2 ov.qcow2; $IMG create -u -q -f qcow2 -b ov.qcow2 -F qcow2 top.qcow2 4M; $IMG compare $K driver=qcow2,file.filename=top.qcow2,backing.backing.encrypt.key-secret=s $O; $IMG info --image-opts driver=qcow2,file.filename=ov.qcow2 | grep back; mv keep b.qcow2; rm ov.qcow2 top.qcow2 want.raw
        rm -f *.qcow2.raw; rm a.qcow2; for f in b b2 c o; do mv $f.qcow2 $f.crypt; done
    """,
    "luks": """
        make() { for i in $(seq 30); do $IMG create "$@" >out 2>err && break; grep -q accurate err || break; done; cat out; cat err >&2; }; declare -f make > make
        . ./make; make -f luks --object secret,id=s,data=abc -o key-secret=s,iter-time=40 a.luks 4M; $IMG info a.luks; $IMG info --output=json a.luks; stat -c %s a.luks
        $IMG create -f luks a2.luks 1M
        $IMG create -f luks --object secret,id=s,data=abc -o key-secret=nn a2.luks 1M
        . ./make; for o in cipher-alg=foo cipher-mode=foo ivgen-alg=foo hash-alg=foo iter-time=x ivgen-alg=essiv,ivgen-hash-alg=sha1 cipher-mode=xts,cipher-alg=cast5-128; do make -f luks --object secret,id=s,data=abc -o key-secret=s,$o t.luks 1M; done; rm -f t.luks
        for o in secret,id=s secret,data=a secret,id=s,data=a,file=b secret,id=s,data=%%%,format=base64 secret,id=s,file=nono secret,id=s,data=a,format=hex foo,id=s secret,id=s,data=a,foo=1 secret,id=s,data=a,keyid=k; do $IMG info --object $o a.luks; done
        . ./make; echo -n secret > pw; make -q -f luks --object secret,id=s,file=pw -o key-secret=s,iter-time=40,cipher-alg=aes-128,cipher-mode=cbc,ivgen-alg=essiv,hash-alg=sha1 b.luks 2M; $IMG info b.luks
        . ./make; for c in twofish-256 serpent-128,ivgen-alg=plain,hash-alg=sha512 cast5-128,cipher-mode=cbc; do make -q -f luks --object secret,id=s,data=abc -o key-secret=s,iter-time=40,cipher-alg=$c ${c%%,*}.luks 1M; done
        $IMG convert a.luks a.raw
        $IMG convert --image-opts driver=luks,file.filename=a.luks a.raw
        $IMG convert --object secret,id=s,data=wrong --image-opts driver=luks,file.filename=a.luks,key-secret=s a.raw
        seq 1000000 | head -c 4M > in.raw; $IMG convert -n --object secret,id=s,data=abc in.raw --target-image-opts driver=luks,file.filename=a.luks,key-secret=s
        $IMG convert -n -O luks --object secret,id=s,data=abc in.raw --target-image-opts driver=luks,file.filename=a.luks,key-secret=s
        $IMG convert --object secret,id=s,data=abc in.raw --target-image-opts driver=luks,file.filename=a.luks,key-secret=s
        $IMG convert --object secret,id=s,data=YWJj,format=base64 --image-opts driver=luks,file.filename=a.luks,key-secret=s out.raw; cmp in.raw out.raw
        $IMG compare --object secret,id=s,data=abc --image-opts driver=luks,file.filename=a.luks,key-secret=s driver=raw,file.filename=in.raw
        for i in $(seq 30); do $IMG convert --object secret,id=s,data=abc -O luks -o key-secret=s,iter-time=40 in.raw c.luks 2>err && break; done; $IMG convert --object secret,id=s,data=abc --image-opts driver=luks,file.filename=c.luks,key-secret=s out.raw; cmp in.raw out.raw
        $IMG measure -O luks --size 1G
        for i in $(seq 30); do $IMG measure -O luks --object secret,id=s,data=abc -o key-secret=s,cipher-mode=cbc --size 1G 2>err && break; done
        $IMG resize --object secret,id=s,data=abc --image-opts driver=luks,key-secret=s,file.filename=a.luks 5M; stat -c %s a.luks
        $IMG resize a.luks 6M
        $IMG check a.luks
        $IMG map --object secret,id=s,data=abc --output=json --image-opts driver=luks,key-secret=s,file.filename=a.luks
        $IMG map --object secret,id=s,data=abc --image-opts driver=luks,key-secret=s,file.filename=a.luks
        $IMG create -f luks -b a.luks --object secret,id=s,data=abc -o key-secret=s y.luks 1M
        $IMG info -f luks --image-opts driver=luks,file.filename=a.luks
    """,
    "resize": """
        $IMG create -q -f qcow2 a.qcow2 10M
        qemu-io -f qcow2 -c 'write -P 7 0 10M' a.qcow2 >/dev/null
        $IMG resize a.qcow2 20M; $IMG check -q a.qcow2; $IMG map --output=json a.qcow2 | python3 ../extents.py
        $IMG resize a.qcow2 +1M; $IMG info a.qcow2 | grep virtual
        $IMG resize a.qcow2 5M
        $IMG resize --shrink a.qcow2 4992k; $IMG check -q a.qcow2
        $IMG resize a.qcow2 8M; $IMG convert -O raw a.qcow2 a.raw; sha256sum < a.raw; $IMG check -q a.qcow2
        $IMG resize -q a.qcow2 9M
        for m in off metadata falloc full foo; do for f in raw qcow2; do $IMG create -q -f $f p.$f 256k; $IMG resize -f $f --preallocation=$m p.$f 1M; stat -c '%s' p.raw; $IMG map --output=json p.qcow2 | python3 ../extents.py; $IMG check -q p.qcow2; done; done
        $IMG create -q -f qcow2 p2.qcow2 1M; $IMG resize --shrink --preallocation=metadata p2.qcow2 500k
        $IMG create -q -f qcow2 -o extended_l2=on p2.qcow2 100k; $IMG resize --preallocation=falloc p2.qcow2 1M; $IMG map --output=json p2.qcow2 | python3 ../extents.py
        $IMG resize a.qcow2 2T; $IMG check -q a.qcow2; $IMG info a.qcow2 | grep virtual
        $IMG resize --shrink a.qcow2 -1T; $IMG info a.qcow2 | grep virtual; $IMG check -q a.qcow2
        $IMG create -q -f raw r.raw 1M; $IMG resize -f raw r.raw +1M; stat -c %s r.raw
        $IMG resize -f raw --shrink r.raw 512k; stat -c %s r.raw
        $IMG create -q -f qcow2 -o cluster_size=512 s.qcow2 1M; $IMG resize s.qcow2 1G; $IMG check -q s.qcow2
        qemu-io -f qcow2 -c 'write -P 7 0 1M' -c 'write -P 8 1000M 1M' s.qcow2 >/dev/null; $IMG check -q s.qcow2
        $IMG create -q -f qcow2 u.qcow2 1M; qemu-io -f qcow2 -c 'write -P 7 0 1M' u.qcow2 >/dev/null; $IMG resize --shrink u.qcow2 100k; $IMG resize u.qcow2 1M; $IMG convert u.qcow2 u.raw; sha256sum < u.raw; $IMG map --output=json u.qcow2 | python3 ../extents.py
        $IMG create -q -f qcow2 -b a.qcow2 -F qcow2 pb.qcow2 1M; $IMG resize --preallocation=metadata pb.qcow2 2M; $IMG map --output=json pb.qcow2 | python3 ../extents.py
        $IMG create -q -f qcow2 -b a.qcow2 -F qcow2 o.qcow2 4M; $IMG resize o.qcow2 9M; $IMG convert -O raw o.qcow2 o.raw; sha256sum < o.raw
        $IMG create -q -f raw odd.raw 1000; for s in 100 1 0 +100 -100 1M 512 513 ' 2M' '+ 1M'; do $IMG resize -f raw odd.raw "$s"; echo $?; stat -c %s odd.raw; $IMG resize --shrink -f raw odd.raw "$s"; echo $?; stat -c %s odd.raw; done 2>&1
        $IMG create -q -f qcow2 k.qcow2 4M; for s in +1 -1 +511 4194305 +512 -512 ' 5M' 2P 1P; do cp k.qcow2 t.qcow2; $IMG resize --shrink t.qcow2 "$s"; echo $?; $IMG info t.qcow2 | grep virt; $IMG check -q t.qcow2; done 2>&1
        full() { unshare -rm bash -c 'mkdir -p t; mount -t tmpfs -o size=1M x t; '"$1"; }; full '$IMG create -q -f qcow2 t/x.qcow2 3M; for p in falloc full; do $IMG resize --preallocation=$p t/x.qcow2 8M 2>/dev/null; echo $?; $IMG info t/x.qcow2; $IMG check t/x.qcow2; done; $IMG create -q -f raw t/x.raw 300k; $IMG resize -f raw --preallocation=full t/x.raw 8M 2>/dev/null; echo $?; stat -c %s t/x.raw'
        full() { unshare -rm bash -c 'mkdir -p t; mount -t tmpfs -o size=1M x t; '"$1"; }; $IMG create -q -f qcow2 src.qcow2 8M; qemu-io -f qcow2 -c 'write -P 7 100k 3M' src.qcow2 >/dev/null; for o in '' '-W -m 16' '-S 0' '-o compat=0.10'; do full "\$IMG convert $o -O qcow2 src.qcow2 t/x.qcow2 2>/dev/null; echo \$?; \$IMG check t/x.qcow2 | grep -v alloc"; done; full '$IMG create -q -f qcow2 -b ../src.qcow2 -F qcow2 t/o.qcow2; $IMG rebase -b "" t/o.qcow2 2>/dev/null; echo $?; $IMG check t/o.qcow2; $IMG compare t/o.qcow2 src.qcow2'; full '$IMG create -q -f qcow2 t/b.qcow2 8M; cp src.qcow2 c.qcow2; $IMG rebase -u -b t/b.qcow2 -F qcow2 c.qcow2; $IMG commit c.qcow2 2>/dev/null; echo $?; $IMG check t/b.qcow2 | grep -v alloc; $IMG check -q c.qcow2; $IMG compare c.qcow2 src.qcow2; rm c.qcow2'
    """,
    "snapshot": """
        $IMG create -q -f qcow2 a.qcow2 10M
        qemu-io -f qcow2 -c 'write -P 1 0 3M' a.qcow2 >/dev/null
        $IMG snapshot -l a.qcow2; $IMG snapshot -c one a.qcow2; $IMG check -q a.qcow2; $IMG snapshot -l a.qcow2
        qemu-io -f qcow2 -c 'write -P 2 1M 3M' a.qcow2 >/dev/null; $IMG check -q a.qcow2
        $IMG snapshot -c two a.qcow2; $IMG snapshot -c three a.qcow2; $IMG check -q a.qcow2; $IMG info a.qcow2; $IMG info --output=json a.qcow2
        qemu-io -f qcow2 -c 'write -P 3 0 1M' -c 'discard 5M 1M' a.qcow2 >/dev/null; $IMG check -q a.qcow2
        $IMG convert -O raw a.qcow2 a.raw; sha256sum < a.raw
        $IMG snapshot -a one a.qcow2; $IMG check -q a.qcow2; $IMG convert -O raw a.qcow2 a.raw; sha256sum < a.raw
        $IMG snapshot -a 2 a.qcow2; $IMG check -q a.qcow2; $IMG convert -O raw a.qcow2 a.raw; sha256sum < a.raw
        $IMG snapshot -d one a.qcow2; $IMG check -q a.qcow2; $IMG convert -O raw a.qcow2 a.raw; sha256sum < a.raw
        $IMG snapshot -d nono a.qcow2
        $IMG snapshot -a nono a.qcow2
        $IMG create -q -f qcow2 n.qcow2 1M; for i in a 2 1 $(seq 9) a; do $IMG snapshot -c $i n.qcow2; done; $IMG snapshot -l n.qcow2; for i in 5 5 7 2 2 a 3 12; do $IMG snapshot -d $i n.qcow2; done; $IMG snapshot -l n.qcow2; $IMG check n.qcow2; $IMG snapshot -a 4 n.qcow2; $IMG snapshot -c $(printf 'n%.0s' $(seq 300)) n.qcow2; $IMG snapshot -l n.qcow2; $IMG check -q n.qcow2
        $IMG snapshot -d two a.qcow2; $IMG snapshot -d 3 a.qcow2; $IMG check -q a.qcow2; $IMG snapshot -l a.qcow2
        $IMG convert -O raw a.qcow2 a.raw; sha256sum < a.raw
        $IMG create -q -f raw r.raw 1M; $IMG snapshot -l r.raw 2>/dev/null; $IMG snapshot -c x r.raw 2>/dev/null
        $IMG create -q -f qcow2 -o cluster_size=512 s.qcow2 1M; qemu-io -f qcow2 -c 'write -P 1 0 1M' s.qcow2 >/dev/null
        for i in 1 2 3 4 5 6 7 8 9; do $IMG snapshot -c s$i s.qcow2; qemu-io -f qcow2 -c "write -P $i ${i}0k 100k" s.qcow2 >/dev/null; done; $IMG check -q s.qcow2
        $IMG snapshot -a s4 s.qcow2; $IMG check -q s.qcow2; $IMG convert -O raw s.qcow2 s.raw; sha256sum < s.raw
        for i in 4 2 1 9 6; do $IMG snapshot -d s$i s.qcow2; $IMG check -q s.qcow2 || echo bad; done; $IMG snapshot -a s8 s.qcow2; $IMG convert -O raw s.qcow2 s.raw; sha256sum < s.raw
        $IMG snapshot -c before s.qcow2; $IMG resize s.qcow2 2M; $IMG snapshot -a before s.qcow2; $IMG check -q s.qcow2; $IMG info s.qcow2 | grep virtual
        mkdir f; cd f; T='--object throttle-group,id=t --image-opts'; F='driver=throttle,throttle-group=t,file.driver=qcow2,file.file.filename=b.qcow2 driver=copy-on-read,file.driver=qcow2,file.file.filename=b.qcow2 driver=blkdebug,image.driver=qcow2,image.file.filename=b.qcow2 driver=qcow2,file.driver=throttle,file.throttle-group=t,file.file.filename=b.qcow2'; make() { rm -f *; qemu-img create -q base.raw 2M; qemu-img create -q -f qcow2 -b base.raw -F raw a.qcow2; qemu-img create -q -f qcow2 -b a.qcow2 -F qcow2 b.qcow2; qemu-io -c 'write -P 1 0 64k' a.qcow2 >/dev/null; qemu-io -c 'write -P 2 192k 64k' b.qcow2 >/dev/null; cp base.raw new.raw; qemu-io -f raw -c 'write -P 9 1M 64k' new.raw >/dev/null; }; look() { for f in base.raw a.qcow2 b.qcow2; do qemu-img convert -O raw $f x; sha256sum < x; done; qemu-img info b.qcow2 | grep back; qemu-img map --output=json b.qcow2 | grep -c '"depth": 0'; }; for n in ${F%% *} driver=raw,file.driver=qcow2,file.file.filename=b.qcow2; do make; for o in '-c s' -l '-c t' '-a s' '-d s' '-d u' -l; do $IMG snapshot $T $o $n 2>&1; done; look; qemu-img snapshot -l b.qcow2; done; rm *
    """,
    "vmdk": """
        for s in monolithicSparse monolithicFlat streamOptimized twoGbMaxExtentSparse twoGbMaxExtentFlat; do $IMG create -f vmdk -o subformat=$s $s.vmdk 5G; done
        for f in *.vmdk; do echo $f; [ $(stat -c %s $f) -lt 1000 ] || stat -c %s $f; case $f in *-*) ;; *) $IMG info $f; $IMG info --output=json $f; $IMG check $f; $IMG check --output=json $f; esac; done
        for f in monolithicFlat twoGbMaxExtentSparse twoGbMaxExtentFlat; do sed 's/^CID=[0-9a-f]*/CID=/' $f.vmdk; done; head -c 2000 streamOptimized.vmdk | strings | grep -v CID
        $IMG create -f vmdk -o help; $IMG create -f vmdk e.vmdk
        $IMG create -f vmdk -o adapter_type=lsilogic,toolsversion=99,hwversion=7,compat6=off h.vmdk 1000M; head -c 2000 h.vmdk | strings | grep -v CID
        $IMG create -f vmdk -o compat6,adapter_type=legacyESX,subformat=twoGbMaxExtentFlat n.noext 2049M; sed 's/^CID=[0-9a-f]*/CID=/' n.noext; stat -c %s n-f00*.noext
        $IMG create -f vmdk -o subformat=bad b.vmdk 1M; $IMG create -f vmdk -o adapter_type=bad b.vmdk 1M; $IMG create -f vmdk -o foo=1 b.vmdk 1M
        $IMG create -f vmdk -o compat6=on,hwversion=7 b.vmdk 1M; $IMG create -f vmdk -o subformat=monolithicFlat,zeroed_grain=on b.vmdk 1M
        $IMG create -f vmdk no/b.vmdk 1M 2>&1 | tail -1
        $IMG create -q -f vmdk a.vmdk 10M; qemu-io -f vmdk -c 'write -P 7 0 200k' -c 'write -P 8 9M 1M' -c 'write -P 9 5000k 3k' a.vmdk >/dev/null
        $IMG check a.vmdk; $IMG map a.vmdk; $IMG map --output=json a.vmdk; $IMG convert -O raw a.vmdk a.raw; sha256sum < a.raw
        $IMG create -q -f vmdk -o zeroed_grain=on z.vmdk 1M; qemu-io -f vmdk -c 'write -P 1 0 64k' -c 'write -z 64k 64k' z.vmdk >/dev/null; $IMG map --output=json z.vmdk; $IMG convert -O raw z.vmdk z.raw; sha256sum < z.raw
        for s in monolithicSparse monolithicFlat streamOptimized twoGbMaxExtentSparse twoGbMaxExtentFlat; do $IMG convert -O vmdk -o subformat=$s a.raw c-$s.vmdk; $IMG check c-$s.vmdk; $IMG compare a.vmdk c-$s.vmdk; $IMG map --output=json c-$s.vmdk; $IMG map c-$s.vmdk; done
        $IMG convert -c -O vmdk a.raw cc.vmdk; $IMG compare a.raw cc.vmdk; $IMG convert -c -O vmdk -o subformat=monolithicFlat a.raw cf.vmdk
        $IMG convert -O vmdk -o zeroed_grain=on a.raw cz.vmdk; $IMG map --output=json cz.vmdk; $IMG compare a.raw cz.vmdk
        $IMG convert -O qcow2 c-streamOptimized.vmdk q.qcow2; $IMG compare q.qcow2 a.raw; $IMG measure -O qcow2 a.vmdk; $IMG measure -O vmdk --size 1G
        $IMG create -f vmdk -b a.vmdk -F vmdk o.vmdk; $IMG info --backing-chain o.vmdk; $IMG info --output=json --backing-chain o.vmdk; $IMG compare o.vmdk a.vmdk
        qemu-io -f vmdk -c 'write -P 3 100k 10k' -c 'write -P 3 9800k 4k' o.vmdk >/dev/null; $IMG convert -O raw o.vmdk o.raw; sha256sum < o.raw; $IMG map --output=json o.vmdk; $IMG map o.vmdk
        $IMG create -f vmdk -b a.vmdk o2.vmdk
        $IMG create -f vmdk -b a.raw -F raw o3.vmdk; $IMG create -f vmdk -o subformat=monolithicFlat -b a.vmdk -F vmdk o4.vmdk
        cp a.vmdk base.vmdk; $IMG create -q -f vmdk -b base.vmdk -F vmdk over.vmdk; qemu-io -f vmdk -c 'write -P 5 0 64k' base.vmdk >/dev/null; $IMG convert -O raw over.vmdk over.raw 2>&1 | head -1
        $IMG resize a.vmdk 20M; for o in c a d; do $IMG snapshot -$o x a.vmdk; done; $IMG rebase -u -b '' o.vmdk; $IMG check -r all a.vmdk; $IMG amend -o size=1M a.vmdk 2>/dev/null
        $IMG info -f vmdk q.qcow2; printf 'junk' > j.vmdk; $IMG info -f vmdk j.vmdk; $IMG info j.vmdk | head -2; $IMG info -f raw a.vmdk | head -2
        printf '# Disk DescriptorFile\nversion=1\nCID=11223344\nparentCID=ffffffff\ncreateType="seSparse"\nRW 16384 SESPARSE "se.part"\n' > se.vmdk; python3 $HERE/images.py sesparse se.part
        $IMG info se.vmdk; $IMG check se.vmdk; $IMG map --output=json se.vmdk; $IMG map se.vmdk; $IMG convert -O raw se.vmdk se.raw; sha256sum < se.raw; $IMG bench -w -c 1 se.vmdk
        for w in version=5 journal=1 capacity=0; do python3 $HERE/images.py sesparse se.part $w; $IMG convert -O raw se.vmdk se.raw >/dev/null 2>&1; done
        for w in version=5 journal=1; do python3 $HERE/images.py sesparse se.part $w; $IMG info se.vmdk; done; rm se.vmdk
        $IMG create -q -f vmdk cb.vmdk 4M; qemu-io -f vmdk -c 'write -P 7 0 1M' cb.vmdk >/dev/null; $IMG create -q -f vmdk -b cb.vmdk -F vmdk co.vmdk; qemu-io -f vmdk -c 'write -P 9 100k 300k' -c 'write -P 4 2M 10k' co.vmdk >/dev/null; $IMG convert -O raw co.vmdk co.raw; sha256sum < co.raw
        $IMG commit co.vmdk; $IMG convert -O raw cb.vmdk cb.raw; sha256sum < cb.raw; $IMG check cb.vmdk; $IMG map --output=json cb.vmdk; $IMG map --output=json co.vmdk; rm co.vmdk
        $IMG convert -O vmdk -B cb.vmdk -F vmdk cb.raw cn.vmdk; $IMG info cn.vmdk; $IMG map --output=json cn.vmdk
        for o in '-t none -T none' '-t writethrough' '-W -m 8' '-S 0'; do $IMG convert $o -O vmdk cb.raw ct.vmdk; $IMG compare cb.raw ct.vmdk; $IMG check -q ct.vmdk; done; $IMG map --output=json ct.vmdk; $IMG convert -n -O vmdk cb.raw cn.vmdk; $IMG compare cb.raw cn.vmdk
        mkdir sub; $IMG convert -O vmdk -o subformat=twoGbMaxExtentSparse a.raw sub/t.vmdk; $IMG info sub/t.vmdk | grep -v cid; $IMG map sub/t.vmdk; $IMG compare sub/t.vmdk a.raw; cd sub; $IMG compare t.vmdk ../a.raw
        $IMG dd -O vmdk if=a.raw of=dd.vmdk bs=1M; $IMG compare dd.vmdk a.raw; $IMG bench -w -c 100 -s 64k -d 8 c-monolithicSparse.vmdk | head -1; $IMG check c-monolithicSparse.vmdk
    """,
    "vhdx": """
        for o in block_size=0 block_size=1M block_size=3 block_size=512M log_size=1048577 block_state_zero=off; do $IMG create -f vhdx -o $o a.vhdx 20M; $IMG info a.vhdx; $IMG check a.vhdx; stat -c %s a.vhdx; done
        $IMG create -f vhdx -o subformat=fixed f.vhdx 100M; $IMG info f.vhdx; $IMG info --output=json f.vhdx; $IMG check --output=json f.vhdx
        for s in 1M 2G 200G 40T 5000; do $IMG create -q -f vhdx s.vhdx $s; $IMG info s.vhdx; $IMG check -q s.vhdx; stat -c %s s.vhdx; done
        $IMG create -f vhdx -o help; $IMG create -f vhdx e.vhdx
        $IMG create -f vhdx -o subformat=differencing b.vhdx 1M; $IMG create -f vhdx -o block_size=3M b.vhdx 1M; $IMG create -f vhdx b.vhdx 65T
        $IMG create -f vhdx -o log_size=0 b.vhdx 1M; $IMG create -f vhdx -o log_size=4G b.vhdx 1M; $IMG create -f vhdx -o foo=1 b.vhdx 1M; $IMG create -f vhdx no/b.vhdx 1M
        $IMG create -f raw a.raw 1M; $IMG create -f vhdx -b a.raw -F raw b.vhdx
        $IMG create -q -f vhdx -o block_size=1M d.vhdx 20M; qemu-io -f vhdx -c 'write -P 7 0 200k' -c 'write -P 8 9M 2M' -c 'write -P 9 5000k 3k' d.vhdx >/dev/null; $IMG check d.vhdx; $IMG convert -O raw d.vhdx d.raw; sha256sum < d.raw
        qemu-io -f vhdx -c 'write -P 3 1000k 3M' -c 'write -z 9M 1M' f.vhdx >/dev/null; $IMG check f.vhdx; $IMG convert -O raw f.vhdx f.raw; sha256sum < f.raw
        for o in subformat=dynamic subformat=fixed block_size=1M block_state_zero=off; do $IMG convert -O vhdx -o $o d.raw c-$o.vhdx; $IMG check c-$o.vhdx; $IMG compare d.vhdx c-$o.vhdx; qemu-io -f vhdx -c 'write -P 1 7M 2M' c-$o.vhdx >/dev/null; $IMG check -q c-$o.vhdx; $IMG convert -O raw c-$o.vhdx c.raw; sha256sum < c.raw; done
        $IMG convert -c -O vhdx d.raw cc.vhdx; $IMG measure -O vhdx --size 1G; $IMG measure -O raw d.vhdx
        $IMG resize d.vhdx 40M; for o in c a d; do $IMG snapshot -$o x d.vhdx; done; $IMG check -r all d.vhdx; $IMG amend -o size=1M d.vhdx 2>/dev/null
        cp d.vhdx cut.vhdx; truncate -s 9000000 cut.vhdx; $IMG check cut.vhdx 2>&1 | sed 's/^qemu-img: //' | sort; $IMG check -q cut.vhdx 2>/dev/null; echo $?; $IMG info cut.vhdx >/dev/null 2>&1; $IMG info -f vhdx a.raw >/dev/null 2>&1
        for o in '-t none -T none' '-t writethrough' '-W -m 8' '-S 0' -n; do $IMG convert $o -O vhdx d.raw ct.vhdx; $IMG compare d.raw ct.vhdx; $IMG check -q ct.vhdx; done
        $IMG dd -O vhdx if=d.raw of=dd.vhdx bs=1M; $IMG compare dd.vhdx d.raw; $IMG bench -w -c 200 -s 64k -d 8 --flush-interval 16 d.vhdx | head -2; $IMG check d.vhdx
    """,
    "chain": """
        $IMG create -q -f qcow2 base.qcow2 10M; qemu-io -f qcow2 -c 'write -P 7 0 200k' -c 'write -P 8 9M 1M' base.qcow2 >/dev/null
        $IMG create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2 12M
        qemu-io -f qcow2 -c 'write -P 3 1M 300k' -c 'write -z 64k 64k' -c 'write -P 9 10M 4k' top.qcow2 >/dev/null
        $IMG convert -O raw top.qcow2 before.raw; sha256sum < before.raw
        $IMG measure -O qcow2 top.qcow2; $IMG measure -O raw --output=json top.qcow2; $IMG measure -O qcow2 --size 1G
        $IMG measure -O qcow2 -o cluster_size=4k --output=json base.qcow2; $IMG measure -O qcow2; $IMG measure --size 1G base.qcow2
        $IMG create -q -f qcow2 other.qcow2 8M; qemu-io -f qcow2 -c 'write -P 5 0 1M' other.qcow2 >/dev/null
        cp top.qcow2 moved.qcow2; $IMG rebase -b other.qcow2 -F qcow2 moved.qcow2; $IMG check -q moved.qcow2; $IMG info moved.qcow2 | grep back
        $IMG compare moved.qcow2 top.qcow2
        cp top.qcow2 alone.qcow2; $IMG rebase -b '' alone.qcow2; $IMG check -q alone.qcow2; $IMG compare alone.qcow2 top.qcow2; $IMG info alone.qcow2 | grep back
        cp top.qcow2 renamed.qcow2; cp base.qcow2 b2.qcow2; $IMG rebase -u -b b2.qcow2 -F qcow2 renamed.qcow2; $IMG compare renamed.qcow2 top.qcow2
        $IMG rebase -u -b b2.qcow2 renamed.qcow2
        $IMG rebase renamed.qcow2 2>/dev/null
        $IMG rebase -b nono -F qcow2 renamed.qcow2
        cp base.qcow2 b3.qcow2; cp top.qcow2 t3.qcow2; $IMG rebase -u -b b3.qcow2 -F qcow2 t3.qcow2; $IMG commit t3.qcow2; $IMG check -q b3.qcow2; $IMG check -q t3.qcow2
        $IMG convert -O raw b3.qcow2 b3.raw; sha256sum < b3.raw; $IMG map --output=json t3.qcow2 | python3 ../extents.py places
        $IMG commit base.qcow2
        $IMG dd if=top.qcow2 of=dd.raw bs=1M count=2 skip=1; sha256sum < dd.raw; stat -c %s dd.raw
        $IMG dd -O qcow2 if=top.qcow2 of=dd.qcow2 bs=64k; $IMG compare dd.qcow2 top.qcow2
        $IMG dd if=top.qcow2 2>&1 | head -1
        $IMG dd foo=1 if=top.qcow2 of=x 2>&1 | head -1
        $IMG bench -c 100 -d 8 top.qcow2 | head -1; $IMG bench -q -w -c 50 -s 64k top.qcow2 | head -1; $IMG check -q top.qcow2; $IMG convert -O raw top.qcow2 after.raw; sha256sum < after.raw
        cp top.qcow2 w.qcow2; $IMG bench -w --pattern 65 --flush-interval 8 -d 4 -c 64 -S 128k w.qcow2 | head -2; $IMG check -q w.qcow2; $IMG convert -O raw w.qcow2 w.raw; sha256sum < w.raw
        mkdir q; qemu-img create -q q/b.raw 1M; qemu-img create -q -f qcow2 -b b.raw -F raw q/c.qcow2; for n in driver=qcow2,file.filename=q/c.qcow2 driver=qcow2,file.driver=raw,file.offset=0,file.file.filename=q/c.qcow2; do for o in '' --output=json '--backing-chain --output=json'; do $IMG info $o --image-opts $n; done; done; $IMG info --backing-chain 'json:{"driver":"qcow2","file":{"driver":"file","filename":"q/c.qcow2"}}'; $IMG info --backing-chain file:q/c.qcow2; $IMG check --output=json -q q/c.qcow2; qemu-img create -q y.raw 1M; $IMG resize file:y.raw 2M; rm -r q y.raw
    """,
    "vpc": """
        $IMG create -f vpc -o help; $IMG create -f vpc -o help x; $IMG convert -O vpc -o help
        for s in 0 1 512 513 8703k 8704k 10M 503M 504M 510M 1G 2015M 2016M 8G 31G 32G 33G 100G 127G 128G 1000G 1023G 2040G; do $IMG create -f vpc s.vpc $s && $IMG info s.vpc && $IMG create -q -f vpc -o force_size=on f.vpc $s && $IMG info f.vpc && stat -c %s s.vpc f.vpc && for f in s f; do xxd -s 40 -l 24 $f.vpc; xxd -p -s 28 -l 12 $f.vpc; xxd -s 512 -l 36 $f.vpc; xxd -s 552 -l 984 $f.vpc; done; done
        $IMG create -f vpc a.vpc 10M; $IMG create -f vpc -o subformat=fixed x1.vpc 3M; $IMG create -f vpc -o subformat=fixed,force_size=on x2.vpc 3M; $IMG create -f vpc -o subformat=dynamic,force_size=off,nocow=off d.vpc 1M; $IMG create -f vpc -o size=20M z.vpc
        stat -c '%n %s' *.vpc; for f in x1 x2; do tail -c 512 $f.vpc | xxd -s 40 -l 24; tail -c 512 $f.vpc | head -c 24 | xxd; done
        $IMG create -f vpc -o subformat=foo x.vpc 1M
        $IMG create -f vpc -o force_size=foo x.vpc 1M
        $IMG create -f vpc -o foo=1 x.vpc 1M
        $IMG create -f vpc -o preallocation=metadata x.vpc 1M
        $IMG create -f vpc -b a.vpc -F vpc x.vpc 1M
        $IMG create -f vpc x.vpc 3T; $IMG create -f vpc -o force_size=on x.vpc 3T; $IMG create -f vpc -o force_size=on,subformat=fixed x.vpc 2041G
        $IMG info a.vpc; $IMG info --output=json a.vpc; $IMG info -f vpc x1.vpc; $IMG info -f vpc --output=json x2.vpc; $IMG info x1.vpc
        $IMG check a.vpc; $IMG check --output=json a.vpc; $IMG check -r all a.vpc; $IMG check -f vpc x1.vpc
        $IMG map a.vpc; $IMG map --output=json a.vpc; $IMG map -f vpc --output=json x2.vpc; $IMG map -f vpc x2.vpc
        $IMG resize a.vpc 20M; $IMG resize --shrink a.vpc 1M; $IMG resize a.vpc 1M
        $IMG measure -O vpc --size 1G; $IMG measure -O vpc a.vpc; $IMG measure -O qcow2 a.vpc
        $IMG snapshot -l a.vpc; $IMG snapshot -c x a.vpc; $IMG rebase -u -b '' a.vpc; $IMG commit a.vpc; $IMG convert -c -O vpc a.vpc x.vpc
        qemu-io -f vpc -c 'write -P 7 0 200k' -c 'write -P 8 9M 1M' -c 'write -P 3 3584k 1M' a.vpc >/dev/null
        $IMG map --output=json a.vpc | tr -d '\\n'; $IMG map a.vpc; $IMG convert -O raw a.vpc a.raw; stat -c %s a.raw; sha256sum < a.raw
        $IMG convert -O vpc a.raw b.vpc; $IMG compare a.vpc b.vpc; $IMG info b.vpc; stat -c %s b.vpc
        $IMG convert -O vpc -o force_size=on a.raw c.vpc; $IMG compare a.vpc c.vpc; $IMG info c.vpc
        $IMG convert -O vpc -o subformat=fixed,force_size=on a.raw x3.vpc; $IMG compare -f raw -F vpc a.raw x3.vpc; stat -c %s x3.vpc; head -c -512 x3.vpc | cmp - a.raw; $IMG map -f vpc x3.vpc
        $IMG convert -O vpc -S 0 a.raw full.vpc; $IMG compare full.vpc a.raw; stat -c %s full.vpc
        $IMG convert -O vpc -W -m 8 a.raw w.vpc; $IMG compare w.vpc a.raw
        head -c 3333333 a.raw > odd.raw; $IMG convert -f raw -O vpc odd.raw d2.vpc; $IMG info d2.vpc; $IMG compare d2.vpc odd.raw; $IMG convert -f raw -O vpc -o force_size odd.raw d3.vpc; $IMG info d3.vpc; $IMG compare d3.vpc odd.raw; $IMG convert -O raw d3.vpc d.raw; stat -c %s d.raw
        $IMG convert -O qcow2 a.vpc e.qcow2; $IMG compare e.qcow2 a.vpc; $IMG convert -O vdi a.vpc e.vdi; $IMG compare e.vdi a.vpc; $IMG convert -O vpc e.vdi f.vpc; $IMG compare f.vpc a.vpc
        $IMG convert -O vpc -o subformat=x a.raw x.vpc
        $IMG convert -O vpc -o foo=1 a.raw x.vpc
        $IMG create -q -f raw huge.raw 2500G; $IMG convert -f raw -O vpc huge.raw x.vpc
        $IMG dd -O vpc if=a.vpc of=g.vpc bs=1M count=5 skip=2; $IMG convert -O raw g.vpc g.raw; sha256sum < g.raw
        $IMG bench -w -c 16 -s 64k -S 192k --pattern 65 g.vpc | head -1; $IMG convert -O raw g.vpc g.raw; sha256sum < g.raw; tail -c 512 g.vpc | cmp - <(head -c 512 g.vpc)
        $IMG create -q -f qcow2 -b a.vpc -F vpc over.qcow2; $IMG info --backing-chain over.qcow2; $IMG compare over.qcow2 a.vpc
        qemu-io -f qcow2 -c 'write -P 9 5M 100k' over.qcow2 >/dev/null; $IMG commit -q over.qcow2; $IMG convert -O raw a.vpc a2.raw; sha256sum < a2.raw
        $IMG info -f vpc a.raw; $IMG info -f raw a.vpc | head -2
        cp g.vpc diff.vhd; python3 ../vhd_type.py diff.vhd 4; $IMG info diff.vhd; $IMG info --output=json diff.vhd
    """,
    "qcow": """
        $IMG create -f qcow -o help; $IMG create -f qcow -o help x; $IMG convert -O qcow -o help
        $IMG create -f qcow a.qcow 10M; $IMG create -f qcow odd.qcow 1025k; $IMG create -f qcow tiny.qcow 513; $IMG create -f qcow -o size=20G big.qcow
        $IMG create -f qcow x.qcow 0
        $IMG create -f qcow -o foo=1 x.qcow 1M
        $IMG create -f qcow -o encryption=foo x.qcow 1M
        $IMG create -f qcow -o encryption=on x.qcow 1M
        $IMG create -f qcow -o encrypt.format=foo x.qcow 1M; $IMG create -f qcow -o encrypt.format=luks x.qcow 1M
        $IMG create -f qcow -o encrypt.format=aes x.qcow 1M; $IMG create -f qcow -o encrypt.format=aes,encrypt.key-secret=k x.qcow 1M
        $IMG create -f qcow -o encrypt.format=aes,encryption=on x.qcow 1M; $IMG create -f qcow -o encrypt.key-secret=k x.qcow 1M
        $IMG create -f qcow -o preallocation=metadata x.qcow 1M
        $IMG create -f qcow -F nono x.qcow 1M; $IMG create -f qcow -b nono -F raw x.qcow
        $IMG create -f qcow -b a.qcow x.qcow
        $IMG info a.qcow; $IMG info --output=json a.qcow; $IMG info odd.qcow; $IMG info tiny.qcow; $IMG info big.qcow; rm -f x.qcow; stat -c '%n %s' *.qcow
        for i in a odd big; do xxd -l 20 $i.qcow; xxd -s 24 -l 24 $i.qcow; done
        $IMG check a.qcow; $IMG check --output=json a.qcow; $IMG check -r all a.qcow
        $IMG map a.qcow; $IMG map --output=json a.qcow
        $IMG resize a.qcow 20M; $IMG resize --shrink a.qcow 1M; $IMG resize a.qcow 1M
        $IMG measure -O qcow --size 1G; $IMG measure -O qcow a.qcow; $IMG measure -O qcow2 a.qcow
        $IMG snapshot -l a.qcow; $IMG snapshot -c x a.qcow; $IMG snapshot -a x a.qcow; $IMG rebase -u -b '' a.qcow; $IMG commit a.qcow
        qemu-io -f qcow -c 'write -P 7 0 200k' -c 'write -P 8 9M 1M' -c 'write -P 3 3583k 1025k' a.qcow >/dev/null
        $IMG map --output=json a.qcow; $IMG map a.qcow; $IMG convert -O raw a.qcow a.raw; stat -c %s a.raw; sha256sum < a.raw
        $IMG convert -O qcow a.raw b.qcow; $IMG compare a.qcow b.qcow; $IMG info b.qcow; $IMG map --output=json b.qcow | python3 ../extents.py places
        $IMG convert -O qcow -S 0 a.raw full.qcow; $IMG compare full.qcow a.raw
        $IMG convert -O qcow -W -m 8 a.raw w.qcow; $IMG compare w.qcow a.raw
        $IMG convert -c -O qcow a.raw c.qcow; $IMG compare c.qcow a.raw; $IMG map --output=json c.qcow; $IMG map c.qcow
        qemu-io -f qcow -c 'write -P 9 5k 100k' -c 'write -P 2 9500k 1k' c.qcow >/dev/null; $IMG convert -O raw c.qcow c.raw; sha256sum < c.raw; $IMG convert -O qcow2 c.qcow c.qcow2; $IMG compare c.qcow c.qcow2
        head -c 3333333 a.raw > odd.raw; $IMG convert -f raw -O qcow odd.raw d.qcow; $IMG info d.qcow; $IMG compare d.qcow odd.raw; $IMG convert -c -f raw -O qcow odd.raw dc.qcow; $IMG compare d.qcow dc.qcow
        head -c 3M /dev/urandom > noise.raw; $IMG convert -c -f raw -O qcow noise.raw n.qcow; $IMG compare -f raw noise.raw n.qcow; rm n.qcow
        $IMG dd -O qcow if=a.qcow of=g.qcow bs=1M count=5 skip=2; $IMG convert -O raw g.qcow g.raw; sha256sum < g.raw
        $IMG bench -w -c 16 -s 64k -S 192k --pattern 65 g.qcow | head -1; $IMG convert -O raw g.qcow g.raw; sha256sum < g.raw
        $IMG create -f qcow -b a.qcow -F qcow o.qcow; $IMG info o.qcow; $IMG info --output=json o.qcow; $IMG info --backing-chain o.qcow; xxd -s 32 -l 64 o.qcow; $IMG compare o.qcow a.qcow; $IMG map --output=json o.qcow
        $IMG create -f qcow -b a.qcow -F qcow o2.qcow 12M; qemu-io -f qcow -c 'write -P 9 100k 3k' -c 'write -P 10 10M 100k' -c 'write -z 9M 64k' o2.qcow >/dev/null; $IMG convert -O raw o2.qcow o2.raw; sha256sum < o2.raw; $IMG map --output=json o2.qcow
        $IMG convert -O qcow -B a.qcow -F qcow o2.qcow o3.qcow; $IMG compare o2.qcow o3.qcow; $IMG info o3.qcow
        cp a.qcow a4.qcow; $IMG create -q -f qcow -b a4.qcow -F qcow o4.qcow; qemu-io -f qcow -c 'write -P 9 100k 3k' -c 'write -P 10 9M 100k' o4.qcow >/dev/null; $IMG commit o4.qcow; stat -c %s o4.qcow; $IMG map --output=json o4.qcow; $IMG convert -O raw a4.qcow a4.raw; sha256sum < a4.raw; $IMG compare a4.qcow o4.qcow
        $IMG create -q -f qcow2 -b a.qcow -F qcow over.qcow2; $IMG compare over.qcow2 a.qcow; $IMG create -q -f qcow -b over.qcow2 -F qcow2 o5.qcow; $IMG info --backing-chain o5.qcow; $IMG compare o5.qcow a.qcow; $IMG rebase -b '' over.qcow2; $IMG compare over.qcow2 a.qcow
        mkdir sub; $IMG create -f qcow -b ../a.qcow -F qcow sub/o6.qcow; $IMG info sub/o6.qcow; $IMG compare sub/o6.qcow a.qcow
        $IMG create --object secret,id=k,data=abc -f qcow -o encrypt.format=aes,encrypt.key-secret=k x.qcow 4M; $IMG info x.qcow; $IMG info --output=json x.qcow; $IMG convert x.qcow y.raw
        qemu-io --object secret,id=k,data=abc --image-opts driver=qcow,encrypt.key-secret=k,file.filename=x.qcow -c 'write -P 7 100k 300k' -c 'write -P 8 1M 1k' >/dev/null; $IMG map --object secret,id=k,data=abc --image-opts driver=qcow,encrypt.key-secret=k,file.filename=x.qcow
        $IMG convert --object secret,id=k,data=abc --image-opts driver=qcow,encrypt.key-secret=k,file.filename=x.qcow -O raw y.raw; sha256sum < y.raw; $IMG convert --object secret,id=k,data=wrong --image-opts driver=qcow,encrypt.key-secret=k,file.filename=x.qcow -O raw z.raw; cmp -s y.raw z.raw; echo $?
        $IMG convert --object secret,id=k,data=0123456789abcdefghi -O qcow -o encrypt.format=aes,encrypt.key-secret=k a.raw x2.qcow; qemu-img compare --object secret,id=k,data=0123456789abcdefghi --image-opts driver=qcow,encrypt.key-secret=k,file.filename=x2.qcow driver=raw,file.filename=a.raw; $IMG compare --object secret,id=k,data=0123456789abcdefghi --image-opts driver=qcow,encrypt.key-secret=k,file.filename=x2.qcow driver=raw,file.filename=a.raw
        $IMG info -f qcow a.raw; $IMG info -f qcow2 a.qcow; $IMG info -f qcow c.qcow2; $IMG info -f raw a.qcow | head -2
    """,
    "vdi": """
        $IMG create -f vdi -o help; $IMG create -f vdi -o help x; $IMG convert -O vdi -o help
        $IMG create -f vdi a.vdi 10M; $IMG create -f vdi odd.vdi 1025k; $IMG create -f vdi tiny.vdi 513; $IMG create -f vdi none.vdi 0
        $IMG create -f vdi -o static=on s.vdi 3M; $IMG create -f vdi -o static=yes,nocow=off s2.vdi 1M; $IMG create -f vdi -o size=2T big.vdi
        $IMG create -f vdi -o static=foo x.vdi 1M
        $IMG create -f vdi -o foo=1 x.vdi 1M
        $IMG create -f vdi -o preallocation=metadata x.vdi 1M
        $IMG create -f vdi -b a.vdi -F vdi x.vdi 1M
        $IMG create -f vdi -F vdi x.vdi 1M
        $IMG create -f vdi x.vdi 1P; $IMG create -f vdi x.vdi 511T | head -1
        $IMG info a.vdi; $IMG info --output=json a.vdi; $IMG info odd.vdi; $IMG info tiny.vdi; $IMG info none.vdi; $IMG info s.vdi; $IMG info big.vdi
        $IMG check a.vdi; $IMG check --output=json a.vdi; $IMG check -r all a.vdi; $IMG check s.vdi; $IMG check none.vdi; $IMG check big.vdi
        $IMG map a.vdi; $IMG map --output=json a.vdi; $IMG map --output=json s.vdi; $IMG map none.vdi
        $IMG resize a.vdi 20M; $IMG resize --shrink a.vdi 1M; $IMG resize a.vdi 1M
        $IMG measure -O vdi --size 1G; $IMG measure -O vdi a.vdi
        $IMG snapshot -l a.vdi; $IMG snapshot -c x a.vdi; $IMG snapshot -a x a.vdi; $IMG snapshot -d x a.vdi
        $IMG rebase -b a.vdi -F vdi odd.vdi; $IMG rebase -u -b '' odd.vdi; $IMG commit a.vdi
        $IMG convert -c -O vdi a.vdi x.vdi; $IMG convert -O vdi -o foo=1 a.vdi x.vdi; $IMG convert -O vdi -B a.vdi -F vdi a.vdi x.vdi
        qemu-io -f vdi -c 'write -P 7 0 200k' -c 'write -P 8 9M 1M' -c 'write -P 3 3584k 1M' a.vdi >/dev/null
        $IMG check a.vdi; $IMG map --output=json a.vdi | tr -d '\\n'; $IMG map a.vdi; $IMG convert -O raw a.vdi a.raw; sha256sum < a.raw
        $IMG convert -O vdi a.raw b.vdi; $IMG check b.vdi; $IMG compare a.vdi b.vdi; $IMG info b.vdi; stat -c %s b.vdi
        $IMG convert -O vdi -o static=on a.vdi c.vdi; $IMG check c.vdi; $IMG compare c.vdi a.raw; stat -c %s c.vdi
        $IMG convert -O vdi -S 0 a.raw full.vdi; $IMG check full.vdi; $IMG compare full.vdi a.raw; stat -c %s full.vdi
        $IMG convert -O vdi -W -m 8 a.raw w.vdi; $IMG check w.vdi; $IMG compare w.vdi a.raw
        head -c 3333333 a.raw > odd.raw; $IMG convert -f raw -O vdi odd.raw d.vdi; $IMG compare d.vdi odd.raw; $IMG info d.vdi; $IMG convert -O raw d.vdi d.raw; stat -c %s d.raw
        $IMG convert -O qcow2 a.vdi e.qcow2; $IMG compare e.qcow2 a.vdi; $IMG convert -O vdi e.qcow2 f.vdi; $IMG compare f.vdi a.vdi; $IMG check f.vdi
        $IMG dd -O vdi if=a.vdi of=g.vdi bs=1M count=5 skip=2; $IMG check g.vdi; $IMG convert -O raw g.vdi g.raw; sha256sum < g.raw
        $IMG convert -n -O vdi a.raw odd.vdi; $IMG convert -n -O vdi odd.raw a.vdi; $IMG compare a.vdi a.raw
        $IMG bench -w -c 64 -s 64k -S 192k --pattern 65 g.vdi | head -1; $IMG check -q g.vdi; $IMG convert -O raw g.vdi g.raw; sha256sum < g.raw
        $IMG create -q -f qcow2 -b a.vdi -F vdi over.qcow2; $IMG info --backing-chain over.qcow2; $IMG compare over.qcow2 a.vdi; $IMG create -f qcow2 -b a.vdi x.qcow2
        qemu-io -f qcow2 -c 'write -P 9 2M 100k' over.qcow2 >/dev/null; $IMG commit -q over.qcow2; $IMG check a.vdi; $IMG convert -O raw a.vdi a2.raw; sha256sum < a2.raw
        $IMG info -f vdi a.raw; $IMG info -f raw a.vdi | head -2; $IMG convert -f raw -O raw a.vdi copy.vdi; cmp a.vdi copy.vdi; $IMG info copy.vdi
    """,
}


# Marks the first bitmap of an image as in use: mark.py IMAGE.
MARK = """
import struct, sys
f = open(sys.argv[1], 'r+b')
d = f.read(65536)
at = d.find(struct.pack('>II', 0x23852875, 24))
directory = struct.unpack('>Q', d[at + 24:at + 32])[0]
f.seek(directory + 12)
f.write(struct.pack('>I', 3))
"""
# Prints the bits of all bitmaps, for granularity and name: bits.py IMAGE.
BITS = """
import struct, sys
d = open(sys.argv[1], 'rb').read()
cluster = 1 << struct.unpack('>I', d[20:24])[0]
at = d.find(struct.pack('>II', 0x23852875, 24))
count, _, size, at = struct.unpack('>IIQQ', d[at + 8:at + 32])
for i in range(count):
    table, entries, flags, kind, bits, name, extra = struct.unpack('>QIIBBHI', d[at:at + 24])
    data = b''
    for k in range(entries):
        offset = struct.unpack('>Q', d[table + k * 8:table + k * 8 + 8])[0]
        data += d[offset:offset + cluster] if offset & ~1 else bytes([255 * (offset & 1)]) * cluster
    print(d[at + 24 + extra:at + 24 + extra + name].decode(), flags, bits, data.rstrip(b'\\0').hex())
    at += (24 + extra + name + 7) & ~7
"""
# Makes a dynamic VHD another type of disk, by its two footers: vhd_type.py IMAGE TYPE.
VHD_TYPE = """
import struct, sys
image = bytearray(open(sys.argv[1], 'rb').read())
for at in 0, len(image) - 512:
    struct.pack_into('>II', image, at + 60, int(sys.argv[2]), 0)
    struct.pack_into('>I', image, at + 64, ~sum(image[at:at + 512]) & 0xffffffff)
open(sys.argv[1], 'wb').write(image)
"""
# `map --output=json | extents.py [places]`: the extents without their host offsets, joined where only those can tell
# them apart: writers with several requests under way allocate in an order of chance. `places`: whatever they hold.
EXTENTS = """
import json, sys
at = None
for e in json.loads(sys.stdin.read() or '[]'):
    kind = [e['depth'], e['present'], e['zero'], e['data']]
    if 'places' in sys.argv:
        kind[2:] = [e['data'] or not e['zero']]
    if at and at[0] == kind:
        at[2] += e['length']
        continue
    if at:
        print(*at)
    at = [kind, e['start'], e['length']]
if at:
    print(*at)
"""


def normalise(text):
    text = re.sub(r"^(xuni-img|qemu-img)\b", "IMG", text, flags=re.M)
    text = re.sub(r"'(xuni-img|qemu-img) --help'", "'IMG --help'", text)
    text = re.sub(r"disk size: .*", "disk size: -", text)
    text = re.sub(r"\[\s*\]", "[]", text)
    text = re.sub(r"Run completed in [\d.]+ seconds", "Run completed", text)
    text = re.sub(r'"actual-size": \d+', '"actual-size": -', text)
    text = re.sub(r"Image end offset: \d+", "Image end offset: -", text)
    text = re.sub(r'"image-end-offset": \d+', '"image-end-offset": -', text)
    text = re.sub(r"\d+-\d+-\d+ \d+:\d+:\d+", "DATE", text)
    text = re.sub(r'"date-n?sec": \d+', '"date": -', text)
    text = re.sub(r"#block\d+", "#block", text)
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID", text)
    text = re.sub(r'\biters("?): \d+', r"iters\1: -", text)
    text = re.sub(r'\bcid(": | ?: )\d+', r"cid\1-", text)
    return text


def run(program, lines, folder):
    """[(command, exit status, output)]; both outputs of a program in one."""
    results = []
    for line in lines:
        command = line.replace("$IMG", shlex.quote(program)).replace("$HERE", shlex.quote(str(ROOT / "tests/img")))
        done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, errors="replace",
                              timeout=120)
        results.append((line, done.returncode, normalise(done.stdout) + normalise(done.stderr).rstrip()))
    return results


def cross_check(ours, theirs):
    """Every image of ours must be good for qemu-img, and the other way round."""
    failed = 0
    bad = ("junk.qcow2", "x.qcow2", "u.qcow2", "j.vmdk", "over.vmdk", "cut.vhdx", "x.vdi", "x.vpc", "x.qcow", "x2.qcow")
    for mine in sorted(path for path in ours.glob("**/*") if path.suffix in (".qcow2", ".vmdk", ".vhdx", ".vdi", ".vpc", ".qcow")):
        name = mine.relative_to(ours)
        if name.name in bad or re.search(r"-([sf]\d+|flat)$", name.stem) or not (theirs / name).exists():
            continue
        given = ["-f", "vpc"] if name.suffix == ".vpc" else []  # fixed ones are not recognised
        for program, image in ((THEIRS, mine), (OURS, theirs / name)):
            check = subprocess.run([program, "check", *given, str(image)], capture_output=True, text=True, cwd=image.parent)
            if check.returncode not in (0, NO_CHECK):
                print(f"FAILED  {program} check {name}: {check.returncode} {check.stdout}{check.stderr}")
                failed += 1
        if b"DATA\0\0\0" in mine.read_bytes()[:512]:
            continue  # data file names are relative to the working directory
        for program in (THEIRS, OURS):
            compare = subprocess.run([program, "compare", *given, *(["-F", "vpc"] if given else []), str(mine), str(theirs / name)],
                                     capture_output=True, text=True)
            if compare.returncode:
                print(f"FAILED  {program} compare {name} of both: {compare.stdout}{compare.stderr}")
                failed += 1
    for mine in sorted([*ours.glob("*.luks"), *ours.glob("*.crypt")]):
        node = ("driver=luks,key-secret=s" if mine.suffix == ".luks" else "driver=qcow2,encrypt.key-secret=s")
        for program, image in ((THEIRS, mine), (OURS, theirs / mine.name)):
            password = "file=" + str(ours / "pw") if mine.name == "b.luks" else "data=abc"
            opened = subprocess.run([program, "convert", "--object", "secret,id=s," + password, "--image-opts", "-O", "raw",
                                     f"{node},file.filename={image}", str(image) + ".out"], capture_output=True, text=True)
            if opened.returncode and image.exists():
                print(f"FAILED  {program} convert {image}: {opened.stderr}")
                failed += 1
        results = [pathlib.Path(str(path) + ".out") for path in (mine, theirs / mine.name)]
        if mine.suffix == ".crypt" and all(r.exists() for r in results) and results[0].read_bytes() != results[1].read_bytes():
            print(f"FAILED  {mine.name} of both differ")
            failed += 1
    return failed


def test(group):
    failed = 0
    lines = [line.strip() for line in GROUPS[group].strip().splitlines()]
    with tempfile.TemporaryDirectory(prefix="xuni-img-") as directory:
        ours, theirs = pathlib.Path(directory) / "ours", pathlib.Path(directory) / "theirs"
        ours.mkdir()
        theirs.mkdir()
        (pathlib.Path(directory) / "mark.py").write_text(MARK)
        (pathlib.Path(directory) / "bits.py").write_text(BITS)
        (pathlib.Path(directory) / "extents.py").write_text(EXTENTS)
        (pathlib.Path(directory) / "vhd_type.py").write_text(VHD_TYPE)
        for mine, wanted in zip(run(OURS, lines, ours), run(THEIRS, lines, theirs)):
            if mine == wanted:
                continue
            failed += 1
            print(f"FAILED  {mine[0]}\n  exit status {mine[1]}, qemu-img's {wanted[1]}")
            outputs = [pathlib.Path(directory) / name for name in ("qemu-img.out", "xuni-img.out")]
            for path, result in zip(outputs, (wanted, mine)):
                path.write_text(result[2] + "\n")
            diff = subprocess.run(["diff", "-U1", *outputs], capture_output=True, text=True)
            print("".join("  " + line for line in diff.stdout.splitlines(True)[2:]))
        failed += cross_check(ours, theirs)
    print(f"{group}: {len(lines)} lines, {failed} differences")
    return failed


if not shutil.which(THEIRS) or not shutil.which("qemu-io"):
    print("skipped: qemu-img and qemu-io are not here (package qemu-utils)")
    sys.exit(77)
sys.exit(1 if sum(test(group) for group in (sys.argv[1:] or GROUPS)) else 0)
