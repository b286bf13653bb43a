"""A second bucket: writes go to the near one and are copied, reads fall back, deletions reach both, and `heal` makes both
what metadata says. The peer knows the first bucket only."""
import contextlib, json, os, shutil, signal
from volume import OURS, PEER, read, run, until, write

FAST = ("--heartbeat", "1")
BODY = os.urandom(1 << 20)
NOW = {"JFS_GC_SKIPPEDTIME": "0"}


def names(volume, which):
    """Keys below `chunks/` in a bucket that is a folder; with their sizes."""
    top = os.path.join(volume.folder, which, volume.name)
    found = {}
    for at, _, files in os.walk(os.path.join(top, "chunks")):
        for name in files:
            path = os.path.join(at, name)
            with contextlib.suppress(FileNotFoundError):
                found[os.path.relpath(path, top)] = os.path.getsize(path)
    return found


def same(volume):
    """Both buckets hold the same blocks, byte for byte."""
    first, second = names(volume, "data"), names(volume, "second")
    return first and first == second and all(
        read(os.path.join(volume.folder, "data", volume.name, key)) == read(os.path.join(volume.folder, "second", volume.name, key)) for key in first)


def enable(volume, *more):
    run(OURS, "config", volume.meta, "--storage2", "file", "--bucket2", volume.folder + "/second", *more, check=True)


def heal(volume, env=NOW):
    code, text = run(OURS, "heal", "--json", volume.meta, env=env)
    assert code == 0, text
    return json.JSONDecoder().raw_decode(text[text.index("{"):])[0]


def copies(volume):
    """A running mount takes the second bucket over, then copies; a deletion reaches both; a peer reads along."""
    ours = volume.mount(OURS, *FAST)
    write(f"{ours}/before", BODY)
    enable(volume)
    until("the mount knows the second bucket", lambda: "from now on it is" in volume.log(ours))
    write(f"{ours}/after", BODY)
    until("the block is in both", lambda: len(names(volume, "second")) == 1)
    report = heal(volume)
    assert report["missingSecond"]["count"] == 1 and report["copied"]["count"] == 1 and not report["lost"], report
    assert same(volume)
    theirs = volume.mount(PEER)
    assert read(f"{theirs}/after") == read(f"{theirs}/before") == BODY
    status = run(OURS, "status", volume.meta, check=True)[1]
    assert '"Bucket2"' in status, status
    volume.umount(theirs)
    volume.umount(ours)
    run(PEER, "config", volume.meta, "--trash-days", "0", "--yes", check=True)
    ours = volume.mount(OURS, *FAST)
    os.unlink(f"{ours}/after")
    until("gone from both", lambda: len(names(volume, "data")) == len(names(volume, "second")) == 1)
    volume.umount(ours)
    volume.judge()


def falls_back(volume):
    """Of two buckets either may lose a block; in neither it is an error, not zeros."""
    enable(volume)
    ours = volume.mount(OURS, *FAST)
    write(f"{ours}/file", BODY)
    until("copied", lambda: same(volume))
    volume.umount(ours)
    for lost in ("data", "second"):
        for key in names(volume, lost):
            os.rename(os.path.join(volume.folder, lost, volume.name, key), os.path.join(volume.folder, "kept"))
            for flip in ((), ("--flip",)):
                where = volume.mount(OURS, *FAST, *flip)
                assert read(f"{where}/file") == BODY, f"{lost} lost it, {flip}"
                volume.umount(where)
            os.rename(os.path.join(volume.folder, "kept"), os.path.join(volume.folder, lost, volume.name, key))
    assert same(volume)


def flipped(volume):
    """What a flipped client has just closed, a stock client reads: it is in the first bucket."""
    enable(volume)
    ours, theirs = volume.mount(OURS, "--flip"), volume.mount(PEER)
    for n in range(20):
        body = os.urandom(100_000 + n)
        write(f"{ours}/f{n}", body)
        assert read(f"{theirs}/f{n}") == body, n
    assert same(volume)
    volume.umount(ours)
    volume.umount(theirs)
    volume.judge()


def outlives_a_kill(volume):
    """The far bucket is away, the process is killed: the journal in the cache directory pays later."""
    enable(volume)
    ours = volume.mount(OURS, *FAST, cache=volume.folder + "/cache")
    second = os.path.join(volume.folder, "second", volume.name)
    shutil.rmtree(second)
    write(second, b"in the way")
    for n in range(5):
        write(f"{ours}/f{n}", BODY)
    os.kill(volume.server(ours), signal.SIGKILL)
    run("umount", "-l", ours)
    os.unlink(second)
    ours = volume.mount(OURS, *FAST, cache=volume.folder + "/cache")
    until("the copies of the killed process are made", lambda: same(volume) and len(names(volume, "second")) == 5)
    volume.umount(ours)


def heals(volume):
    """Missing, cut, dead and revived blocks on both sides: live ones end on both, dead ones on neither."""
    run(OURS, "config", volume.meta, "--trash-days", "0", "--yes", check=True)
    enable(volume)
    ours = volume.mount(OURS, *FAST)
    for n in range(12):
        write(f"{ours}/f{n}", os.urandom(50_000 + n))
    until("copied", lambda: same(volume) and len(names(volume, "second")) == 12)
    live = sorted(names(volume, "data"))
    at = lambda which, key: os.path.join(volume.folder, which, volume.name, key)
    os.unlink(at("data", live[0])), os.unlink(at("second", live[1]))
    os.truncate(at("data", live[2]), 10), os.truncate(at("second", live[3]), 10)
    for which in ("data", "second"):
        write(at(which, "chunks/0/0/999999_0_5"), b"extra")
    # A block whose file goes: only one side forgets it, as after a stock client's deletion.
    body = read(at("data", live[4]))
    gone = next(n for n in range(12) if read(f"{ours}/f{n}") == body)
    os.unlink(f"{ours}/f{gone}")
    until("deleted", lambda: live[4] not in names(volume, "data") and live[4] not in names(volume, "second"))
    write(at("second", live[4]), body)
    young = heal(volume, env={})
    assert young["skipped"]["count"] == 3 and not young["deleted"]["count"], young
    report = heal(volume)
    assert report["live"]["count"] == 11 and report["lost"] == 0 and report["failed"] == 0, report
    assert report["deleted"]["count"] == 3, report
    assert same(volume) and sorted(names(volume, "data")) == [key for key in live if key != live[4]]
    again = heal(volume)
    assert again["copied"]["count"] == again["deleted"]["count"] == 0, again
    volume.umount(ours)
    volume.judge()


def moves(volume):
    """To another bucket while somebody writes: nothing is lost, the old one may go."""
    ours = volume.mount(OURS, *FAST)
    written = {}

    def files(step):
        for n in range(4):
            written[f"{step}{n}"] = os.urandom(30_000)
            write(f"{ours}/{step}{n}", written[f"{step}{n}"])

    def settled(count):
        until("the mount has followed", lambda: volume.log(ours).count("from now on it is") >= count)

    files("before")
    enable(volume)
    files("meanwhile")
    settled(1)
    files("copied")
    heal(volume)
    code, text = run(OURS, "config", volume.meta, "--flip")
    assert code == 0, text
    files("flipping")
    settled(2)
    files("flipped")
    code, text = run(OURS, "config", volume.meta, "--replication", "off")
    assert code and "comes first" in text, text
    until("nothing is left to copy", lambda: heal(volume)["copied"]["count"] == 0)
    assert same(volume)
    run(OURS, "config", volume.meta, "--bucket", volume.folder + "/second", "--yes", check=True)
    files("swapping")
    settled(3)
    run(OURS, "config", volume.meta, "--replication", "off", check=True)
    settled(4)
    files("moved")
    volume.umount(ours)
    shutil.rmtree(os.path.join(volume.folder, "data"))
    for binary in (OURS, PEER):
        where = volume.mount(binary)
        for name, body in written.items():
            assert read(f"{where}/{name}") == body, (binary, name)
        volume.umount(where)
    volume.judge()


def refused(volume):
    for options, word in (
        (("--flip",), "no second bucket"), (("--replication", "any", "--bucket2", "/x"), "not supported yet"),
        (("--replication", "maybe", "--bucket2", "/x"), "not known"), (("--storage2", "file", "--bucket2", volume.folder + "/data"), "first bucket"),
    ):
        code, text = run(OURS, "config", volume.meta, *options)
        assert code and word in text, (options, text)
    code, text = run(OURS, "heal", volume.meta)
    assert code and "one bucket" in text, text
    enable(volume, "--access-key2", "key", "--secret-key2", "canary-secret")
    for command in ("status", "config"):
        assert "canary-secret" not in run(OURS, command, volume.meta, check=True)[1]
    raw = str(volume.sql("SELECT value FROM jfs_rs_record")) if volume.engine == "sqlite" else str(volume.redis("HGETALL", "Xrs"))
    assert "bucket2" in raw and "canary-secret" not in raw, raw
    run(PEER, "config", volume.meta, "--trash-days", "2", "--yes", check=True)
    assert '"Bucket2"' in run(OURS, "status", volume.meta, check=True)[1], "the peer's config left it alone"
    run(OURS, "config", volume.meta, "--replication", "off", check=True)
    assert '"Bucket2"' not in run(OURS, "status", volume.meta, check=True)[1]


def claims(world):
    for engine in ("sqlite", "redis"):
        for claim in (copies, falls_back, flipped, outlives_a_kill, heals, moves, refused):
            volume = world.volume(engine, store="file")
            yield f"replication {claim.__name__} on {engine}", lambda claim=claim, volume=volume: claim(volume)
