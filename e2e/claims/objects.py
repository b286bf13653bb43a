"""Objects are the peer's: every compression and name layout is read by the other; a bucket is found by path and by host."""
import os, subprocess
from volume import OURS, PEER, S3, read, run, until, write

HERE = os.path.dirname(os.path.abspath(__file__))


def tree(where, seed):
    """Sizes around a block of 64 KiB, compressible and not."""
    for number, size in enumerate((0, 1, 65535, 65536, 65537, 200_000, 1 << 20)):
        body = os.urandom(size) if (number + seed) % 2 else (b"again and again " * (size // 16 + 1))[:size]
        write(f"{where}/{seed}-{number}", body)
        yield f"{seed}-{number}", body


def both_read(volume):
    ours = volume.mount(OURS)
    files = dict(tree(ours, 0))
    volume.umount(ours)
    theirs = volume.mount(PEER)
    files.update(tree(theirs, 1))
    volume.umount(theirs)
    for binary in (OURS, PEER):
        where = volume.mount(binary)
        wrong = [name for name, body in files.items() if read(f"{where}/{name}") != body]
        assert not wrong, (binary, wrong)
        volume.umount(where)
    volume.judge()


def data_goes(volume, trash_days):
    """The data of what we unlink leaves the bucket at once without trash, and stays with it."""
    where = volume.mount(OURS)
    for number in range(30):
        write(f"{where}/f{number}", b"x" * 70_000)
    assert len(volume.objects()) == 60, len(volume.objects())
    for number in range(30):
        os.unlink(f"{where}/f{number}")
    if trash_days:
        hour, = os.listdir(f"{where}/.trash")
        trashed = sorted(os.listdir(f"{where}/.trash/{hour}"))
        assert len(trashed) == 30 and trashed[0].startswith("1-") and len(volume.objects()) == 60, trashed
        assert read(f"{where}/.trash/{hour}/{trashed[0]}") == b"x" * 70_000
        for name in trashed:
            os.unlink(f"{where}/.trash/{hour}/{name}")
    until("the bucket is empty", lambda: not volume.objects())
    volume.umount(where)
    volume.judge()


class HostS3(S3):
    """The same server, which also takes a bucket for the first part of the host's name."""

    def start(self):
        self.command += ["-s3.domainName=s3.test"]
        super().start()


def by_host(folder):
    os.mkdir(folder)
    s3 = HostS3(folder)
    try:
        meta, where = f"sqlite3://{folder}/meta.db", f"{folder}/m"
        os.mkdir(where)
        bucket = f"http://bkt.s3.test:{s3.port}"
        keys = f"--access-key {s3.access_key} --secret-key {s3.secret_key}"
        script = f"""set -eu
            export no_proxy=s3.test
            {OURS} format --storage s3 --bucket {bucket} {keys} {meta} vol
            for binary in {OURS} {PEER}; do
                $binary mount -d --no-usage-report --backup-meta 0 --log {folder}/log --cache-dir memory {meta} {where}
                [ -e {where}/f ] || head -c 300000 /dev/urandom >{where}/f
                sha256sum <{where}/f
                until umount {where}; do sleep 0.2; done
            done"""
        text = subprocess.run([os.path.join(HERE, "hosts.sh"), "127.0.0.1", "s3.test", "bkt.s3.test", "--", "bash", "-c", script], capture_output=True, text=True, timeout=100)
        sums = [line.lstrip(".") for line in text.stdout.splitlines() if line.endswith(" -")]
        assert text.returncode == 0 and len(sums) == 2 and len(set(sums)) == 1, text.stdout + text.stderr
        # The same bucket by path.
        code, said = run(OURS, "fsck", meta, seconds=300)
        assert code, "without the host's name the bucket can't be found"
        run(OURS, "config", meta, "--bucket", s3.bucket("bkt"), "--yes", check=True)
        run(OURS, "fsck", meta, check=True)
    finally:
        s3.stop()


def claims(world):
    for compression, options in (("none", ["--hash-prefix"]), ("lz4", []), ("zstd", ["--hash-prefix"])):
        volume = world.volume("redis" if compression == "lz4" else "sqlite", "--compress", compression, "--block-size", "64K", *options, store="s3" if compression == "lz4" else "file")
        yield f"blocks with compression {compression} are read by both", lambda v=volume: both_read(v)
    for trash_days in (0, 1):
        volume = world.volume("sqlite", "--trash-days", str(trash_days), "--block-size", "64K")
        yield f"the data of deleted files goes, trash {trash_days}", lambda v=volume, t=trash_days: data_goes(v, t)
    folder = os.path.join(world.folder, "hosts")
    yield "a bucket named by its host", lambda: by_host(folder)
