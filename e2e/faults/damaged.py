"""Truncated records. One bad record is EIO on its own file, with a log line that names it; everything beside it works,
nothing panics or hangs, `fsck` names each, and what must not guess (`gc`, a write of the setting) refuses."""
import errno, os, subprocess, sys
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "peer")]
from rig import OURS, Case, Mount, Results, run
from servers import Redis, Scratch

TRY = """
import os, sys
def read(path):
    with open(path, "rb") as f: f.read()
def write(path):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT); os.write(fd, b"new"); os.fsync(fd); os.close(fd)
try: {"read": read, "write": write, "stat": os.stat, "unlink": os.unlink}[sys.argv[1]](sys.argv[2])
except OSError as error: sys.exit(error.errno)
"""


def attempt(call, path):
    """The errno of one call in a process of its own; a call that hangs is an error of the test."""
    code = subprocess.run([sys.executable, "-c", TRY, call, path], timeout=20).returncode
    return errno.errorcode.get(code, code) if code else None


class InRedis:
    def __init__(self, folder):
        self.server = Redis(folder)
        self.url = self.server.url()

    def ask(self, *words, body=None):
        return subprocess.run(["redis-cli", "-p", str(self.server.port), "-n", "1", *(["-x"] if body is not None else []), *words],
                              input=body, capture_output=True, check=True).stdout

    def cut_node(self, ino):
        self.ask("set", f"i{ino}", body=self.ask("getrange", f"i{ino}", "0", "20")[:21])
        return f"i{ino}"

    def cut_edge(self, parent, name):
        self.ask("hset", f"d{parent}", name, body=b"\x01\x00\x00")
        return f"d{parent} {name}"

    def cut_slice(self, ino):
        self.ask("lset", f"c{ino}_0", "0", body=b"\x00" * 11)
        return f"c{ino}_0"

    def setting(self):
        return self.ask("get", "setting")[:-1]

    def set_setting(self, text):
        self.ask("set", "setting", body=text)

    def stop(self):
        self.server.stop()


class InSqlite:
    def __init__(self, folder):
        self.path = os.path.join(folder, "meta.db")
        self.url = f"sqlite3://{self.path}"

    def ask(self, statement, *values):
        import sqlite3
        with sqlite3.connect(self.path, timeout=10) as db:
            cursor = db.execute(statement, values)
            found = cursor.fetchone()
            assert found or cursor.rowcount == 1, f"{statement}: {cursor.rowcount} rows"
        db.close()
        return found

    def cut_node(self, ino):
        self.ask("update jfs_node set length = x'0102' where inode = ?", ino)
        return f"node {ino}"

    def cut_edge(self, parent, name):
        self.ask("update jfs_edge set inode = x'00' where parent = ? and name = ?", parent, name.encode())
        return f"edge {name} of inode {parent}"

    def cut_slice(self, ino):
        self.ask("update jfs_chunk set slices = substr(slices, 1, 11) where inode = ?", ino)
        return f"chunk 0 of inode {ino}"

    def setting(self):
        return self.ask("select value from jfs_setting where name = 'format'")[0].encode()

    def set_setting(self, text):
        self.ask("update jfs_setting set value = ? where name = 'format'", text.decode())

    def stop(self):
        pass


def refused(case, what, words, *command):
    code, text = run(*command, seconds=60)
    last = [line for line in text.splitlines() if "<FATAL>" in line]
    problem = [] if code else ["exit code 0"]
    problem += [f"no '{word}'" for word in words if word not in text]
    problem += [f"{len(last)} sentences"] if len(last) != 1 else []
    problem += ["a panic"] if "panicked" in text else []
    case.check(what, problem and f"{problem} in: {text[-600:]}")


def records(case, meta):
    run(OURS, "--quiet", "format", "--trash-days", "0", meta.url, case.name, "--bucket", case.folder + "/data")
    mount = Mount(case, "a", meta.url, "--heartbeat", "1").up()
    folder = mount.path("d")
    os.mkdir(folder)
    names = ["node", "edge", "slice", "good", "better"]
    for name in names:
        with open(os.path.join(folder, name), "wb") as f:
            f.write(name.encode() * 5000)
    inos = {name: os.stat(os.path.join(folder, name)).st_ino for name in names}
    parent = os.stat(folder).st_ino
    mount.down()
    records = [meta.cut_node(inos["node"]), meta.cut_edge(parent, "edge"), meta.cut_slice(inos["slice"])]
    mount.up()
    path = lambda name: os.path.join(folder, name)
    for name, call in (("node", "stat"), ("node", "read"), ("node", "unlink"), ("edge", "stat"), ("edge", "read"), ("edge", "unlink"), ("slice", "read")):
        found = attempt(call, path(name))
        case.check(f"{call} of the file with a truncated {name} is EIO", found != "EIO" and found)
    case.check("a file with a truncated slice still has its attributes", attempt("stat", path("slice")))
    for command in (["ls", folder], ["ls", "-l", folder]):
        listed = subprocess.run(command, capture_output=True, text=True, timeout=20)
        case.check(f"`{' '.join(command[:-1])}` shows every name", [name for name in names if name not in listed.stdout + listed.stderr] and listed)
    case.check("a listing has every name", set(os.listdir(folder)) != set(names) and os.listdir(folder))
    beside = [attempt("read", path("good")), attempt("write", path("new")), attempt("write", path("good")), attempt("unlink", path("better")), attempt("stat", mount.where)]
    case.check("everything beside them works", any(beside) and beside)
    log = mount.logged()
    for record in records:
        case.check(f"the log names {record}", f"corrupt record {record}:" not in log and log[-900:])
    whole = meta.setting()
    meta.set_setting(whole[: len(whole) // 2])
    cut = meta.setting()
    case.wait_until("the mount sees a truncated setting", 20, lambda: "corrupt record setting" in mount.logged())
    case.check("it goes on", attempt("read", path("good")) or attempt("write", path("newer")))
    for name, command in {"mount": ["mount", "-d", "--log", mount.log, meta.url, case.folder + "/other"], "status": ["status", meta.url], "fsck": ["fsck", meta.url],
                          "format": ["format", meta.url, case.name, "--bucket", case.folder + "/data"], "config": ["config", meta.url, "--trash-days", "3"]}.items():
        refused(case, f"{name} refuses a truncated setting", ["setting", "backup"], OURS, *command)
    case.check("nobody has written it anew", meta.setting() != cut and "another text")
    meta.set_setting(whole)
    mount.down()
    mount.panics()
    refused(case, "fsck names every truncated record", [*records, "3 records are damaged"], OURS, "fsck", meta.url)
    refused(case, "gc does not guess what a truncated slice referred to", [records[2], "fsck"], OURS, "gc", meta.url)


def main():
    results = Results()
    with Scratch() as folder:
        for name, engine in (("in-sqlite", InSqlite), ("in-redis", InRedis)):
            meta = None
            try:
                case = Case(name, results, folder)
                meta = engine(case.folder)
                records(case, meta)
            except Exception as failure:
                results.add(f"{name}: ran to its end", repr(failure))
                raise
            finally:
                if meta:
                    meta.stop()
    print(f"{results.passed} passed, {len(results.failed)} failed")
    return 1 if results.failed or not results.passed else 0


sys.exit(main())
