"""Redis behind sentinels: the master dies under load, its replica takes over, both clients go on."""
import errno, os, signal, subprocess, threading, time
from volume import OURS, PEER, Redis, Volume, read, until, write
from servers import free_ports


class Watched:
    """A master, its replica and one sentinel whose word is enough. Looks like one server to a volume."""

    def __init__(self, folder):
        self.folders = [os.path.join(folder, f"failover-{name}") for name in ("master", "replica", "sentinel")]
        for own in self.folders:
            os.mkdir(own)
        self.master = Redis(self.folders[0], None, "--repl-diskless-sync-delay", "0")
        self.replica = Redis(self.folders[1], None, "--replicaof", f"127.0.0.1 {self.master.port}")
        self.port = free_ports(1)[0]
        config = os.path.join(self.folders[2], "sentinel.conf")
        with open(config, "w") as f:
            f.write(f"port {self.port}\nbind 127.0.0.1\ndir {self.folders[2]}\nsentinel monitor near 127.0.0.1 {self.master.port} 1\n"
                    "sentinel down-after-milliseconds near 1000\nsentinel failover-timeout near 5000\n")
        with open(os.path.join(self.folders[2], "log"), "ab") as log:
            self.sentinel = subprocess.Popen(["redis-server", config, "--sentinel"], stdout=log, stderr=log)
        until("the sentinel knows the replica", lambda: str(self.replica.port) in self.ask("sentinel", "replicas", "near"), 30)

    def ask(self, *words):
        return subprocess.run(["redis-cli", "-p", str(self.port), *words], capture_output=True, text=True).stdout

    def url(self, db):
        return f"redis://near,127.0.0.1:{self.port}/{db}"

    def stop(self):
        self.sentinel.kill()
        self.sentinel.wait()
        for server in (self.master, self.replica):
            server.stop()


class Place:
    """What a volume asks of a world."""

    def __init__(self, world):
        self.folder, self.s3 = os.path.join(world.folder, "failover"), world.s3
        os.mkdir(self.folder)
        self.redis = Watched(self.folder)


def survived(world):
    place = Place(world)
    try:
        volume = Volume(place, place.folder, "redis", 1, OURS, "file", (), "")
        mine, theirs = volume.mount(OURS), volume.mount(PEER)
        ended, failed, done = threading.Event(), [], []

        def writer(number):
            count = 0
            while not ended.is_set():
                name, count = f"w{number}-{count}", count + 1
                try:
                    write(f"{mine}/{name}", name.encode() * 500)
                except OSError as error:
                    failed.append((name, error))
                else:
                    done.append((time.monotonic(), name))

        threads = [threading.Thread(target=writer, args=(number,)) for number in range(3)]
        [t.start() for t in threads]
        try:
            until("files are written", lambda: len(done) > 100)
            killed = time.monotonic()
            place.redis.master.stop(signal.SIGKILL)
            took = until("files are written again", lambda: done[-1][0] > killed + 1, 40)
            until("and many of them", lambda: sum(at > killed + 1 for at, _ in done) > 100)
        finally:
            ended.set(), [t.join() for t in threads]
        print(f"      the new master serves {took:.1f} s after the former died, {len(done)} files, {len(failed)} failed calls", flush=True)
        # What the master had answered and the replica had not received is lost: the file that each writer was at.
        assert len(failed) <= 2 * len(threads) and all(error.errno in (errno.ENOENT, errno.ESTALE) for _, error in failed), failed[:8]
        assert place.redis.ask("sentinel", "get-master-addr-by-name", "near").split()[1] == str(place.redis.replica.port)

        def peer_writes():
            try:
                return write(f"{theirs}/peer", b"on the new master") is None
            except OSError:
                return False
        until("the peer writes, too", peer_writes, 40)
        for where in (mine, theirs):
            wrong = [(at - killed, name) for at, name in done if read(f"{where}/{name}") != name.encode() * 500]
            assert len(wrong) <= 2 * len(threads) and all(-0.5 < after < 0.1 for after, _ in wrong), f"{where}: {len(wrong)} of {len(done)} are not what was written, {wrong[:5]}"
        assert read(f"{mine}/peer") == b"on the new master"
        for where in (mine, theirs):
            volume.umount(where)
        volume.meta = place.redis.replica.url(1)
        volume.judge()
    finally:
        place.redis.stop()


def claims(world):
    yield "redis: a failover by sentinels is survived by both clients", lambda: survived(world)
