"""The change log: the same operations by us and by the peer leave the same lines, times and wasted numbers apart; either
client's `changelog` tells what the other wrote; what both did to names, read back from the log, is the tree. And the
side records beside the peer's, which the peer leaves alone."""
import json, os, random, re, subprocess, sys, threading
from records import HERE
from volume import ENGINES, OURS, PEER, run, until, write

# Ranges of numbers are taken and jobs are done when a client likes; the statistics of the root, too.
NOT_COMPARED = re.compile(r"INCR_COUNTER|SET\(|DIRSTAT")
# Done in the background: when, nobody knows.
IN_ANY_ORDER = re.compile(r"DELCHUNK|DELETESLICE|DELSUSTAINED")


def lines(volume):
    """(version, line) of all that is in the log."""
    if volume.engine == "sqlite":
        return [(version, entry) for version, entry in volume.sql("SELECT id, entry FROM jfs_change_log ORDER BY id")]
    found = volume.redis("--raw", "LRANGE", "txnLog", "0", "-1").decode().splitlines()
    last = int(volume.redis("--raw", "GET", "txnLastLog").strip() or 0)
    return list(enumerate(found, last - len(found) + 1))


def fields(line):
    """Operation, raw arguments, raw results, session, number."""
    time, body = line.split("|", 1)
    assert re.fullmatch(r"\d+\.\d{9}", time), line
    m = re.fullmatch(r"([A-Z_]+)\(([^()]*)\)(?::(.*))?\|\((\d+),(\d+)\)", body)
    assert m, f"no line of the format: {line}"
    return m[1], m[2].split(","), (m[3] or "").split(","), int(m[4]), int(m[5])


def no_gaps(volume):
    """Each client of the volume counted its lines from 1 without a gap; session 0 is the client before its own."""
    numbers = {}
    for _, line in lines(volume):
        operation, arguments, _, sid, number = fields(line)
        if operation == "INCR_COUNTER" and arguments[0] == "nextSession":
            first = number
        elif sid:
            numbers.setdefault(sid, [first]).append(number)
    for sid, seen in numbers.items():
        assert sorted(seen) == list(range(1, len(seen) + 1)), f"session {sid}: {sorted(seen)[:20]}..."
    return numbers


def told(volume):
    """What is left to compare, in order, and what has none."""
    ranks, in_order, other = {}, [], []
    rank = lambda number: str(ranks.setdefault(number, len(ranks) + 1))
    for _, line in lines(volume):
        operation, arguments, results, _, _ = fields(line)
        if NOT_COMPARED.match(f"{operation}("):
            continue
        if operation == "NEWSESSION":
            arguments = arguments[:1]
        if operation == "WRITE":
            arguments[3], arguments[5:] = rank(arguments[3]), []
        if operation == "DELETESLICE":
            arguments[0] = rank(arguments[0])
        if operation == "SETATTR":
            for second, nanosecond in ((7, 9), (8, 10), (11, 12)):
                if int(arguments[second]) > 10**9:
                    arguments[second] = arguments[nanosecond] = "now"
        if operation == "MOVE" and arguments[4] == "2":
            arguments[6] = "0"  # the peer names the trash in an exchange, on SQLite only
        text = f"{operation}({','.join(arguments)}):{','.join(results)}"
        (other if IN_ANY_ORDER.match(operation) else in_order).append(text)
    return in_order, sorted(other)


def said(binary, volume, last):
    """What `changelog` prints, until the last line is there."""
    with subprocess.Popen([binary, "changelog", volume.meta, "--from", "1"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        printed = []
        watchdog = threading.Timer(20, process.kill)
        watchdog.start()
        for line in process.stdout:
            printed.append(line.rstrip("\n"))
            if line.startswith(f"{last}: "):
                break
        watchdog.cancel()
        process.kill()
    return printed


def same_lines(engine, pairs):
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
    for volume, binary in ((ours, OURS), (theirs, PEER)):
        run(binary, "config", volume.meta, "--changelog", "--yes", check=True)
        where = volume.mount(binary, "--heartbeat", "60", "--skip-dir-mtime", "0s")
        process = subprocess.Popen([sys.executable, os.path.join(HERE, "operations.py"), where], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        answer = process.stdout.readline()
        if answer != "ready\n" and volume is theirs:
            process.communicate("")
            raise Different(f"the peer's operations: {answer!r}")
        assert answer == "ready\n", f"our operations: {answer!r}"
        process.communicate("")
        volume.umount(where)
    no_gaps(ours)
    (a, a_other), (b, b_other) = told(ours), told(theirs)
    different = "\n".join([f"ours only: {x}" for x in a + a_other if x not in b + b_other] + [f"peer only: {x}" for x in b + b_other if x not in a + a_other])
    if (a, a_other) != (b, b_other):
        raise Different(f"lines differ:\n{different or 'in their order'}")
    for volume in (ours, theirs):
        kept = [f"{version}: {line}" for version, line in lines(volume)][1:]
        for binary in (OURS, PEER):
            printed = said(binary, volume, kept[-1].split(":")[0])
            assert printed == kept, f"{binary} reads another log: {printed[:2]} {kept[:2]}"
    ours.judge()


def unescaped(name):
    return re.sub(rb"%([0-9A-F]{2})", lambda m: bytes([int(m[1], 16)]), name.encode())


def replayed(volume, after=0):
    """The tree by its names, as the lines after a version tell it."""
    tree = {}
    names = lambda ino: tree.setdefault(int(ino), {})
    for _, line in (told for told in lines(volume) if told[0] > after):
        operation, arguments, results, _, _ = fields(line)
        if operation == "CREATE":
            names(arguments[0])[unescaped(arguments[1])] = int(results[0])
        elif operation == "LINK":
            names(arguments[1])[unescaped(arguments[2])] = int(arguments[0])
        elif operation in ("UNLINK", "RMDIR"):
            assert names(arguments[0]).pop(unescaped(arguments[1])) == int(results[0]), line
        elif operation == "MOVE":
            source, target = (int(arguments[0]), unescaped(arguments[1])), (int(arguments[2]), unescaped(arguments[3]))
            moved = names(source[0]).pop(source[1])
            assert moved == int(results[0]), line
            replaced = names(target[0]).get(target[1], 0)
            assert replaced == int(arguments[5]), line
            names(target[0])[target[1]] = moved
            if arguments[4] == "2":
                names(source[0])[source[1]] = replaced
    return tree


def walked(where):
    tree, todo = {}, [os.fsencode(where)]
    while todo:
        at = todo.pop()
        names = {entry.name: entry.inode() for entry in os.scandir(at)}
        tree[os.stat(at).st_ino] = names
        todo += [entry.path for entry in os.scandir(at) if entry.is_dir(follow_symlinks=False)]
    return tree


def mixed(volume):
    """Both clients at once, in the same directories, from before the log is switched on: each writes its lines from its
    next heartbeat on."""
    wheres = [volume.mount(binary, "--heartbeat", "1", "--entry-cache", "0", "--dir-entry-cache", "0", "--attr-cache", "0") for binary in (OURS, PEER)]
    run(PEER, "config", volume.meta, "--changelog", "--yes", check=True)
    for number, where in enumerate(wheres):
        def logs():
            os.mkdir(f"{where}/probe{number}"), os.rmdir(f"{where}/probe{number}")
            # The removal may be the first to be told.
            return any(f",probe{number}," in line and "CREATE" in line for _, line in lines(volume))
        until(f"{where} writes to the log", logs)
    begun = lines(volume)[-1][0]
    for directory in ("a", "b", "c"):
        os.mkdir(f"{wheres[0]}/{directory}")

    done = []

    def storm(seed, where):
        chance = random.Random(seed)
        for _ in range(120):
            one, two = (f"{where}/{chance.choice('abc')}/n{chance.randrange(6)}" for _ in range(2))
            try:
                done.append(chance.choice([lambda: os.close(os.open(one, os.O_CREAT | os.O_EXCL, 0o644)) or "CREATE", lambda: os.mkdir(one) or "CREATE",
                                           lambda: os.unlink(one) or "UNLINK", lambda: os.rmdir(one) or "RMDIR",
                                           lambda: os.rename(one, two) or "a rename to itself has no line", lambda: os.link(one, two) or "LINK"])())
            except OSError:
                pass  # somebody else was there first

    threads = [threading.Thread(target=storm, args=(n, where)) for n, where in enumerate(wheres * 2)]
    [t.start() for t in threads], [t.join() for t in threads]
    tree, seen = replayed(volume, begun), walked(wheres[0])
    for ino, names in seen.items():
        assert tree.get(ino, {}) == {name: i for name, i in names.items() if name not in (b".trash", b".stats", b".config", b".accesslog", b".control")}, (
            ino, tree.get(ino), names)
    told = [fields(line)[0] for version, line in lines(volume) if version > begun]
    for operation in ("CREATE", "UNLINK", "RMDIR", "LINK"):
        assert told.count(operation) >= done.count(operation) > 0, f"{operation}: {done.count(operation)} done, {told.count(operation)} in the log"
    for where in wheres:
        volume.umount(where)
    volume.judge(peer_stormed=True)


def side_records(volume):
    """In a record of ours beside the peer's, which the peer neither reads nor takes away."""
    record = json.dumps({"v": 1, "role": "none"})
    if volume.engine == "sqlite":
        volume.sql("CREATE TABLE jfs_rs_record (name TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL)")
        volume.sql(f"INSERT INTO jfs_rs_record VALUES ('test', CAST('{record}' AS BLOB))")
        kept = lambda: volume.sql("SELECT name, value FROM jfs_rs_record") == [("test", record.encode())]
    else:
        volume.redis("HSET", "Xrs", "test", record)
        kept = lambda: volume.redis("--raw", "HGETALL", "Xrs").decode().splitlines() == ["test", record]
    for binary in (PEER, OURS):
        where = volume.mount(binary)
        write(f"{where}/f", b"x" * 100_000), os.mkdir(f"{where}/d{binary == PEER}"), os.unlink(f"{where}/f")
        volume.umount(where)
        assert kept(), f"{binary}: mount"
    dump = os.path.join(volume.folder, "dump")
    for words in (("config", volume.meta, "--trash-days", "2", "--yes"), ("gc", volume.meta, "--compact", "--delete"), ("fsck", volume.meta, "--path", "/", "--recursive", "--repair"),
                  ("status", volume.meta), ("dump", volume.meta, dump + ".json"), ("dump", volume.meta, dump + ".bin", "--binary")):
        run(PEER, *words, check=True)
        assert kept(), f"the peer's {words[0]} touched the side records"
    for words in (("config", volume.meta, "--trash-days", "1", "--yes"), ("gc", volume.meta), ("fsck", volume.meta), ("status", volume.meta)):
        run(OURS, *words, check=True)
        assert kept(), f"our {words[0]} touched the side records"


def claims(world):
    for engine in ENGINES:
        for trash_days in ("0", "1"):
            pairs = [[world.volume(engine, "--trash-days", trash_days, formatter=who, store="file") for who in (OURS, PEER)] for _ in range(3)]
            yield f"{engine}: the lines of the change log are the peer's, trash {trash_days}", lambda e=engine, p=pairs: same_lines(e, p)
        volume = world.volume(engine, "--trash-days", "0", store="file")
        yield f"{engine}: the names that both clients' lines tell are the tree", lambda v=volume: mixed(v)
        volume = world.volume(engine, store="file")
        yield f"{engine}: the peer leaves side records alone", lambda v=volume: side_records(v)
