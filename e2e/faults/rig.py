"""What the fault cases share: a mount, its ledger of acknowledged writes, its judge, and where results go.

A case is a function of a `Case`; cases of one lane run one after the other on the lane's own servers, lanes side by
side. Only `Case.check` says what passed and what failed."""
import json, os, re, subprocess, sys, threading, time

HERE = os.path.dirname(os.path.abspath(__file__))
OURS, DURABLE, PROBE = os.environ["JUICEFS"], os.path.join(HERE, "..", "suites", "durable.py"), os.path.join(HERE, "probe.py")
AUDIT = os.environ["AUDIT"].split()


class Results:
    """Counts of the whole run, from all lanes."""

    def __init__(self):
        self.lock, self.passed, self.failed = threading.Lock(), 0, []

    def add(self, name, problem):
        with self.lock:
            if problem:
                self.failed.append(name)
                print(f"FAIL  {name}: {problem}", flush=True)
            else:
                self.passed += 1
                print(f"ok    {name}", flush=True)


class Case:
    def __init__(self, name, results, folder):
        self.name, self.results = name, results
        self.folder = os.path.join(folder, name)
        os.makedirs(self.folder)

    def check(self, what, problem):
        self.results.add(f"{self.name}: {what}", problem)

    def say(self, text):
        print(f"      {self.name}: {text}", flush=True)

    def wait_until(self, what, seconds, is_so):
        """The state that a case waits for must come; returns how long it took."""
        begun = time.monotonic()
        while not is_so():
            if time.monotonic() - begun > seconds:
                raise TimeoutError(f"{what}: not within {seconds} s")
            time.sleep(0.05)
        return time.monotonic() - begun


def run(*command, seconds=300):
    r = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    return r.returncode, r.stdout + r.stderr


def must(*command):
    code, text = run(*command)
    assert code == 0, f"{command}: {text}"
    return text


def format_s3(meta, s3, name):
    must(OURS, "format", "--trash-days", "0", "--storage", "s3", "--bucket", s3.bucket("faults"),
         "--access-key", s3.access_key, "--secret-key", s3.secret_key, meta, name)


class Mount:
    def __init__(self, case, name, meta, *flags):
        self.case, self.meta, self.flags = case, meta, flags
        self.folder = os.path.join(case.folder, name)
        os.makedirs(self.folder)
        self.where, self.log = os.path.join(self.folder, "mnt"), os.path.join(self.folder, "log")
        self.ledger = os.path.join(self.folder, "ledger")

    def path(self, *parts):
        return os.path.join(self.where, *parts)

    def up(self):
        must(OURS, "mount", "-d", "--no-usage-report", "--log", self.log, "--cache-dir", self.folder + "/cache",
             *self.flags, self.meta, self.where)
        self.pid = json.load(open(self.path(".config")))["Pid"]
        return self

    def down(self):
        must(OURS, "umount", self.where)
        self.case.wait_until("the mount's process ends", 150, lambda: not os.path.exists(f"/proc/{self.pid}"))

    def kill(self, sig):
        os.kill(self.pid, sig)

    def logged(self):
        return open(self.log).read()

    def stats(self):
        """The numbers of `.stats`."""
        text = open(self.path(".stats")).read()
        return {name: float(value) for name, value in re.findall(r"^(\S+) (\S+)$", text, re.M)}

    def memory(self):
        """Bytes of the process: all that is resident, and of it the shared memory in which dirty pages are."""
        status = open(f"/proc/{self.pid}/status").read()
        kib = lambda name: int(re.search(rf"^{name}:\s+(\d+) kB", status, re.M)[1])
        return kib("VmRSS") << 10, kib("RssShmem") << 10

    def load(self, seconds, writers=2, folder="load"):
        """Writers that note in the ledger what was acknowledged; they stop at their first failed call."""
        os.makedirs(self.path(folder))
        return subprocess.Popen([sys.executable, DURABLE, "write", self.path(folder), self.ledger, str(seconds), str(writers)])

    def probe(self, *kinds):
        return Probe(self, kinds)

    def verify(self, what="", may_stop=False, folder="load"):
        """Every acknowledged write is there, and no writer was stopped by a failed call."""
        code, text = run(sys.executable, DURABLE, "check", self.path(folder), self.ledger)
        self.case.say(text.strip())
        self.case.check(f"every acknowledged write is there{what}", code and text)
        if not may_stop:
            self.case.check(f"no write or fsync failed{what}", "stops={}" not in text and text)

    def judge(self, may_stop=False):
        """The mount's view, then that of a fresh mount without a cache, our fsck, the audit. Leaves it unmounted."""
        self.verify("", may_stop)
        self.down()
        subprocess.run(["rm", "-rf", self.folder + "/cache"], check=True)
        self.up()
        self.verify(" (fresh mount)", may_stop=True)
        self.down()

    def panics(self):
        lines = [line for line in self.logged().splitlines() if "panicked" in line]
        self.case.check("no thread panicked", lines[:3])


def judge_volume(case, meta, lagging=False):
    """fsck and the audit are clean, but for directory statistics where those may be `lagging`."""
    code, text = run(OURS, "fsck", meta)
    case.check("fsck", code and text[-500:])
    code, text = run(*AUDIT, meta)
    summary = re.search(r"^audit: .* (\d+) findings$", text, re.M)
    assert summary, text
    findings = [line for line in text.splitlines() if re.match(r"[a-z-]+: ", line) and not line.startswith(("audit: ", "error: "))]
    assert len(findings) == int(summary[1]), text
    case.check("audit", [line for line in findings if not (lagging and line.startswith("dir-stat: "))])


class Probe:
    """System calls of many kinds, one after the other in a process per kind, each timed by itself (probe.py)."""

    def __init__(self, mount, kinds):
        self.file = os.path.join(mount.folder, f"probe.{time.monotonic_ns()}")
        folder = mount.path("probe")
        os.makedirs(folder, exist_ok=True)
        self.process = subprocess.Popen([sys.executable, PROBE, folder, self.file, *kinds])

    def end(self):
        """All calls made: (kind, call, begin, seconds, errno), times of time.monotonic()."""
        open(self.file + ".stop", "w").close()
        assert self.process.wait(130) == 0, "the probe ended badly"
        lines = [line.split() for line in open(self.file)]
        assert lines, "the probe did nothing"
        return [(kind, call, float(begin), float(seconds), int(errno)) for kind, call, begin, seconds, errno in lines]


class Sampler:
    """Looks at something twice a second until it is told to end; keeps what it saw with its time."""

    def __init__(self, look):
        self.look, self.seen, self.failure = look, [], None
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stop.wait(0.5):
            try:
                self.seen.append((time.monotonic(), self.look()))
            except Exception as failure:  # told by end()
                self.failure = failure
                return

    def end(self):
        self.stop.set()
        self.thread.join(30)
        if self.failure:
            raise self.failure
        return self.seen
