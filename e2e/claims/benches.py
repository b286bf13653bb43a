"""`bench` of either client on mounts of either, and `status --more`."""
import json, os, re
from compaction import fragments
from volume import ENGINES, OURS, PEER, run, write

SMALL = ("--big-file-size", "3M", "--small-file-size", "20K", "--small-file-count", "7", "--threads", "2")


# The kernel's caches are everybody's on the machine: one run shows that they are dropped.
SPARING = {"SKIP_DROP_CACHES": "true"}


def rows(text):
    """The words of a result without its numbers and the width of its columns."""
    text = "".join(line for line in text.splitlines(True) if "juicefs[" not in line)
    return re.sub(r"[-+ ]+", " ", re.sub(r"\d+\.?\d*", "N", text)).strip()


def document(text):
    """The JSON between lines of the log."""
    return json.JSONDecoder().raw_decode(text[text.index("{\n"):])[0]


def benched(volume):
    ours, theirs = volume.mount(OURS), volume.mount(PEER)
    beside = os.path.join(volume.folder, "beside")
    wanted = run(PEER, "bench", theirs, *SMALL, env=SPARING, check=True)[1]
    assert wanted.count("|") == 52 and "FUSE operation" in wanted and "CPU" in wanted, wanted
    for where in (ours, theirs):
        text = run(OURS, "bench", where, *SMALL, env=SPARING if where == theirs else None, check=True)[1]
        assert ("has been skipped" in text) == (where == theirs) and "Failed to clean" not in text, text
        assert rows(text) == rows(wanted), f"{text}\ninstead of {wanted}"
        assert "BigFileSize: 3.0 MiB, SmallFileSize: 20 KiB, SmallFileCount: 7, NumThreads: 2" in text, text
        counts = dict(re.findall(r"\| +(\w[\w ]+?) \| +([\d.]+) operations", text))
        assert int(counts["FUSE operation"]) > 100 and int(counts["Put object"]) >= 16 and int(counts["Update meta"]) >= 32, counts
    # Any directory will do, and one that is missing is made.
    few = ("--big-file-size", "0", "--small-file-size", "20K", "--small-file-count", "7")
    assert rows(run(OURS, "bench", f"{beside}/one", *few, env=SPARING, check=True)[1]) == rows(run(PEER, "bench", f"{beside}/two", *few, env=SPARING, check=True)[1])
    code, text = run(OURS, "--quiet", "bench", ours, *SMALL, "--json", env=SPARING)
    said = document(text)
    assert code == 0 and "has been skipped" in text and len(said["results"]) == 12 and said["bigFileBytes"] == 3 << 20 and said["mount"]["memoryMiB"] > 1, text
    assert all(row["value"] > 0 and row["cost"] > 0 for row in said["results"][:5]), said
    for words in (("--threads", "0"), ("--block-size", "0"), ("--big-file-size", "0", "--small-file-size", "0"), ("--big-file-size", "1Q")):
        code, text = run(OURS, "bench", ours, *words)
        assert code == 1 and "FATAL" in text, text
    readable = volume.mount(OURS, "--read-only")
    code, text = run(OURS, "bench", readable, *SMALL, env=SPARING)
    assert code == 1 and "Read-only" in text and "__juicefs_benchmark" in text, text
    assert not [name for where in (ours, f"{beside}/one") for name in os.listdir(where) if not name.startswith(".")], "nothing is left"
    volume.umount(readable), volume.umount(theirs), volume.umount(ours)


def more(volume):
    said = lambda who, *words: document(run(who, "status", volume.meta, *words, check=True)[1])
    both = lambda: (said(OURS, "--more"), said(PEER, "--more"))
    ours, theirs = both()
    assert ours == theirs and len(ours["Stat"]) == 4, "what there is none of is not shown"
    where = volume.mount(OURS)
    for number in range(3):
        write(f"{where}/f{number}", b"x" * (1000 + number))
    os.mkdir(f"{where}/d"), os.symlink("x", f"{where}/l")
    for name in ("f0", "f1", "l"):
        os.unlink(f"{where}/{name}")
    os.rmdir(f"{where}/d")
    fragments(f"{where}/g", 4)
    run(OURS, "compact", f"{where}/g", check=True)
    volume.umount(where)
    if volume.engine == "sqlite":
        volume.sql("INSERT INTO jfs_delfile (inode, length, expire) VALUES (900, 4321, 1700000000)"), volume.sql("INSERT INTO jfs_chunk_ref (chunkid, size, refs) VALUES (90000, 777, 0)")
    else:
        volume.redis("ZADD", "delfiles", "1700000000", "900:4321"), volume.redis("HSET", "sliceRef", "k90000_777", "-1")
    ours, theirs = both()
    assert ours == theirs and list(ours["Stat"]) == list(theirs["Stat"]), f"{ours['Stat']}\ninstead of {theirs['Stat']}"
    stat = ours["Stat"]
    assert len(stat) == 12 and (stat["TrashFileCount"], stat["TrashFileSize"]) == (4, 2001) and stat["TrashSliceCount"] == 4, stat
    assert (stat["PendingDeletedFileSize"], stat["PendingDeletedSliceSize"]) == (4321, 777), stat
    assert len(said(OURS)["Stat"]) == 4, "only when asked"


def claims(world):
    volume = world.volume("sqlite", "--trash-days", "0", store="file")
    yield "bench shows what the peer's does", lambda v=volume: benched(v)
    for engine in ENGINES:
        volume = world.volume(engine, "--trash-days", "1", store="file")
        yield f"{engine}: status --more counts what the peer's does", lambda v=volume: more(v)
