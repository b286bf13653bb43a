"""A volume of a claim's own on either engine, its mounts by either client, and its raw records."""
import contextlib, errno, json, os, re, sqlite3, subprocess, sys, time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "peer"))
import judges
from servers import Etcd, MariaDb, Postgres, Redis, S3, Scratch  # noqa: F401

OURS, PEER = os.environ["JUICEFS"], os.environ["PEER"]
ENGINES = ("sqlite", "redis")
# Database servers, for claims that make a difference there; started when a claim asks for one.
SERVERS = {"postgres": Postgres, "mysql": MariaDb, "etcd": Etcd}


def run(*command, env=None, check=False, seconds=120):
    r = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(env or {})}, timeout=seconds, stdin=subprocess.DEVNULL)
    text = r.stdout + r.stderr
    assert not check or r.returncode == 0, f"{' '.join(command)}: {text[-800:]}"
    return r.returncode, text


def until(what, condition, seconds=20):
    """Polls until `condition` is true; returns how long it took."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds, f"never happened: {what}"
        time.sleep(0.05)
    return time.monotonic() - begun


def errno_of(call, *arguments, **named):
    """The errno's name that a call fails with; `ok` if it does not."""
    try:
        call(*arguments, **named)
        return "ok"
    except OSError as error:
        return errno.errorcode[error.errno]


class World:
    """The servers that all claims of a run share; each volume has a database and a bucket of its own."""

    def __init__(self, folder):
        self.folder, self.redis, self.s3, self.used, self.others, self.databases = folder, Redis(folder, None, "--databases", "400"), S3(folder), 0, [], {}

    def another(self):
        """Servers for a claim that disturbs them."""
        folder = os.path.join(self.folder, f"world{len(self.others)}")
        os.mkdir(folder)
        self.others.append(World(folder))
        return self.others[-1]

    def database(self, engine):
        """The server of that name; made by the main thread."""
        if engine not in self.databases:
            self.databases[engine] = SERVERS[engine](self.folder)
        return self.databases[engine]

    def volume(self, engine, *options, formatter=PEER, store="", bucket=""):
        self.used += 1  # claims run in threads: volumes are made by the main one
        own = os.path.join(self.folder, f"v{self.used}")
        os.mkdir(own)
        return Volume(self, own, engine, self.used, formatter, store or ("s3" if engine == "redis" else "file"), options, bucket)

    def stop(self):
        """Mounts that failed claims left go first, as long as their servers answer."""
        for line in reversed(read("/proc/self/mountinfo").decode().splitlines()):
            where = line.split()[4]
            if where.startswith(self.folder) and subprocess.run(["umount", where], capture_output=True).returncode:
                subprocess.run(["umount", "-l", where], capture_output=True)
        for other in self.others:
            other.stop()
        for server in (self.redis, self.s3, *self.databases.values()):
            server.stop()


class Volume:
    def __init__(self, world, folder, engine, number, formatter, store, options, bucket):
        self.world, self.folder, self.engine, self.mounts, self.number, self.name = world, folder, engine, 0, number, f"vol{number}"
        self.meta = f"sqlite3://{folder}/meta.db" if engine == "sqlite" else world.redis.url(number) if engine == "redis" else world.database(engine).database(self.name)
        s3 = world.s3
        self.store = ["--storage", "file", "--bucket", folder + "/data" + bucket] if store == "file" else [
            "--storage", "s3", "--bucket", s3.bucket("claims" + bucket), "--access-key", s3.access_key, "--secret-key", s3.secret_key]
        run(formatter, "format", *self.store, *options, self.meta, self.name, check=True)

    def try_mount(self, binary, *options, cache=""):
        """Exit code, what was said, mount point."""
        self.mounts += 1
        where = os.path.join(self.folder, f"m{self.mounts}")
        os.mkdir(where)
        quiet = ["--no-usage-report", "--backup-meta", "0"]
        if binary == PEER:
            quiet += ["--no-agent", "--metrics", "127.0.0.1:0"]
        code, text = run(binary, "mount", "-d", *quiet, "--log", f"{where}.log", "--cache-dir", cache or f"{where}.cache", *options, self.meta, where)
        return code, text, where

    def mount(self, binary, *options, cache=""):
        code, text, where = self.try_mount(binary, *options, cache=cache)
        assert code == 0 and os.path.ismount(where), text
        return where

    def umount(self, where):
        server = self.server(where)
        # A descriptor of a process that has just ended may still be on its way out.
        until(f"{where} is unmounted", lambda: run("umount", where)[0] == 0)
        until(f"the process of {where} ends", lambda: not os.path.exists(f"/proc/{server}"), 30)

    def server(self, where):
        """The process that serves a mount."""
        until(f"{where} says who serves it", lambda: read(f"{where}/.config"))
        return json.loads(read(f"{where}/.config"))["Pid"]

    def log(self, where):
        return read(f"{where}.log").decode(errors="replace")

    def objects(self):
        top = os.path.join(self.folder, "data", self.name, "chunks")
        return sorted(os.path.join(at, name) for at, _, names in os.walk(top) for name in names)

    def redis(self, *command, data=None):
        """`data` is the last argument, as it is."""
        last = [] if data is None else ["-x"]
        r = subprocess.run(["redis-cli", "-p", str(self.world.redis.port), "-n", str(self.number), *last, *command], input=data, capture_output=True, check=True)
        return r.stdout

    def sql(self, query):
        with contextlib.closing(sqlite3.connect(f"file:{self.folder}/meta.db?mode=rw", uri=True, timeout=20)) as database, database:
            database.text_factory = lambda raw: raw if b"\0" in raw else raw.decode(errors="surrogateescape")
            return database.execute(query).fetchall()

    def edit_setting(self, change):
        """Changes the stored setting by hand."""
        if self.engine == "sqlite":
            setting = json.loads(self.sql("SELECT value FROM jfs_setting WHERE name = 'format'")[0][0])
        else:
            setting = json.loads(self.redis("GET", "setting"))
        change(setting)
        text = json.dumps(setting, indent=0)
        if self.engine == "sqlite":
            self.sql("UPDATE jfs_setting SET value = '" + text.replace("'", "''") + "' WHERE name = 'format'")
        else:
            self.redis("SET", "setting", text)

    def sessions(self):
        """Session numbers that are registered."""
        if self.engine == "sqlite":
            return {row[0] for row in self.sql("SELECT sid FROM jfs_session2")}
        return {int(sid) for sid in self.redis("ZRANGE", "allSessions", "0", "-1").split()}

    def judge(self, peer_stormed=False):
        """The peer's fsck, ours and the audit. Where a peer renamed and linked while another client did, its statistics
        of directories are off also among peers alone (`restarted`, `links` of e2e/peer/known.py): it counts them again first."""
        run(PEER, "fsck", self.meta, check=True)
        if peer_stormed:
            run(PEER, "fsck", self.meta, "--path", "/", "--recursive", "--repair", "--sync-dir-stat", check=True)
        code, text = judges.fsck_of_the_tree(run, PEER, self.meta)
        assert code == 0 and "ERROR" not in text and "nlink" not in re.findall(r"<WARNING>: (\w+)", text), text[-1500:]
        run(OURS, "fsck", self.meta, check=True)
        code, text = run(*os.environ["AUDIT"].split(), self.meta)
        assert code == 0 or peer_stormed and all(map(judges.is_excused, judges.findings(code, text))), text[-800:]


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def write(path, data, flags=os.O_CREAT | os.O_RDWR, offset=0, sync=True):
    fd = os.open(path, flags, 0o644)
    try:
        os.pwrite(fd, data, offset)
        if sync:
            os.fsync(fd)
    finally:
        os.close(fd)
