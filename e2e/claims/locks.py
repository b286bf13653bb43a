"""File locks between mounts, ours and the peer's: who gets one, who waits, what ends a wait, and what a lock says of the
bytes under it."""
import contextlib, ctypes, fcntl, os, signal, sqlite3, struct, subprocess, sys, threading, time
from volume import ENGINES, OURS, PEER, errno_of, read, until, write

F_OFD_SETLK = 37
SHARED, ALONE, FREE = fcntl.LOCK_SH, fcntl.LOCK_EX, fcntl.LOCK_UN


@contextlib.contextmanager
def opened(*wheres, name="f"):
    fds = [os.open(f"{where}/{name}", os.O_RDWR | os.O_CREAT) for where in wheres]
    try:
        yield fds
    finally:
        for fd in fds:
            os.close(fd)


def lockf(fd, kind, start=0, length=0, wait=False):
    """A POSIX lock of this whole program; `fcntl.lockf` without its open-file twins."""
    fcntl.lockf(fd, kind if wait or kind == FREE else kind | fcntl.LOCK_NB, length, start)


def elsewhere(path, *asked):
    """What another program gets at once for POSIX locks of a kind, a start and a length, each given up again."""
    code = """import fcntl,os,sys
fd=os.open(sys.argv[1],os.O_RDWR)
for asked in sys.argv[2:]:
    kind,start,length=map(int,asked.split(","))
    try: fcntl.lockf(fd,kind|fcntl.LOCK_NB,length,start); fcntl.lockf(fd,fcntl.LOCK_UN,length,start); print("ok")
    except OSError as e: print(os.strerror(e.errno))"""
    words = [",".join(map(str, one)) for one in asked]
    return subprocess.run([sys.executable, "-c", code, path, *words], capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()


def exclude(volume, first, second):
    """Two mounts never both hold a lock that excludes the other, of either kind, whichever client asks first."""
    a, b = volume.mount(first), volume.mount(second)
    write(f"{a}/f", b"0123456789" * 10)
    for one, other in ((a, b), (b, a)):
        with opened(one, other) as (x, y):
            fcntl.flock(x, ALONE | fcntl.LOCK_NB)
            assert errno_of(fcntl.flock, y, SHARED | fcntl.LOCK_NB) == "EAGAIN" and errno_of(fcntl.flock, y, ALONE | fcntl.LOCK_NB) == "EAGAIN"
            fcntl.flock(x, SHARED)
            fcntl.flock(y, SHARED | fcntl.LOCK_NB)
            assert errno_of(fcntl.flock, x, ALONE | fcntl.LOCK_NB) == "EAGAIN"
            fcntl.flock(y, FREE), fcntl.flock(x, FREE)
            # Ranges split and join.
            lockf(x, ALONE, 10, 30), lockf(x, SHARED, 20, 10), lockf(x, FREE, 35, 2)
            path = f"{other}/f"
            no, yes = "Resource temporarily unavailable", "ok"
            expected = {9: (yes, yes), 10: (no, no), 19: (no, no), 20: (yes, no), 29: (yes, no), 30: (no, no), 34: (no, no), 35: (yes, yes), 36: (yes, yes), 37: (no, no), 39: (no, no), 40: (yes, yes)}
            found = elsewhere(path, *((kind, at, 1) for at in expected for kind in (SHARED, ALONE)))
            assert dict(zip(expected, zip(found[::2], found[1::2]))) == expected, found
            # A close gives up all of the program's on the file; the peer waits for that of the descriptor.
            os.close(os.open(f"{one}/f", os.O_RDONLY))
            (got,) = elsewhere(path, (ALONE, 0, 0))
            assert got == (no if one == b and second == PEER else yes), (one, got)
    for where in (a, b):
        volume.umount(where)
    volume.judge()


def waits(volume, holder, waiter):
    """A wait ends with the lock's end, with a signal, and with the end of a killed holder's session."""
    a, b = volume.mount(holder, "--heartbeat", "1"), volume.mount(waiter, "--heartbeat", "1")
    with opened(a, b) as (x, y):
        for take in (fcntl.flock, lambda fd, kind: lockf(fd, kind, wait=True)):
            fcntl.flock(x, FREE), lockf(x, FREE)
            take(x, ALONE)
            # A program that waits, so that it can be interrupted.
            call = "fcntl.flock(fd, fcntl.LOCK_EX)" if take is fcntl.flock else "fcntl.lockf(fd, fcntl.LOCK_EX)"
            code = f"""import fcntl,os,signal,sys
class Hit(Exception): pass
def hit(*_): raise Hit
signal.signal(signal.SIGALRM, hit)
fd=os.open(sys.argv[1],os.O_RDWR)
print('waits',flush=True)
try: {call}; print('got',flush=True); sys.stdin.read()
except Hit: print('interrupted',flush=True)"""
            start = lambda: subprocess.Popen([sys.executable, "-c", code, f"{b}/f"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for end in ("interrupted", "killed", "got"):
                process = start()
                assert process.stdout.readline() == "waits\n"
                time.sleep(0.3)  # it is inside the call, or about to be: each end holds for both
                if end == "interrupted":
                    process.send_signal(signal.SIGALRM)
                elif end == "killed":
                    process.kill()
                else:
                    take(x, FREE)
                if end != "killed":
                    line = []
                    thread = threading.Thread(target=lambda: line.append(process.stdout.readline()))
                    thread.start(), thread.join(15)
                    assert line == [end + "\n"], (call, end, line)
                process.stdin.close()
                process.wait(15)
    for where in (a, b):
        volume.umount(where)


def circle(volume):
    """Two programs of one mount that would wait for each other: one is told."""
    where = volume.mount(OURS)
    write(f"{where}/f", b"ab")
    code = """import fcntl,os,sys
fd=os.open(sys.argv[1],os.O_RDWR); mine,other=int(sys.argv[2]),1-int(sys.argv[2])
fcntl.lockf(fd,fcntl.LOCK_EX,1,mine); print('has',flush=True); sys.stdin.readline()
try: fcntl.lockf(fd,fcntl.LOCK_EX,1,other); print('got',flush=True)
except OSError as e: print(e.errno,flush=True)"""
    two = [subprocess.Popen([sys.executable, "-c", code, f"{where}/f", str(n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for n in (0, 1)]
    assert [p.stdout.readline() for p in two] == ["has\n", "has\n"]
    for process in two:
        process.stdin.write("\n"), process.stdin.flush()
    said = sorted(p.communicate(timeout=20)[0].strip() for p in two)
    assert said == ["35", "got"], said
    volume.umount(where)


def database(volume, journal):
    """SQLite in a rollback-journal mode, shared by two mounts: no update is lost and the file stays whole."""
    mounts = [volume.mount(OURS), volume.mount(OURS)]
    first = sqlite3.connect(f"{mounts[0]}/shared.db")
    first.execute("CREATE TABLE sums (who INTEGER, n INTEGER)"), first.execute("INSERT INTO sums VALUES (0, 0), (1, 0)")
    first.commit(), first.close()
    failed, rounds = [], 40

    def work(who):
        try:
            with contextlib.closing(sqlite3.connect(f"{mounts[who]}/shared.db", timeout=60, isolation_level=None)) as database:
                assert database.execute(f"PRAGMA journal_mode = {journal}").fetchone()[0] == journal
                for _ in range(rounds):
                    database.execute("BEGIN IMMEDIATE")
                    total = database.execute("SELECT sum(n) FROM sums").fetchone()[0]
                    database.execute("UPDATE sums SET n = n + 1 WHERE who = ?", (who,))
                    assert database.execute("SELECT sum(n) FROM sums").fetchone()[0] == total + 1
                    database.execute("COMMIT")
        except Exception as error:  # told by the claim, not by a thread
            failed.append(f"{who}: {error!r} {getattr(error, 'sqlite_errorname', '')}")

    threads = [threading.Thread(target=work, args=(who,)) for who in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert not failed, failed
    for where in mounts:
        with contextlib.closing(sqlite3.connect(f"{where}/shared.db")) as database:
            assert database.execute("SELECT who, n FROM sums ORDER BY who").fetchall() == [(0, rounds), (1, rounds)]
            assert database.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    for where in mounts:
        volume.umount(where)


def claims(world):
    for engine in ENGINES:
        for first, second in ((OURS, OURS), (OURS, PEER)):
            names = "ours and ours" if second == OURS else "ours and the peer's"
            volume = world.volume(engine)
            yield f"{engine}: locks of {names} exclude one another", lambda v=volume, a=first, b=second: exclude(v, a, b)
        for holder, waiter, names in ((OURS, OURS, "us"), (PEER, OURS, "the peer")):
            volume = world.volume(engine)
            yield f"{engine}: a wait for {names} ends with the lock and with a signal", lambda v=volume, a=holder, b=waiter: waits(v, a, b)
        volume = world.volume(engine, store="file")
        yield f"{engine}: a circle of waits is told", lambda v=volume: circle(v)
    for engine, journal in (("sqlite", "delete"), ("redis", "truncate"), ("redis", "persist")):
        volume = world.volume(engine, store="file")
        yield f"{engine}: a database with journal_mode {journal} is shared by two mounts", lambda v=volume, j=journal: database(v, j)
