"""The cases. Each begins an outage while calls of every kind are under way and says what must hold during it and after."""
import errno, os, signal, subprocess, time
from rig import Mount, Sampler, format_s3, judge_volume

MIB = 1 << 20
# A call waits this long for the metadata before it fails (decisions 24), give or take.
META_WAIT, GIVE = 60, 5
# How soon after an outage calls go through again.
BACK = 5


def volume(case, servers):
    meta = servers.meta()
    format_s3(meta, servers.s3, case.name)
    return meta


def end_outage(server, sig):
    """The server is back from this moment on: it answers."""
    if sig == signal.SIGKILL:
        server.start()
    else:
        server.process.send_signal(signal.SIGCONT)
    return time.monotonic()


def outage(server, seconds, sig=signal.SIGKILL):
    """Takes the server away; returns when it went and when it was back."""
    if sig == signal.SIGKILL:
        server.stop(sig)
    else:
        server.process.send_signal(sig)
    gone = time.monotonic()
    time.sleep(seconds)  # the outage itself is the case
    return gone, end_outage(server, sig)


def shown(calls):
    return [f"{kind}/{call} {errno.errorcode.get(number, number)} after {seconds:.1f} s" for kind, call, _, seconds, number in calls][:6]


def all_work_soon(case, calls, back):
    """One call of each kind goes through within 5 s, and none fails; each single call would measure the machine."""
    served = {c[0] for c in calls if not c[4] and back < c[2] + c[3] <= back + BACK}
    case.check(f"calls of every kind go through within {BACK} s of the return", sorted({c[0] for c in calls} - served))
    case.check("no call fails after the return", shown([c for c in calls if c[2] >= back and c[4]]))


def short(case, servers, server, sig):
    meta = volume(case, servers)
    mount = Mount(case, "a", meta).up()
    load, probe = mount.load(36, writers=3), mount.probe()
    time.sleep(4)  # the load is under way
    gone, back = outage(server, 20, sig)
    time.sleep(BACK + 4)  # what comes after the return
    calls = probe.end()
    load.wait()
    waited = [c for c in calls if c[3] > 10]
    case.say(f"{len(calls)} calls, {len(waited)} of them waited, the longest {max(c[3] for c in calls):.1f} s")
    case.check("calls did wait", not waited and "none")
    case.check("no system call failed", shown([c for c in calls if c[4]]))
    all_work_soon(case, calls, back)
    mount.judge()
    judge_volume(case, meta)
    mount.panics()


def gone_20s(which):
    return lambda case, servers: short(case, servers, getattr(servers, which), signal.SIGKILL)


def silent_20s(which):
    return lambda case, servers: short(case, servers, getattr(servers, which), signal.SIGSTOP)


class Nameless:
    """A file that is open on a mount and has no name any more: its session keeps it."""

    def __init__(self, mount, name):
        path = mount.path(name)
        self.fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR)
        self.text = name.encode() * 1000
        os.write(self.fd, self.text)
        os.fsync(self.fd)
        self.ino = os.fstat(self.fd).st_ino
        os.unlink(path)

    def problem(self):
        try:
            return os.pread(self.fd, len(self.text) + 1, 0) != self.text and "other bytes"
        except OSError as error:
            return str(error)


class Sessions:
    """The sessions as Redis has them."""

    def __init__(self, redis, meta):
        self.command = ["redis-cli", "-p", str(redis.port), "-n", meta.rsplit("/", 1)[1]]

    def ask(self, *words):
        return subprocess.run([*self.command, *words], capture_output=True, text=True, check=True).stdout.split()

    def all(self):
        return set(self.ask("zrange", "allSessions", "0", "-1"))

    def kept_by(self, sid):
        return {int(ino) for ino in self.ask("smembers", f"session{sid}")}


def redis_gone_120s(case, servers):
    """Two mounts. EIO after 60 s of waiting; service right after the return; each session survives the other."""
    meta = volume(case, servers)
    sessions = Sessions(servers.redis, meta)
    a = Mount(case, "a", meta).up()
    sid_a = sessions.all()
    # A directory that two clients begin at the same moment may be counted twice (as the peer's is): not the case here.
    for name in ("of-a", "of-b", "of-dead"):
        os.mkdir(a.path(name))
    case.wait_until("the root's statistics are there", 20, lambda: sessions.ask("hget", "dirUsedInodes", "1") == ["3"])
    b = Mount(case, "b", meta).up()
    sid_b = sessions.all() - sid_a
    dead = Mount(case, "dead", meta).up()
    sid_dead = sessions.all() - sid_a - sid_b
    files = [Nameless(a, "of-a/file"), Nameless(b, "of-b/file")]
    abandoned = Nameless(dead, "of-dead/file")
    load_a, load_b = a.load(150, writers=2), b.load(150, writers=2, folder="of-b/load")
    probe = a.probe()
    time.sleep(4)  # the load is under way
    # One that never comes back: sooner or later it must be cleaned, and it alone.
    dead.kill(signal.SIGKILL)
    gone, back = outage(servers.redis, 120)
    time.sleep(BACK + 4)  # what comes after the return
    calls = probe.end()
    load_a.wait(), load_b.wait()
    failed = [c for c in calls if c[4]]
    case.say(f"{len(calls)} calls, {len(failed)} failed, after {min(c[3] for c in failed):.1f} to {max(c[3] for c in failed):.1f} s")
    case.check("a call that fails answers EIO, and nothing else", shown([c for c in failed if c[4] != errno.EIO]))
    # What was written before is lost by then, and said at the next chance.
    told = lambda c: c[1] in ("write", "fsync", "close") and c[3] < 1 and c[2] > gone + META_WAIT - GIVE
    case.check(f"it fails at {META_WAIT} s", shown([c for c in failed if abs(c[3] - META_WAIT) > GIVE and not told(c)]))
    case.check("no call waits longer", shown([c for c in calls if c[3] > META_WAIT + GIVE]))
    case.check("only the outage makes calls fail", shown([c for c in failed if not gone - 1 < c[2] < back]))
    case.check("calls of every kind were hit", sorted({c[0] for c in calls} - {c[0] for c in failed if not told(c)}))
    all_work_soon(case, calls, back)
    case.check("the log says that calls wait for Redis, and that it is over",
               not all(words in a.logged() for words in ("waiting for the metadata engine", "no call waits")) and a.logged()[-500:])
    # The quiet time after a return (decisions 25) is over only when the dead one is cleaned.
    case.wait_until("the dead session is cleaned", 150, lambda: not sid_dead & sessions.all())
    cleaned = time.monotonic() - back
    case.say(f"the dead session was cleaned {cleaned:.0f} s after the return")
    case.check("nobody is cleaned within 60 s of the return", cleaned < 60 and f"after {cleaned:.0f} s")
    case.check("both sessions are there", (sid_a | sid_b) - sessions.all())
    for name, sid, file in (("a", sid_a, files[0]), ("b", sid_b, files[1])):
        case.check(f"the file that {name} keeps without a name has its bytes", file.problem())
        case.check(f"session {name} still keeps it", file.ino not in sessions.kept_by(*sid) and "not in its set")
    for mount in (a, b):
        case.check("no session was taken for dead", [line for line in mount.logged().splitlines() if "somebody took it" in line or "its handles fail" in line])
    for held in (*files, abandoned):
        try:
            os.close(held.fd)
        except OSError:
            pass  # the dead mount's
    subprocess.run(["umount", "-l", dead.where], check=True)
    b.verify(" (b)", may_stop=True, folder="of-b/load")
    b.down()
    a.judge(may_stop=True)
    judge_volume(case, meta)
    a.panics(), b.panics()


def s3_gone_120s(case, servers):
    """Writes wait within the memory they may have; names go on; nothing fails, nothing is lost."""
    meta, buffer = volume(case, servers), 96 * MIB
    mount = Mount(case, "a", meta, "--buffer-size", "96", "--cache-size", "0").up()
    # What readers want is not in any cache: a mount of its own wrote it.
    block = os.urandom(MIB)
    with open(mount.path("cold"), "wb") as f:
        for _ in range(160):
            f.write(block)
    mount.down()
    mount.up()
    idle, _ = mount.memory()
    names = mount.probe("stat", "absent", "listing", "folders", "names", "links", "mode", "room")
    load = mount.load(150, writers=2)
    time.sleep(4)  # the load is under way
    memory, stats = Sampler(mount.memory), Sampler(mount.stats)
    servers.s3.stop(signal.SIGKILL)
    gone = time.monotonic()
    bulk = subprocess.Popen(["dd", "if=/dev/urandom", f"of={mount.path('bulk')}", "bs=1M", "count=400", "conv=fsync", "status=none"])
    # More of them than there is memory for: they wait for memory, too.
    readers = [subprocess.Popen(["dd", f"if={mount.path('cold')}", "of=/dev/null", "bs=1M", f"skip={16 * n}", "count=16", "status=none"]) for n in range(10)]
    time.sleep(max(0, gone + 100 - time.monotonic()))  # the outage itself is the case
    case.check("the bulk writer waits", bulk.poll() is not None and f"it ended: {bulk.returncode}")
    case.check("the readers wait", [r.returncode for r in readers if r.poll() is not None])
    during = mount.stats()
    taken = os.stat(mount.path("bulk")).st_size
    case.say(f"after 100 s: bulk has written {taken // MIB} MiB, waiting: " + ", ".join(f"{name[16:]} {value:.0f} s" for name, value in during.items() if name.startswith("juicefs_waiting_")))
    case.check("what was written and not stored is within the buffer", taken > buffer and f"{taken // MIB} MiB")
    case.check("the gauge says that uploads wait", during["juicefs_waiting_upload"] < 80 and during["juicefs_waiting_upload"])
    case.check("the gauge says that downloads wait", during["juicefs_waiting_download"] < 80 and during["juicefs_waiting_download"])
    case.check("the gauge says that a write waits for memory", during["juicefs_waiting_memory"] < 60 and during["juicefs_waiting_memory"])
    case.check("the log says it too", "object store does not answer" not in mount.logged() and mount.logged()[-300:])
    time.sleep(max(0, gone + 120 - time.monotonic()))
    back = end_outage(servers.s3, signal.SIGKILL)
    load.wait()
    case.check("the bulk write ends well", bulk.wait(120))
    case.check("the reads end well", [code for code in (r.wait(60) for r in readers) if code])
    calls = names.end()
    case.check("names go on all the time, without a failure", shown([c for c in calls if (c[4] or c[3] > BACK) and c[1] not in ("write", "close")]))
    case.check("no system call failed", shown([c for c in calls if c[4]]))
    used = max(sample["juicefs_used_buffer_size_bytes"] for _, sample in stats.end())
    resident, dirty = (max(sample[n] for _, sample in memory.end()) for n in (0, 1))
    case.say(f"most: buffer {used / MIB:.0f} MiB, dirty pages {dirty / MIB:.0f} MiB, resident {resident / MIB:.0f} MiB (idle {idle / MIB:.0f})")
    case.check("all buffers stay within --buffer-size", used > buffer and used)
    case.check("dirty pages stay within --buffer-size", dirty > buffer and dirty)
    case.check("the process stays within --buffer-size and 64 MiB", resident > idle + buffer + 64 * MIB and resident)
    case.wait_until("nothing waits any more", 20, lambda: all(value < 2 for name, value in mount.stats().items() if name.startswith("juicefs_waiting_")))
    case.say(f"back for {time.monotonic() - back:.0f} s")
    mount.judge()
    judge_volume(case, meta)
    mount.panics()


def killed(case, servers):
    """SIGKILL. Directory statistics of its last second may be lost with a client, as with the peer; nothing else is."""
    meta = volume(case, servers)
    mount = Mount(case, "a", meta).up()
    load = mount.load(10, writers=4)
    time.sleep(5)  # the load is under way
    mount.kill(signal.SIGKILL)
    load.wait()
    subprocess.run(["umount", "-l", mount.where], check=True)
    mount.up()
    mount.judge(may_stop=True)
    judge_volume(case, meta, lagging=True)


def terminated(case, servers):
    """SIGTERM: what was written is stored, the mount goes, the session too."""
    meta = volume(case, servers)
    sessions = Sessions(servers.redis, meta)
    mount = Mount(case, "a", meta).up()
    load = mount.load(8, writers=4)
    written = b"not synced" * 100_000
    fd = os.open(mount.path("left-open"), os.O_CREAT | os.O_WRONLY)
    os.write(fd, written)
    time.sleep(3)  # the load is under way
    mount.kill(signal.SIGTERM)
    load.wait()
    case.wait_until("the process ends", 30, lambda: not os.path.exists(f"/proc/{mount.pid}"))
    case.check("the mount is gone", os.path.ismount(mount.where) and mount.where)
    case.check("the session is gone", sessions.all())
    try:
        os.close(fd)
    except OSError:
        pass  # its server is gone
    mount.up()
    case.check("what was written and not synced is there", open(mount.path("left-open"), "rb").read() != written and "other bytes")
    mount.judge(may_stop=True)
    judge_volume(case, meta)
    mount.panics()
