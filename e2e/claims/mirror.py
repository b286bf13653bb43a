"""A mirror follows its source by the change log while both clients write there: at rest it is equal, its mount shows the
same bytes a moment later and takes no change, and a follower that is killed goes on where its last batch ended."""
import json, os, random, signal, subprocess, threading, time
from volume import OURS, PEER, Volume, errno_of, read, run, until, write


class Mirror:
    def __init__(self, world, source, engine):
        # Borrows the folder and the database of a volume that is never made.
        self.source, self.at = source, Volume.__new__(Volume)
        world.used += 1
        own = os.path.join(world.folder, f"v{world.used}")
        os.mkdir(own)
        self.at.__dict__.update(world=world, folder=own, engine=engine, mounts=0, number=world.used, name=source.name)
        self.at.meta = f"sqlite3://{own}/meta.db" if engine == "sqlite" else world.redis.url(world.used)
        self.process = None

    def create(self):
        run(OURS, "config", self.source.meta, "--changelog", "--yes", check=True)
        run(OURS, "mirror", "create", self.source.meta, self.at.meta, "--name", f"near{self.at.number}", check=True)

    def back(self, source):
        """The other way round: `source`, which was the source, is the mirror now."""
        other = Mirror.__new__(Mirror)
        other.source, other.at, other.process = self.at, source, None
        return other

    def follow(self):
        self.log = os.path.join(self.at.folder, "follower.log")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([OURS, "mirror", "run", self.at.meta], stdout=log, stderr=log)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def status(self):
        r = subprocess.run([OURS, "mirror", "status", self.at.meta], capture_output=True, text=True, check=True)
        return json.loads(r.stdout)

    def caught_up(self):
        s = self.status()
        return s["State"] == "following" and s["VersionsBehind"] == 0

    def tail(self):
        return read(self.log).decode(errors="replace")[-800:]


def storm(seed, where, steps):
    """No second name for a symlink: the peer counts such ones wrong."""
    chance = random.Random(seed)
    for step in range(steps):
        one, two = (f"{where}/{chance.choice('abc')}/n{chance.randrange(8)}" for _ in range(2))
        try:
            chance.choice([lambda: write(one, os.urandom(chance.randrange(1, 20000)), offset=chance.randrange(9000)), lambda: os.mkdir(one), lambda: os.unlink(one), lambda: os.rmdir(one),
                           lambda: os.rename(one, two), lambda: os.path.islink(one) or os.link(one, two), lambda: os.truncate(one, chance.randrange(30000)), lambda: os.chmod(one, chance.randrange(0o700, 0o777)),
                           lambda: os.symlink("some/target", one)])()
        except OSError:
            pass  # somebody else was there first


def followed(world, source, engine):
    mirror = Mirror(world, source, engine)
    # Nothing is missed of what clients write that learn of the change log only now.
    wheres = [source.mount(binary, "--heartbeat", "2") for binary in (OURS, PEER)]
    mirror.create()
    for name in "abc":
        os.mkdir(f"{wheres[0]}/{name}")
    for number, where in enumerate(wheres):
        write(f"{where}/a/early{number}", b"e" * 1000)
    write(f"{wheres[0]}/a/before", b"b" * 100_000)
    code, text, where = mirror.at.try_mount(OURS)
    assert code and "still being copied" in text, text
    mirror.follow()
    try:
        until("the mirror follows", mirror.caught_up, 30)
        threads = [threading.Thread(target=storm, args=(n, where, 150)) for n, where in enumerate(wheres * 2)]
        [t.start() for t in threads]
        while any(t.is_alive() for t in threads):
            time.sleep(random.uniform(0.2, 1))
            mirror.kill(), mirror.follow()
        [t.join() for t in threads]
        until(f"the mirror has caught up: {mirror.tail()}", mirror.caught_up, 30)
        run(OURS, "mirror", "check", mirror.at.meta, check=True)
        code, text, near = mirror.at.try_mount(OURS, "--attr-cache", "0", "--entry-cache", "0", "--dir-entry-cache", "0")
        assert code == 0 and "is a mirror of" in text, text
        same_bytes(wheres[0], near)
        lags(wheres, near)
        refused(mirror, near)
        mirror.at.umount(near)
        run(OURS, "mirror", "drop", mirror.at.meta, check=True)
        assert mirror.process.wait(20) == 0, mirror.tail()
    finally:
        if mirror.process.poll() is None:
            mirror.kill()
    for where in wheres:
        source.umount(where)
    source.judge(peer_stormed=True)


def same_bytes(there, here):
    names = {}
    for top in (there, here):
        names[top] = {}
        for at, directories, files in os.walk(top):
            for name in files:
                path = os.path.join(at, name)
                if name not in (".stats", ".config", ".accesslog", ".control") and not name.startswith(".juicefs"):
                    names[top][os.path.relpath(path, top)] = os.readlink(path) if os.path.islink(path) else read(path)
    assert names[there] == names[here], f"{set(names[there]) ^ set(names[here])}"


def lags(wheres, near):
    lags = []
    for number in range(30):
        write(f"{wheres[number % 2]}/lag{number}", b"%d" % number)
        begun = time.monotonic()
        while read(f"{near}/lag{number}") != b"%d" % number:
            assert time.monotonic() - begun < 10, "it never comes"
            time.sleep(0.002)
        lags.append(time.monotonic() - begun)
    lags.sort()
    print(f"      lag: median {lags[15] * 1e3:.0f} ms, most {lags[-1] * 1e3:.0f} ms", flush=True)


def refused(mirror, near):
    for outcome in (errno_of(write, f"{near}/new", b""), errno_of(os.unlink, f"{near}/a/before"), errno_of(os.mkdir, f"{near}/e"), errno_of(os.rename, f"{near}/a", f"{near}/z"),
                    errno_of(os.chmod, f"{near}/a", 0o700), errno_of(os.symlink, "t", f"{near}/s"), errno_of(os.truncate, f"{near}/lag1", 0)):
        assert outcome == "EROFS", outcome
    for words in (("config", mirror.at.meta, "--trash-days", "2", "--yes"), ("gc", mirror.at.meta)):
        code, text = run(OURS, *words)
        assert code and "is a mirror of" in text, text
    code, text = run(PEER, "mount", "-d", "--no-usage-report", mirror.at.meta, f"{mirror.at.folder}/m1")
    assert code and "version" in text, f"a stock client mounts a mirror: {text}"
    assert not mirror.at.sessions(), "a mirror's mount writes no session"


def rewritten(world, volume):
    """A dump is loaded over the source, and its log comes to the mirror's version again with other lines."""
    where = volume.mount(OURS)
    for name in "abc":
        os.mkdir(f"{where}/{name}")
    storm(1, where, 60)
    volume.umount(where)
    document = f"{volume.folder}/dump.json"
    run(OURS, "dump", volume.meta, document, check=True)
    mirror = Mirror(world, volume, "redis")
    mirror.create()
    where = volume.mount(OURS)
    storm(2, where, 60)
    mirror.follow()
    try:
        until(f"the mirror follows: {mirror.tail()}", mirror.caught_up, 30)
        mirror.kill()
        before = mirror.status()["Version"]
        volume.umount(where)
        for suffix in ("", "-wal", "-shm"):
            if os.path.exists(f"{volume.folder}/meta.db{suffix}"):
                os.unlink(f"{volume.folder}/meta.db{suffix}")
        run(OURS, "load", volume.meta, document, check=True)
        run(OURS, "config", volume.meta, "--changelog", "--yes", check=True)
        where = volume.mount(OURS)
        number = 0
        while mirror.status()["SourceVersion"] <= before + 20:
            write(f"{where}/new{number}", b"another history", sync=False)
            number += 1
        mirror.follow()
        until(f"the mirror has caught up: {mirror.tail()}", mirror.caught_up, 30)
        run(OURS, "mirror", "check", mirror.at.meta, check=True)
        assert "history is another one" in mirror.tail(), mirror.tail()
        volume.umount(where)
    finally:
        mirror.kill()


def silent(world, volume):
    """The change log is off for a while: everything is compared when it is on again."""
    mirror = Mirror(world, volume, "sqlite")
    mirror.create()
    where = volume.mount(OURS, "--heartbeat", "1")
    write(f"{where}/told", b"told")
    mirror.follow()
    try:
        until(f"the mirror follows: {mirror.tail()}", mirror.caught_up, 30)
        run(OURS, "config", volume.meta, "--changelog=false", "--yes", check=True)
        until("the follower says so", lambda: "keeps no change log" in mirror.tail())
        version = mirror.status()["SourceVersion"]

        def untold():
            write(f"{where}/untold", os.urandom(100))
            was, untold.last = untold.last, mirror.status()["SourceVersion"]
            return untold.last == was
        untold.last = version - 1
        until("a write is not told", untold)
        run(OURS, "config", volume.meta, "--changelog", "--yes", check=True)
        until(f"the mirror has caught up: {mirror.tail()}", lambda: "copying the whole volume" in mirror.tail() and mirror.caught_up(), 40)
        run(OURS, "mirror", "check", mirror.at.meta, check=True)
        volume.umount(where)
    finally:
        mirror.kill()


def claims(world):
    yield "a mirror notices another history of its source", lambda v=world.volume("sqlite", store="file"): rewritten(world, v)
    yield "what was written while the change log was off is found", lambda v=world.volume("sqlite", store="file"): silent(world, v)
    for source, engine in (("sqlite", "sqlite"), ("redis", "sqlite"), ("redis", "redis")):
        volume = world.volume(source, store="file")
        yield f"{source} to {engine}: a mirror follows, also killed", lambda v=volume, e=engine: followed(world, v, e)
