"""Interoperation with the peer on one volume: we write and it reads, it writes and we read, both at once; then both
`fsck`s, both `gc` dry runs and the audit. Ends in "N passed, N failed"."""
import collections, itertools, os, signal, sys
import known, tree, volume as volumes
from servers import Etcd, MariaDb, Postgres, Redis, S3, Scratch
from together import both_at_once, wild
from volume import OURS, PEER, Volume, check

# Every compression, prefixed keys and another block size, each way.
VOLUMES = {
    "sqlite": [(0, OURS, {"--compress": "none"}), (1, PEER, {"--compress": "lz4", "--block-size": "1024"})],
    "postgres": [(0, OURS, {"--compress": "lz4"}), (1, PEER, {"--compress": "none", "--block-size": "1024"})],
    "mysql": [(1, OURS, {"--compress": "lz4"}), (0, PEER, {"--compress": "none", "--block-size": "1024"})],
    "etcd": [(0, OURS, {"--compress": "none"}), (1, PEER, {"--compress": "lz4", "--block-size": "1024"})],
    "redis": [(0, PEER, {"--compress": "zstd", "--hash-prefix": "true"}), (1, OURS, {"--compress": "lz4", "--hash-prefix": "true", "--block-size": "256"})],
}
number = itertools.count()


def one_writes_the_other_reads(volume, name, writer, reader, truth):
    where = volume.mount(writer)
    top = os.path.join(where, f"by-{name}")
    os.mkdir(top)
    tree.make(top)
    volume.umount(where)
    where = volume.mount(writer)
    expected = tree.look(os.path.join(where, f"by-{name}"))
    volume.umount(where)
    check(f"{name} keeps what was written", tree.differences(truth, tree.essence(expected))[:5])
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


def scenario(name, volume, seconds, seed, truth):
    one_writes_the_other_reads(volume, f"{name}-ours", OURS, PEER, truth)
    volume.judge(f"{name} after ours")
    one_writes_the_other_reads(volume, f"{name}-peer", PEER, OURS, truth)
    volume.judge(f"{name} after the peer")
    if seconds:
        both_at_once(volume, name, seconds, seed)
        volume.judge(f"{name} at the end", lambda finding: known.is_beyond_repair(finding) or volume.is_beyond_repair(finding))


def made(folder, engine, servers, trash_days, formatter, options):
    """A fresh volume; what it was asked to be is what it is."""
    n = next(number)
    own = os.path.join(folder, f"{engine}{n}")
    os.mkdir(own)
    store = ["--storage", "file", "--bucket", own + "/data"]
    meta = f"sqlite3://{own}/meta.db"
    if engine == "redis":
        redis, s3 = servers
        store = ["--storage", "s3", "--bucket", s3.bucket(f"bucket{n}"), "--access-key", s3.access_key, "--secret-key", s3.secret_key]
        meta = redis.url(n)
    if engine in ("postgres", "mysql", "etcd"):
        meta = servers[0].database()
    flags = [f"{flag}={value}" for flag, value in options.items()]
    volume = Volume(own, meta, formatter, "--trash-days", str(trash_days), *flags, *store)
    if engine == "postgres":
        # There the peer's repair inserts what is there already, and tries 50 times in a transaction that has failed.
        volume.before_repair = lambda: servers[0].sql("DELETE FROM jfs_dir_stats", meta.split("/")[-1].split("?")[0])
    volume.is_miscounted = engine in known.MISCOUNTED
    kept = {"TrashDays": 0, "HashPrefix": False, **volume.setting}
    asked = {"TrashDays": trash_days, "Compression": options["--compress"], "BlockSize": int(options.get("--block-size", 4096)), "HashPrefix": "--hash-prefix" in options}
    check(f"{engine} trash={trash_days} {' '.join(flags)}: formatted as asked", [f"{key}: {kept[key]}, not {value}" for key, value in asked.items() if kept[key] != value])
    return volume


def alone(folder, engine, servers):
    """The list of what the peer alone breaks is true, and we do not break it."""
    if engine == "sqlite":
        meta = lambda own: f"sqlite3://{own}/meta.db"
        known.show(folder, "sqlite trash=0", meta, 0, [(known.left, "dir-stat: statistics are left"), (known.symlink, "dir-stat: "), (known.unlinked, "dir-stat: ")])
        known.show(folder, "sqlite trash=1", meta, 1, [(known.taken, "errno: Input/output error")])
    elif engine == "redis":
        known.show(folder, "redis trash=1", lambda own: servers[0].url(next(number)), 1, [(known.taken, "nlink: ")])


def control(folder, engine, servers, seconds, seed):
    """Two peers in a wild storm: what they break without us. Two of ours: nothing."""
    for trash_days, formatter, options in VOLUMES[engine]:
        for who, kinds in (("two peers", (PEER, PEER)), ("two of ours", (OURS, OURS))):
            volume = made(folder, engine, servers, trash_days, formatter, options)
            found = collections.Counter(finding.split(":")[0] for finding in wild(volume, f"{engine} trash={trash_days}, {who}", seconds, seed, kinds))
            print(f"      {who}: {dict(found)}")
            if kinds == (OURS, OURS):
                check(f"{engine} trash={trash_days}, {who}: nothing to excuse", dict(found))


def main(wanted):
    seconds, seed = float(os.environ.get("STORM_SECONDS", "8")), int(os.environ.get("SEED", "0"))
    with Scratch() as folder:
        reference = os.path.join(folder, "reference")
        os.mkdir(reference)
        tree.make(reference, longest_target=1000)  # some local file systems take no more
        truth = tree.essence(tree.look(reference))
        for engine in [engine for engine in VOLUMES if engine in wanted]:
            servers = {"redis": lambda: (Redis(folder, None, "--appendonly", "no"), S3(folder)), "postgres": lambda: (Postgres(folder),), "mysql": lambda: (MariaDb(folder),), "etcd": lambda: (Etcd(folder),), "sqlite": tuple}[engine]()
            try:
                if "control" in wanted:
                    control(folder, engine, servers, seconds, seed)
                    continue
                for trash_days, formatter, options in VOLUMES[engine]:
                    scenario(f"{engine} trash={trash_days}", made(folder, engine, servers, trash_days, formatter, options), seconds, seed, truth)
                alone(folder, engine, servers)
            finally:
                for server in servers:
                    server.stop(signal.SIGKILL)
    print(f"{volumes.passed} passed, {len(volumes.failed)} failed")
    return 1 if volumes.failed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # whoever ends us leaves no mounts and servers
    arguments = sys.argv[1:]
    sys.exit(main(arguments if {*arguments} & {*VOLUMES} else [*arguments, *VOLUMES]))
