"""Chunks whose lists have grown are compacted by either client, at once and on the same files, and no byte is lost;
what was compacted away is kept as the peer keeps it and goes with either client's jobs; the tools agree."""
import json, os, random, re, subprocess, threading
from volume import ENGINES, OURS, PEER, read, run, until, write

NO_AGE = {"JFS_GC_SKIPPEDTIME": "0"}
# Slice numbers are handed out by so many: who writes first has the first ones.
OUR_SLICES = 4096


def fragments(path, count, size=1000, seed=0):
    """A file of so many records, one behind the other."""
    body = random.Random(seed).randbytes(count * size)
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    for at in range(0, len(body), size):
        os.pwrite(fd, body[at:at + size], at)
        os.fsync(fd)
    os.close(fd)
    return body


def records(volume, ino):
    """Raw records of the file's first chunk, 24 bytes each."""
    if volume.engine == "sqlite":
        found = volume.sql(f"SELECT hex(slices) FROM jfs_chunk WHERE inode = {ino} AND indx = 0")
        raw = bytes.fromhex(found[0][0]) if found else b""
    else:
        script = """local out = '' for _, v in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do out = out .. v end
            return (out:gsub('.', function(c) return string.format('%02x', c:byte()) end))"""
        raw = bytes.fromhex(volume.redis("--raw", "EVAL", script, "1", f"c{ino}_0").decode().strip())
    return [raw[at:at + 24] for at in range(0, len(raw), 24)]


def delayed(volume):
    """Pairs of slice and size that are kept for the trash."""
    if volume.engine == "sqlite":
        rows = [bytes.fromhex(row[0]) for row in volume.sql("SELECT hex(slices) FROM jfs_delslices ORDER BY chunkid")]
    else:
        script = """local out = {} for _, v in ipairs(redis.call('HVALS', 'delSlices')) do
            out[#out + 1] = (v:gsub('.', function(c) return string.format('%02x', c:byte()) end)) end return out"""
        rows = [bytes.fromhex(row) for row in volume.redis("--raw", "EVAL", script, "0").decode().split()]
    return sorted((int.from_bytes(row[at:at + 8]), int.from_bytes(row[at + 8:at + 12])) for row in rows for at in range(0, len(row), 12))


def leaked(volume):
    """What each gc calls leaked, of whatever age."""
    found = []
    for binary in (PEER, OURS):
        code, text = run(binary, "gc", volume.meta, env=NO_AGE)
        assert code == 0, text
        found.append(int(re.search(r"(\d+) leaked", text)[1]))
    return found


def tools_agree(volume):
    volume.judge()
    until("nothing is leaked", lambda: leaked(volume) == [0, 0], 30)


def the_same_records(volume, other, trash_days):
    """A chunk that we compact and one that the peer compacts."""
    kept = []
    for v, binary in ((volume, OURS), (other, PEER)):
        where = v.mount(binary)
        body = fragments(f"{where}/f", 8)
        ino = os.stat(f"{where}/f").st_ino
        v.umount(where)
        where = v.mount(binary)  # reading has it compacted
        assert read(f"{where}/f") == body
        until("the list is short", lambda: len(records(v, ino)) == 1)
        assert read(f"{where}/f") == body
        v.umount(where)
        record, = records(v, ino)
        kept.append((record[:4], record[12:], [size for _, size in delayed(v)]))
        if not trash_days and v.engine == "sqlite":
            until("the old blocks are gone", lambda: len(v.objects()) == 1)
        tools_agree(v)
    assert kept[0] == kept[1], kept
    assert kept[0][2] == ([1000] * 8 if trash_days else []), kept


def age(volume, table_days):
    """Everything that is kept was kept so many days ago; the hourly turn is free."""
    seconds = table_days * 86400
    if volume.engine == "sqlite":
        volume.sql(f"UPDATE jfs_delslices SET deleted = deleted - {seconds}")
        volume.sql("DELETE FROM jfs_counter WHERE name = 'lastCleanupTrash'")
    else:
        script = f"""for _, f in ipairs(redis.call('HKEYS', 'delSlices')) do local id, at = f:match('(%d+)_(%d+)')
            redis.call('HSET', 'delSlices', id .. '_' .. (at - {seconds}), redis.call('HGET', 'delSlices', f)) redis.call('HDEL', 'delSlices', f) end
            redis.call('DEL', 'lastCleanupTrash')"""
        volume.redis("EVAL", script, "0")


def goes_with_the_trash(volume):
    """What one client's compaction keeps, the other lets go."""
    for compactor, cleaner in ((PEER, OURS), (OURS, PEER)):
        where = volume.mount(compactor)
        name = f"by-{os.path.basename(compactor)}-{compactor == OURS}"
        body = fragments(f"{where}/{name}", 8)
        assert read(f"{where}/{name}") == body
        # The peer's gives up where SQLite is locked.
        until("slices are kept", lambda: run(PEER, "gc", volume.meta, "--compact", check=True) and len(delayed(volume)) == 8)
        volume.umount(where)
        age(volume, 3)
        if cleaner == PEER:  # its first hourly turn is an hour after its mount
            run(PEER, "gc", volume.meta, "--delete", check=True)
        where = volume.mount(cleaner)
        until("they are gone", lambda: not delayed(volume), 30)
        if volume.engine == "sqlite":
            until("and their blocks", lambda: len(volume.objects()) <= 2)
        assert read(f"{where}/{name}") == body
        volume.umount(where)
    tools_agree(volume)


def together(volume):
    """Both write into the same files, read them, and compact them as they go."""
    ours, theirs = volume.mount(OURS), volume.mount(PEER)
    files, rounds, piece = 3, 60, 700
    for name in range(files):
        write(f"{ours}/f{name}", b"\0" * (2 * rounds * piece))
    expected = [bytearray(2 * rounds * piece) for _ in range(files)]
    failures, is_over = [], threading.Event()

    def writer(where, half):
        try:
            dice = random.Random(half)
            handles = [os.open(f"{where}/f{name}", os.O_RDWR) for name in range(files)]
            for number in range(rounds):
                for name, fd in enumerate(handles):
                    at = (2 * number + half) * piece
                    body = dice.randbytes(piece)
                    os.pwrite(fd, body, at), os.fsync(fd)
                    expected[name][at:at + piece] = body
                    assert os.pread(fd, piece, at) == body, f"{where} f{name} round {number}"
            for fd in handles:
                os.close(fd)
        except Exception as error:
            failures.append(repr(error))

    def compactor(path):
        while not is_over.is_set():
            run(PEER, "compact", path)
            for name in range(files):
                read(f"{ours}/f{name}")

    threads = [threading.Thread(target=writer, args=a) for a in ((ours, 0), (theirs, 1))]
    loop = threading.Thread(target=compactor, args=(theirs,))
    for thread in (*threads, loop):
        thread.start()
    for thread in threads:
        thread.join()
    is_over.set(), loop.join()
    assert not failures, failures
    inos = [os.stat(f"{ours}/f{name}").st_ino for name in range(files)]
    volume.umount(theirs), volume.umount(ours)
    for binary in (OURS, PEER):
        where = volume.mount(binary)
        wrong = [name for name in range(files) if read(f"{where}/f{name}") != expected[name]]
        assert not wrong, (binary, wrong)
        until("lists are short", lambda: all(len(records(volume, ino)) < 20 for ino in inos))
        volume.umount(where)
    # The peer leaves what it has stored of a compaction whose sources went meanwhile; we leave nothing.
    left = subprocess.run([OURS, "gc", "--json", volume.meta], capture_output=True, text=True, check=True, env={**os.environ, **NO_AGE})
    ours_left = [key for key in json.loads(left.stdout)["leakedKeys"] if int(key.rsplit("/", 1)[1].split("_")[0]) <= OUR_SLICES]
    assert not ours_left, ours_left
    run(OURS, "gc", "--delete", volume.meta, env=NO_AGE, check=True)
    tools_agree(volume)


def claims(world):
    for engine in ENGINES:
        for trash_days in (0, 1):
            pair = [world.volume(engine, "--trash-days", str(trash_days), store="file") for _ in range(2)]
            yield f"{engine}: a compacted chunk is the peer's, trash {trash_days}", lambda p=pair, t=trash_days: the_same_records(*p, t)
            volume = world.volume(engine, "--trash-days", str(trash_days), "--block-size", "64K", store="file")
            yield f"{engine}: both compact and write the same files, trash {trash_days}", lambda v=volume: together(v)
        volume = world.volume(engine, "--trash-days", "1", store="file")
        yield f"{engine}: what was compacted away goes with the trash", lambda v=volume: goes_with_the_trash(v)
