"""Interoperation with the peer on one volume: we write and it reads, it writes and we read, both at once; then both
`fsck`s, both `gc` dry runs and the audit. Ends in "N passed, N failed"."""
import os, re, subprocess, sys, time
import tree
from servers import Redis, S3, Scratch

OURS, PEER = os.environ["JUICEFS"], os.environ["PEER"]
HERE = os.path.dirname(os.path.abspath(__file__))
passed, failed = 0, []

def check(name, problem):
    global passed
    if problem:
        failed.append(name)
        print(f"FAIL  {name}: {problem}", flush=True)
    else:
        passed += 1
        print(f"ok    {name}", flush=True)

def run(*command, env=None):
    r = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(env or {})}, timeout=300)
    return r.returncode, r.stdout + r.stderr

class Volume:
    def __init__(self, folder, meta, formatter, store, trash_days):
        self.folder, self.meta, self.store, self.n = folder, meta, store, 0
        code, text = run(formatter, "format", "--trash-days", str(trash_days), *store, meta, "vol")
        assert code == 0, text

    def mount(self, binary, *options):
        self.n += 1
        where = os.path.join(self.folder, f"m{self.n}")
        os.mkdir(where)
        code, text = run(binary, "mount", "-d", "--no-usage-report", "--log", f"{where}.log", "--cache-dir", f"{where}.cache", *options, self.meta, where)
        assert code == 0 and os.path.ismount(where), text
        return where

    def umount(self, where):
        code, text = run("umount", where)
        assert code == 0, text
        deadline = time.monotonic() + 30  # the session is closed after the mount has gone
        while subprocess.run(["pgrep", "-f", where + "( |$)"], capture_output=True).returncode == 0 and time.monotonic() < deadline:
            time.sleep(0.1)

    def judge(self, name):
        code, text = run(PEER, "fsck", self.meta)
        check(f"{name}: the peer's fsck of data", code and text[-800:])
        code, text = run(PEER, "fsck", self.meta, "--path", "/", "--recursive", "--sync-dir-stat")
        check(f"{name}: the peer's fsck of the tree", (code or "ERROR" in text or "WARNING>: nlink" in text) and text[-1500:])
        code, text = run(OURS, "fsck", self.meta)
        check(f"{name}: our fsck", code and text[-800:])
        for who, binary in (("peer", PEER), ("our", OURS)):
            code, text = run(binary, "gc", self.meta, env={"JFS_GC_SKIPPEDTIME": "0"})
            leaked = re.search(r"(\d+) leaked", text)
            check(f"{name}: {who} gc finds nothing leaked", (code or not leaked or leaked[1] != "0") and text[-800:])
        code, text = run(*os.environ["AUDIT"].split(), self.meta)
        check(f"{name}: audit", code and text[-1500:])

def one_writes_the_other_reads(volume, name, writer, reader):
    where = volume.mount(writer)
    top = os.path.join(where, f"by-{name}")
    os.mkdir(top)
    tree.make(top, 7)
    volume.umount(where)
    where = volume.mount(writer)
    expected = tree.look(os.path.join(where, f"by-{name}"))
    volume.umount(where)
    where = volume.mount(reader)
    check(f"{name} writes, the other reads", tree.differences(expected, tree.look(os.path.join(where, f"by-{name}")))[:5])
    # The other goes on with what it found.
    top = os.path.join(where, f"by-{name}")
    with open(os.path.join(top, "big"), "r+b") as f:
        f.seek((64 << 20) - 5), f.write(b"over the border"), f.truncate(66 << 20)
    os.rename(os.path.join(top, "d"), os.path.join(top, "deep", "d")), os.unlink(os.path.join(top, "hard", "l0"))

    volume.umount(where)
    where = volume.mount(reader)
    expected = tree.look(os.path.join(where, f"by-{name}"))
    volume.umount(where)
    where = volume.mount(writer)
    check(f"{name} reads back what the other changed", tree.differences(expected, tree.look(os.path.join(where, f"by-{name}")))[:5])
    volume.umount(where)

def both_at_once(volume, name, seconds):
    a, b = volume.mount(OURS), volume.mount(PEER)
    os.mkdir(os.path.join(a, "storm"))
    storms = [subprocess.Popen([sys.executable, os.path.join(HERE, "storm.py"), os.path.join(where, "storm"), str(seed), str(seconds), f"{who}{seed}"], stdout=subprocess.PIPE, text=True)
              for seed, (where, who) in enumerate([(a, "ours"), (b, "peer"), (a, "ours"), (b, "peer")])]
    said = [s.communicate()[0].strip() for s in storms]
    print("      " + "\n      ".join(said))
    check(f"{name}: storms meet races only", any(s.returncode for s in storms) and said)
    volume.umount(a), volume.umount(b)
    third, fourth = volume.mount(OURS), volume.mount(PEER)
    check(f"{name}: fresh mounts of both see the same", tree.differences(tree.look(os.path.join(third, "storm")), tree.look(os.path.join(fourth, "storm")))[:5])
    volume.umount(third), volume.umount(fourth)

def scenario(name, volume, seconds):
    one_writes_the_other_reads(volume, f"{name}-ours", OURS, PEER)
    volume.judge(f"{name} after ours")
    one_writes_the_other_reads(volume, f"{name}-peer", PEER, OURS)
    if seconds:
        both_at_once(volume, name, seconds)
    volume.judge(f"{name} at the end")

def main(wanted):
    seconds = float(os.environ.get("STORM_SECONDS", "20"))
    with Scratch() as folder:
        if "sqlite" in wanted:
            for trash_days, formatter in ((0, OURS), (1, PEER)):
                own = os.path.join(folder, f"sqlite{trash_days}")
                os.mkdir(own)
                store = ["--storage", "file", "--bucket", own + "/data"]
                scenario(f"sqlite trash={trash_days}", Volume(own, f"sqlite3://{own}/meta.db", formatter, store, trash_days), seconds)
        if "redis" in wanted:
            redis, s3 = Redis(folder), S3(folder)
            try:
                for trash_days, formatter in ((0, PEER), (1, OURS)):
                    own = os.path.join(folder, f"redis{trash_days}")
                    os.mkdir(own)
                    store = ["--storage", "s3", "--bucket", s3.bucket(f"bucket{trash_days}"), "--access-key", s3.access_key, "--secret-key", s3.secret_key]
                    scenario(f"redis trash={trash_days}", Volume(own, redis.url(trash_days), formatter, store, trash_days), seconds)
            finally:
                redis.stop(), s3.stop()
    print(f"{passed} passed, {len(failed)} failed")
    return 1 if failed else 0

sys.exit(main(sys.argv[1:] or ["sqlite", "redis"]))
