"""What differs in etcd: each value is written whole under the condition that nobody has changed what it was made from.
Both clients' locks, quotas, limits and trash by the claims of those names; an etcd that goes and comes back; no change
log, as no client writes one there; many chunks and a file of many slices, beyond 128 operations."""
import errno, os, signal, threading, time
import limits, locks, quota, trash
from volume import OURS, PEER, Etcd, read, run, until, write


def found(path):
    """What is in a file; the peer answers EIO where etcd takes long to answer it, so it is asked again."""
    for patience in range(10):
        try:
            with open(path, "rb") as file:
                return file.read()
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            time.sleep(patience)


def waited_for(world, volume):
    """Writers wait while etcd is away, and go on; nothing that was acknowledged is lost."""
    server = world.database("etcd")
    where = volume.mount(OURS)
    written, failures, stop = [], [], threading.Event()

    def keep_writing():
        n = 0
        while not stop.is_set():
            try:
                write(f"{where}/f{n}", b"%d" % n)
                written.append(n)
            except OSError as error:
                failures.append(error)
            n += 1

    writer = threading.Thread(target=keep_writing)
    writer.start()
    try:
        for sig in (signal.SIGKILL, signal.SIGTERM):
            begun = len(written)
            until("files are written", lambda: len(written) > begun + 10, 60)
            server.stop(sig)
            gone = len(written)
            time.sleep(1.5)
            assert len(written) <= gone + 1 and not failures, (len(written) - gone, failures)
            server.start()
        begun = len(written)
        until("files are written again", lambda: len(written) > begun + 10, 60)
    finally:
        stop.set()
        writer.join(60)
    assert not failures, failures
    volume.umount(where)
    where = volume.mount(PEER)
    lost = [n for n in written if found(f"{where}/f{n}") != b"%d" % n]
    assert not lost, f"of {len(written)} files these are not what was written: {lost[:20]}"
    volume.umount(where)
    volume.judge()


def no_change_log(volume):
    code, text = run(OURS, "config", volume.meta, "--changelog", "--yes")
    assert code and "no change log" in text, text
    # The peer says that it does, and writes nothing: neither do we, and whoever asks is told.
    run(PEER, "config", volume.meta, "--changelog", "--yes", check=True)
    where = volume.mount(OURS)
    write(f"{where}/file", b"x")
    volume.umount(where)
    assert not [key for key, _ in volume.world.database("etcd").rows(volume.name) if key.startswith(b"XLOG")]
    code, text = run(OURS, "changelog", volume.meta)
    assert code and "no change log" in text, text
    dumps = [os.path.join(volume.folder, name) for name in ("ours.json", "peer.json")]
    run(OURS, "dump", volume.meta, dumps[0], check=True), run(PEER, "dump", volume.meta, dumps[1], check=True)
    assert read(dumps[0]) == read(dumps[1])
    copy = f"sqlite3://{volume.folder}/mirror.db"
    code, text = run(OURS, "mirror", "create", volume.meta, copy, "--name", "copy")
    assert code and "no change log" in text, text
    volume.judge()


def beyond_one_transaction(volume):
    """More chunks and slices than one transaction of etcd compares: all of it or nothing, and the peer agrees."""
    where = volume.mount(OURS)
    with open(f"{where}/chunks", "wb") as file:
        for indx in range(140):
            file.seek(indx * (64 << 20)), file.write(b"%d" % indx)
        file.flush(), os.fsync(file.fileno())
        for indx in (139, 0):  # shorter: a hole in every chunk behind
            file.truncate(indx * (64 << 20) + 1)
    with open(f"{where}/slices", "wb") as file:
        for n in range(140):
            os.pwrite(file.fileno(), b"%04d" % n, (n * 7919) % 140 * 4096), os.fsync(file.fileno())
    copied = os.open(f"{where}/slices", os.O_RDONLY), os.open(f"{where}/copy", os.O_CREAT | os.O_WRONLY)
    done, size = 0, os.path.getsize(f"{where}/slices")
    while done < size:
        done += os.copy_file_range(*copied, size - done)
    for fd in copied:
        os.close(fd)
    expected = read(f"{where}/slices")
    assert read(f"{where}/copy") == expected
    volume.umount(where)
    where = volume.mount(PEER)
    assert read(f"{where}/copy") == expected and read(f"{where}/chunks") == b"0"
    os.unlink(f"{where}/copy")
    volume.umount(where)
    volume.judge()
    where = volume.mount(OURS)
    os.unlink(f"{where}/slices"), os.unlink(f"{where}/chunks")
    volume.umount(where)
    run(OURS, "gc", "--delete", volume.meta, check=True, env={"JFS_GC_SKIPPEDTIME": "0"})
    volume.judge()
    left = [key for key, _ in volume.world.database("etcd").rows(volume.name) if key[:1] in b"DKL" or key[9:10] == b"C"]
    assert not left and not volume.objects(), (left[:5], volume.objects()[:5])


def claims(world):
    for holder, name in ((OURS, "us"), (PEER, "the peer")):
        volume = world.volume("etcd")
        yield f"etcd: a wait for {name} ends with the lock and with a signal", lambda v=volume, h=holder: locks.waits(v, h, OURS)
        volume = world.volume("etcd")
        yield f"etcd: a directory's quota set by {name} is kept by both", lambda v=volume, h=holder: quota.each_sets_and_both_keep(h, v)
    volume = world.volume("etcd")
    yield "etcd: locks of ours and the peer's exclude one another", lambda v=volume: locks.exclude(v, OURS, PEER)
    volume = world.volume("etcd", "--trash-days", "0")
    yield "etcd: a user's and a group's quota are kept by both", lambda v=volume: quota.owners(OURS, v)
    volume = world.volume("etcd", "--inodes", "60", "--capacity", "1", "--trash-days", "0")
    yield "etcd: limits of the volume hold against both clients", lambda v=volume: limits.limits(v)
    volume = world.volume("etcd", "--trash-days", "1")
    yield "etcd: restore of either brings back what either removed", lambda v=volume: trash.comes_back(v)
    volume = world.volume("etcd", "--trash-days", "0")
    yield "etcd: more than one transaction takes is written whole", lambda v=volume: beyond_one_transaction(v)
    volume = world.volume("etcd")
    yield "etcd: there is no change log", lambda v=volume: no_change_log(v)
    other = world.another()
    other.databases["etcd"] = Etcd(other.folder, syncs=True)
    volume = other.volume("etcd")
    # Not claimed yet (docs/roadmap.md, "Known"): after such a kill one file of about fifty was not what was written.
    # Asked for by name it runs: AWAY=1 e2e/claims/run.sh "a server that goes".
    if os.environ.get("AWAY"):
        yield "etcd: a server that goes and comes back is waited for", lambda w=other, v=volume: waited_for(w, v)
