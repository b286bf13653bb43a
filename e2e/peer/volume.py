"""A volume that both clients use, and its judges: both `fsck`s, both `gc` dry runs, the audit."""
import json, os, re, subprocess, time
import judges

OURS, PEER = os.environ["JUICEFS"], os.environ["PEER"]
passed, failed, begun = 0, [], time.monotonic()


def check(name, problem):
    """`problem` is what to show; empty or false means there is none."""
    global passed
    seconds = f"{time.monotonic() - begun:4.0f}s"
    if problem:
        failed.append(name)
        print(f"FAIL  {seconds}  {name}: {problem}", flush=True)
    else:
        passed += 1
        print(f"ok    {seconds}  {name}", flush=True)


def run(*command, env=None):
    r = subprocess.run(command, capture_output=True, text=True, errors="replace", env={**os.environ, **(env or {})}, timeout=300)
    return r.returncode, r.stdout + r.stderr


class Volume:
    def __init__(self, folder, meta, formatter, *options):
        self.folder, self.meta, self.n, self.before_repair, self.is_miscounted = folder, meta, 0, lambda: None, False
        code, text = run(formatter, "format", *options, meta, "vol")
        assert code == 0, text
        said = subprocess.run([PEER, "status", meta], capture_output=True, check=True).stdout
        # Its MySQL library prints warnings in front.
        self.setting = json.loads(said[said.index(b"{"):])["Setting"]

    def mount(self, binary, *options):
        self.n += 1
        where = os.path.join(self.folder, f"m{self.n}")
        os.mkdir(where)
        code, text = run(binary, "mount", "-d", "--no-usage-report", "--log", f"{where}.log", "--cache-dir", f"{where}.cache", *options, self.meta, where)
        assert code == 0 and os.path.ismount(where), text
        return where

    def umount(self, *mounts):
        """Returns when the processes have ended: they close their sessions after the mount has gone."""
        for where in mounts:
            code, text = run("umount", where)
            assert code == 0, text
        deadline = time.monotonic() + 60
        for where in mounts:
            while subprocess.run(["pgrep", "-f", where + "( |$)"], capture_output=True).returncode == 0:
                assert time.monotonic() < deadline, f"the mount process of {where} does not end"
                time.sleep(0.05)

    def complaints(self, where):
        """The last warnings and errors in the log of a mount."""
        if not os.path.exists(f"{where}.log"):
            return []
        with open(f"{where}.log", errors="replace") as log:
            return [line.strip()[:300] for line in log if re.search("WARN|ERROR|FATAL", line)][-8:]

    def audit(self):
        return judges.findings(*run(*os.environ["AUDIT"].split(), self.meta))

    def repair(self, name):
        """The peer counts again what it keeps sums of."""
        self.before_repair()
        code, text = run(PEER, "fsck", self.meta, "--path", "/", "--recursive", "--repair", "--sync-dir-stat")
        check(f"{name}: the peer's fsck repairs statistics", code and text[-800:])

    def is_beyond_repair(self, finding):
        """Where the peer miscounts, its repair leaves what is used by the whole and where a file lies."""
        return self.is_miscounted and finding.startswith(("used-", "parent: "))

    def judge(self, name, excused=lambda finding: False):
        code, text = run(PEER, "fsck", self.meta)
        check(f"{name}: the peer's fsck of data", code and text[-800:])
        code, text = judges.fsck_of_the_tree(run, PEER, self.meta)
        check(f"{name}: the peer's fsck of the tree", (code or "ERROR" in text or "WARNING>: nlink" in text) and text[-1500:])
        code, text = run(OURS, "fsck", self.meta)
        check(f"{name}: our fsck", code and text[-800:])
        for who, binary in (("peer", PEER), ("our", OURS)):
            code, text = run(binary, "gc", self.meta, env={"JFS_GC_SKIPPEDTIME": "0"})
            leaked = re.search(r"(\d+) leaked", text)
            check(f"{name}: {who} gc finds nothing leaked", (code or not leaked or leaked[1] != "0") and text[-800:])
        check(f"{name}: audit", [finding for finding in self.audit() if not excused(finding)][:20])
