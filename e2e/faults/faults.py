"""Faults under load: Redis or the S3 server away for a while, the client killed. After each: every acknowledged
write is there (durable.py), our fsck and the audit are clean. Ends in "N passed, N failed"."""
import os, signal, subprocess, sys, time
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "peer"))
from servers import Redis, S3, Scratch

OURS, DURABLE = os.environ["JUICEFS"], os.path.join(HERE, "..", "suites", "durable.py")
passed, failed = 0, []


def check(name, problem):
    global passed
    if problem:
        failed.append(name)
        print(f"FAIL  {name}: {problem}", flush=True)
    else:
        passed += 1
        print(f"ok    {name}", flush=True)


def run(*command):
    r = subprocess.run(command, capture_output=True, text=True, timeout=300)
    return r.returncode, r.stdout + r.stderr


class Mount:
    def __init__(self, folder, name, meta):
        self.folder, self.meta = os.path.join(folder, name), meta
        os.makedirs(self.folder, exist_ok=True)
        self.where, self.ledger = os.path.join(self.folder, "mnt"), os.path.join(self.folder, "ledger")

    def up(self):
        code, text = run(OURS, "mount", "-d", "--no-usage-report", "--log", self.folder + "/log", "--cache-dir", self.folder + "/cache", self.meta, self.where)
        assert code == 0, text

    def down(self):
        code, text = run(OURS, "umount", self.where)
        assert code == 0, text

    def pids(self):
        found = []
        for p in filter(str.isdigit, os.listdir("/proc")):
            try:
                words = open(f"/proc/{p}/cmdline").read().split("\0")
                if self.where in words and os.readlink(f"/proc/{p}/exe") == os.path.realpath(OURS):
                    found.append(int(p))
            except OSError:
                pass
        return found

    def load(self, seconds, writers=4):
        os.makedirs(os.path.join(self.where, "load"), exist_ok=True)
        return subprocess.Popen([sys.executable, DURABLE, "write", os.path.join(self.where, "load"), self.ledger, str(seconds), str(writers)])

    def judge(self, name, may_stop=False):
        code, text = run(sys.executable, DURABLE, "check", os.path.join(self.where, "load"), self.ledger)
        print("      " + text.strip())
        check(f"{name}: every acknowledged write is there", code and text)
        if not may_stop:
            check(f"{name}: no system call failed", "stops={}" not in text and text)
        self.down()
        subprocess.run(["rm", "-rf", self.folder + "/cache"])
        code, text = run(OURS, "fsck", self.meta)
        check(f"{name}: fsck", code and text[-500:])
        self.up()
        code, text = run(sys.executable, DURABLE, "check", os.path.join(self.where, "load"), self.ledger)
        check(f"{name}: and from the store alone", code and text)
        self.down()
        code, text = run(*os.environ["AUDIT"].split(), self.meta)
        check(f"{name}: audit", code and text[-800:])


def format_s3(meta, s3, name):
    code, text = run(OURS, "format", "--trash-days", "0", "--storage", "s3", "--bucket", s3.bucket("faults"), "--access-key", s3.access_key, "--secret-key", s3.secret_key, meta, name)
    assert code == 0, text


def away(server, seconds):
    time.sleep(4)  # load runs
    server.stop(signal.SIGKILL)
    time.sleep(seconds)  # the outage itself is the case
    server.start()


def main():
    with Scratch() as folder:
        redis, s3 = Redis(folder), S3(folder)
        try:
            for name, server in (("redis-20s", redis), ("s3-20s", s3)):
                db = {"redis-20s": 1, "s3-20s": 2}[name]
                mount = Mount(folder, name, redis.url(db))
                format_s3(mount.meta, s3, name)
                mount.up()
                load = mount.load(34)
                away(server, 20)
                load.wait()
                mount.judge(name)
            mount = Mount(folder, "kill9", redis.url(3))
            format_s3(mount.meta, s3, "kill9")
            mount.up()
            load = mount.load(10)
            time.sleep(5)
            for pid in mount.pids():
                os.kill(pid, signal.SIGKILL)
            subprocess.run(["umount", "-l", mount.where])
            load.wait()
            mount.up()
            mount.judge("kill9", may_stop=True)
            mount = Mount(folder, "sigterm", redis.url(4))
            format_s3(mount.meta, s3, "sigterm")
            mount.up()
            load = mount.load(6)
            time.sleep(3)
            for pid in mount.pids():
                os.kill(pid, signal.SIGTERM)
            load.wait()
            deadline = time.monotonic() + 30
            while mount.pids() and time.monotonic() < deadline:
                time.sleep(0.1)
            check("sigterm: the mount ends by itself", mount.pids() or os.path.ismount(mount.where))
            mount.up()
            mount.judge("sigterm", may_stop=True)
        finally:
            redis.stop(), s3.stop()
    print(f"{passed} passed, {len(failed)} failed")
    return 1 if failed else 0


sys.exit(main())
