"""What the peer (1.4.2) alone breaks, with no client of ours near: the only findings that a judge may excuse, and the
operations that it is spared where the records are judged strictly. Each is shown here or by `run.sh control`, which
lets two peers storm one volume.

  left      rename over a directory that goes for good leaves that directory's statistics
  symlink   a hard link of a symlink counts the target's length in the directory's statistics
  unlinked  writing to a file that is open and unlinked (trash off) counts in the directory that it was in
  taken     rename over a hard link whose name in the trash is taken (the same name of the same file was removed in this
            hour): on Redis the entry in the trash is overwritten, so link count, parents and statistics count one name
            too many; on SQLite the rename fails with EIO
  restarted a rename that replaces something while another client changes the same names takes too much from the
            directory's statistics (control: two mounts, never one)
  links     another length of a file with several names is counted in the directories that it is in a moment later
            (control)
  sustained SQLite, trash off: unlinking a file that is open leaves it in the volume's usage (control, one mount too)
  stale     database servers: a rename goes on with the node as it was read before the lock. A length that was written
            meanwhile moves as it was; a file that got a second name meanwhile is said to lie in one directory (control)
  counted   etcd: a directory's statistics that are negative for a moment (a name went on before its coming was
            written) are counted anew, and what others have yet to write is then counted twice; usage of the volume
            drifts when many collide (two peers with strict operations)
  truncated what another client truncated is opened at its former length while the peer's attributes of it are cached
            (rare; seen with two peers that take turns)
"""
import os, re, time
from volume import OURS, PEER, Volume, check


ATTR_CACHE_SECONDS = 1
# Fresh volumes on which the peer may show what it breaks.
PEER_TRIES = 2


# Where two of the peer miscount directories and the whole with nothing but names and data ("stale", "counted"). What only we
# touched is right.
MISCOUNTED = ("mysql", "postgres", "etcd")


def is_beyond_repair(finding):
    """What `fsck --repair --sync-dir-stat` of the peer does not look at: directories that are gone, the trash."""
    return re.match(r"dir-stat: (statistics are left of directory|directory 92233720\d+ )", finding) is not None


def put(path, body=b"x" * 100):
    with open(path, "wb") as f:
        f.write(body)


def left(top):
    os.mkdir(f"{top}/old"), os.mkdir(f"{top}/new"), os.rename(f"{top}/new", f"{top}/old")


def symlink(top):
    os.symlink("target", f"{top}/a"), os.link(f"{top}/a", f"{top}/b", follow_symlinks=False)


def unlinked(top):
    with open(f"{top}/a", "wb") as f:
        f.write(b"x" * 5000), f.flush(), os.fsync(f.fileno()), os.unlink(f"{top}/a"), f.write(b"x" * 9000)


def taken(top):
    put(f"{top}/a"), os.link(f"{top}/a", f"{top}/kept"), os.unlink(f"{top}/a")
    os.link(f"{top}/kept", f"{top}/a"), put(f"{top}/b"), os.rename(f"{top}/b", f"{top}/a")


def tried(case, binary, own, meta, trash_days):
    """What the audit says after the case on a fresh volume."""
    os.mkdir(own)
    volume = Volume(own, meta(own), PEER, "--storage", "file", "--bucket", own + "/data", "--trash-days", str(trash_days))
    where, error = volume.mount(binary), ""
    for top in (f"{where}/d", f"{where}/e"):
        os.mkdir(top)
        hour = time.time() // 3600
        try:
            case(top)
        except OSError as e:
            error = os.strerror(e.errno)
        if time.time() // 3600 == hour:
            break  # else what was removed is in two directories of the trash
    volume.umount(where)
    return volume.audit() + ([f"errno: {error}"] if error else [])


def show(folder, name, meta, trash_days, cases):
    """Each case on a fresh volume: for us nothing may be wrong afterwards. That the peer breaks it is shown, not judged:
    whether its statistics were written before or after decides, and a list that names too much excuses only the peer."""
    for case, broken in cases:
        own = os.path.join(folder, f"{name}.{case.__name__}")
        seen = []
        for n in range(PEER_TRIES):
            seen = tried(case, PEER, f"{own}.peer{n}", meta, trash_days)
            if any(re.match(broken, finding) for finding in seen):
                break
        print(f"      {name} alone, {case.__name__}: the peer {'breaks it' if seen else 'did not break it this time'}: {seen[:2]}")
        check(f"{name} alone, {case.__name__}: we do not", tried(case, OURS, f"{own}.ours", meta, trash_days))
