"""The same operations through us and through the peer leave the same records, trash on or off, with a file held open
without a name, and again after the end of both sessions. Only times, row numbers, session texts and which slice
numbers were wasted may differ; directory statistics, which the peer itself loses at times, the audit judges."""
import json, os, re, subprocess, sys, time
from volume import ENGINES, OURS, PEER, SERVERS

HERE = os.path.dirname(os.path.abspath(__file__))
# Moments, and numbers that a database hands out by itself.
LEFT_OUT = {"atime", "mtime", "ctime", "atimensec", "mtimensec", "ctimensec", "expire", "info", "id", "deleted"}
# When the hourly jobs ran last.
JOBS = re.compile(r"lastCleanup\w+|nextCleanupSlices")


def sqlite_records(volume):
    records = []
    for (table,) in volume.sql("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'jfs%'"):
        columns = [row[1] for row in volume.sql(f"PRAGMA table_info({table})")]
        for row in volume.sql(f"SELECT * FROM {table}"):
            fields = {c: (v.hex() if isinstance(v, bytes) else v) for c, v in zip(columns, row) if c not in LEFT_OUT}
            if table in ("jfs_setting", "jfs_dir_stats") or (table == "jfs_counter" and (JOBS.match(fields["name"]) or fields["name"] == "nextChunk")):
                continue
            records.append(f"{table} {json.dumps(fields, sort_keys=True)}")
    return sorted(records)


def server_records(volume):
    records = []
    for table, fields in volume.world.database(volume.engine).rows(volume.name):
        fields = {c: v for c, v in fields.items() if c not in LEFT_OUT}
        # Our markers (decisions 20) are rows of our own that the peer leaves alone.
        if table in ("jfs_setting", "jfs_dir_stats", "jfs_rs_marker") or (table == "jfs_counter" and (JOBS.match(fields["name"]) or fields["name"] == "nextChunk")):
            continue
        records.append(f"{table} {json.dumps(fields, sort_keys=True)}")
    return sorted(records)


def etcd_records(volume):
    records = []
    for key, value in volume.world.database("etcd").rows(volume.name):
        kind = key[:1].decode()
        # Our markers (decisions 20) are records of our own that the peer leaves alone.
        if key in (b"setting", b"CnextChunk") or key.startswith((b"SI", b"U", b"Xop")) or kind == "C" and JOBS.fullmatch(key[1:].decode()):
            continue
        if kind == "A" and key[9:] == b"I":  # without its three times
            value = value[:11] + value[47:]
        if kind == "D" or key.startswith(b"SE"):  # a time
            value = b""
        if kind == "K":  # which slice it is of
            key = b"K" + key[9:]
        if kind == "L":
            key, value = b"L", b"".join(value[at + 8:at + 12] for at in range(0, len(value), 12))
        records.append(f"{key[:1].decode()} {key[1:].hex()} holds {value.hex()}")
    return sorted(records)


def redis_records(volume):
    script = """local out = {}
        for _, key in ipairs(redis.call('KEYS', '*')) do
            local kind, value = redis.call('TYPE', key).ok, nil
            if kind == 'string' then value = redis.call('GET', key)
            elseif kind == 'hash' then value = redis.call('HGETALL', key)
            elseif kind == 'list' then value = redis.call('LRANGE', key, 0, -1)
            elseif kind == 'set' then value = redis.call('SMEMBERS', key)
            else value = redis.call('ZRANGE', key, 0, -1) end
            if type(value) == 'string' then value = {value} end
            local hex = {}
            for _, part in ipairs(value) do hex[#hex + 1] = (part:gsub('.', function(c) return string.format('%02x', c:byte()) end)) end
            out[#out + 1] = key .. ' ' .. kind .. ' ' .. table.concat(hex, ' ')
        end
        return out"""
    records = []
    for line in volume.redis("--raw", "EVAL", script, "0").decode().splitlines():
        key, kind, *parts = line.split(" ")
        # Our markers (decisions 20) are records of our own that the peer leaves alone.
        if key in ("setting", "sessionInfos", "nextchunk", "dirDataLength", "dirUsedSpace", "dirUsedInodes") or key.startswith("Xop.") or JOBS.fullmatch(key):
            continue
        if re.fullmatch(r"i\d+", key):  # without its three times
            parts = [parts[0][:22] + parts[0][94:]]
        if kind == "hash":
            parts = sorted(map(" ".join, zip(parts[::2], parts[1::2])))
        if kind in ("set", "zset"):
            parts.sort()
        records.append(f"{key} {kind} {' '.join(parts)}")
    return sorted(records)


def without_slice_ids(records):
    """Slice numbers are wasted freely: which one a slice got says nothing, that records agree on it does. Each is named
    by the file that has it, so that one difference shows as one."""
    record = re.compile(r"\b(?:[0-9a-f]{48})+\b")
    rank = {0: "0"}
    for line in records:
        for part in record.findall(line):
            for i in range(0, len(part), 48):
                rank.setdefault(int(part[i + 8:i + 24], 16), f"of {line[:line.index(part)]}{i // 48}")
    def slices(match):
        text = match[0]
        return "".join(f"{text[i:i + 8]}#{rank[int(text[i + 8:i + 24], 16)]}:{text[i + 24:i + 48]}" for i in range(0, len(text), 48))
    lines = [record.sub(slices, line) for line in records]
    return [re.sub(r'"chunkid": (\d+)', lambda m: f'"chunkid": {rank.get(int(m[1]), "of no file")}', line) for line in lines]


def differences(ours, theirs):
    ours_only, theirs_only = [r for r in ours if r not in theirs], [r for r in theirs if r not in ours]
    return "\n".join([f"ours only: {r}" for r in ours_only[:8]] + [f"peer only: {r}" for r in theirs_only[:8]])


def same_records(engine, pairs):
    """The peer is not always the same: operations of its own fail on a busy machine, a close that races with an unlink
    leaves the file until the session ends, a write over two pages becomes two slices. A difference of ours is there
    every time."""
    for last, (ours, theirs) in enumerate(pairs, 1 - len(pairs)):
        try:
            return compared(engine, ours, theirs)
        except Different as difference:
            if not last:
                raise
            print(f"once more: {difference}", flush=True)


class Different(AssertionError):
    pass


def compared(engine, ours, theirs):
    look = {"sqlite": sqlite_records, "redis": redis_records, "etcd": etcd_records}.get(engine, server_records)
    runs = []
    for volume, binary, options in ((ours, OURS, []), (theirs, PEER, ["--skip-dir-mtime", "0s"])):
        where = volume.mount(binary, "--heartbeat", "60", *options)
        runs.append((volume, where, subprocess.Popen([sys.executable, os.path.join(HERE, "operations.py"), where], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)))
    for volume, _, process in reversed(runs):
        said = process.stdout.readline()
        if said != "ready\n" and volume is theirs:
            runs[0][2].communicate("")
            raise Different(f"the peer's operations: {said!r}")
        assert said == "ready\n", f"our operations: {said!r}"
    try:
        assert_same(look, ours, theirs, "while a file is held open")
    finally:
        for _, _, process in runs:
            process.stdin.close()
    for volume, where, process in runs:
        process.wait(20)
        volume.umount(where)
    assert_same(look, ours, theirs, "after both sessions")
    a, b = ([re.sub(r".*/\d+_", "", name) for name in volume.objects()] for volume in (ours, theirs))
    assert sorted(a) == sorted(b), f"objects differ: {a} {b}"
    ours.judge()


def assert_same(look, ours, theirs, when):
    deadline = time.monotonic() + 15  # statistics and deletions are a second late
    while True:
        different = differences(without_slice_ids(look(ours)), without_slice_ids(look(theirs)))
        if not different:
            return
        if time.monotonic() > deadline:
            raise Different(f"{when}:\n{different}")
        time.sleep(0.3)


def claims(world):
    for engine in (*ENGINES, *SERVERS):
        for trash_days in ("0", "1") if engine in ENGINES else ("1",):
            pairs = [[world.volume(engine, "--trash-days", trash_days, formatter=who, store="file") for who in (OURS, PEER)] for _ in range(3)]
            yield f"{engine}: the records are the peer's, trash {trash_days}", lambda e=engine, p=pairs: same_records(e, p)
