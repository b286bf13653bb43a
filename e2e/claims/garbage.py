"""`gc` finds, shortens and deletes what the peer's does, and says so in the peer's words; each leaves nothing to the other."""
import os, re, time
from compaction import NO_AGE, delayed, fragments
from volume import ENGINES, OURS, PEER, read, run, until, write


def said(binary, volume, *options):
    """The lines of a gc that are not about addresses and sessions, without time and place."""
    code, text = run(binary, "gc", volume.meta, *options, env=NO_AGE)
    assert code == 0, text
    lines = [re.sub(r"\.* \[\S+\]$", "", line.split("<INFO>: ", 1)[1]) for line in text.splitlines() if "<INFO>: " in line]
    return [line.rstrip(".") for line in lines if re.match(r"using|scanned|Compacted|Deleted|Please", line)]


def plant(volume, name):
    """An object of a slice that nothing refers to, a part of one, and one that is not named like a block."""
    top = os.path.join(volume.folder, "data", volume.name, "chunks", "0", "99")
    os.makedirs(top, exist_ok=True)
    # What a killed writer leaves of an object, too.
    for leaf in (name, "notes.txt", f".jfs.{name}.tmp.77"):
        with open(os.path.join(top, leaf), "wb") as file:
            file.write(b"leak")


def tells_what_the_peer_tells(ours, theirs):
    for volume in (ours, theirs):
        where = volume.mount(PEER)
        for number in range(2):
            fragments(f"{where}/f{number}", 8, seed=number)
        write(f"{where}/gone", b"x" * 5000), os.unlink(f"{where}/gone")
        volume.umount(where)
        plant(volume, "99000_0_4")
    time.sleep(1.5)  # the peer passes over what is of this second
    got, wanted = said(OURS, ours), said(PEER, ours)
    assert got == wanted, f"the same volume: {got} instead of {wanted}"
    for options in (["--compact"], ["--delete"], []):
        got, wanted = said(OURS, ours, *options), said(PEER, theirs, *options)
        if "--compact" in options:  # what is of this second again
            got, wanted = got[:2], wanted[:2]
            time.sleep(1.5)
        assert got == wanted, f"{options}: {got} instead of {wanted}"
    left = [os.path.basename(path) for path in ours.objects()]
    assert not any("99000_0_4" in name for name in left) and "notes.txt" in left, left
    assert len(delayed(ours)) == 16
    for binary in (OURS, PEER):
        where = ours.mount(binary)
        assert all(read(f"{where}/f{number}") == read(f"{where}/f{number}") and os.path.getsize(f"{where}/f{number}") == 8000 for number in range(2))
        ours.umount(where)
    ours.judge()


def deletes_all(volume):
    """What a kill, a cut file and the trash leave: one `gc --delete` of ours, and neither finds anything."""
    where = volume.mount(OURS)
    fd = os.open(f"{where}/cut", os.O_RDWR | os.O_CREAT)
    for at in (0, 70 << 20, 140 << 20):
        os.pwrite(fd, b"y" * 3000, at)
    os.fsync(fd), os.ftruncate(fd, 10), os.close(fd)
    os.unlink(f"{where}/cut")  # on Redis the lists behind its end stay
    body = fragments(f"{where}/kept", 30)
    volume.umount(where)
    code, text = run(OURS, "gc", volume.meta, "--delete", "--compact", "--threads", "3", env=NO_AGE)
    assert code == 0 and "0 leaked" in text and "Compacted 1 chunks (30 slices, 30000 bytes)" in text, text
    until("one object is left", lambda: len(volume.objects()) == 1)
    assert said(PEER, volume)[-1].startswith("scanned 1 objects"), said(PEER, volume)
    where = volume.mount(PEER)
    assert read(f"{where}/kept") == body
    volume.umount(where)
    volume.judge()


def leaves_the_young_alone(volume):
    """Objects of a writer that has not committed yet."""
    plant(volume, "99000_0_4")
    code, text = run(OURS, "gc", volume.meta, "--delete")
    assert code == 0 and "2 skipped (8 bytes)" in text and "0 leaked" in text, text
    for leaf in ("99000_0_4", ".jfs.99000_0_4.tmp.77"):
        os.utime(os.path.join(volume.folder, "data", volume.name, "chunks/0/99", leaf), (time.time() - 4000,) * 2)
    code, text = run(OURS, "gc", volume.meta, "--delete")
    assert code == 0 and "2 leaked (8 bytes)" in text, text
    assert [os.path.basename(path) for path in volume.objects()] == ["notes.txt"], volume.objects()


def claims(world):
    for engine in ENGINES:
        pair = [world.volume(engine, "--trash-days", "1", store="file") for _ in range(2)]
        yield f"{engine}: gc tells and does what the peer's does", lambda p=pair: tells_what_the_peer_tells(*p)
        volume = world.volume(engine, "--trash-days", "0", store="file")
        yield f"{engine}: gc --delete leaves nothing behind", lambda v=volume: deletes_all(v)
    volume = world.volume("sqlite", store="file")
    yield "gc leaves young objects alone", lambda v=volume: leaves_the_young_alone(v)
