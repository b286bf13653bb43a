"""Options of a mount do on ours what they do on the peer's."""
import array, fcntl, os, stat, subprocess, sys, time
from volume import ENGINES, OURS, PEER, errno_of, read, run, until, write

NO_CACHES = ("--attr-cache", "0", "--entry-cache", "0", "--dir-entry-cache", "0")
GETFLAGS, SETFLAGS, FSGETXATTR = 0x80086601, 0x40086602, 0x801C581F
NOBODY = 65534


def open_cache(volume):
    """What another client closed is seen when the time is over, and not before where the file is open; own changes at once."""
    for binary in (PEER, OURS):
        # A walk of the path brings fresh attributes with it.
        where, other = volume.mount(binary, "--open-cache", "4s", "--entry-cache", "60", "--attr-cache", "0"), volume.mount(OURS)
        name = f"of{binary == OURS}"
        write(f"{where}/{name}", b"old")
        fd = os.open(f"{where}/{name}", os.O_RDONLY)
        begun = time.monotonic()
        write(f"{other}/{name}", b"longer")
        # What it held before it is: bytes that nobody has read yet are others', under the old length.
        early = os.stat(f"{where}/{name}").st_size, read(f"{where}/{name}")
        assert early in ((3, b"old"), (3, b"lon")) or time.monotonic() - begun > 3, (binary, early)
        until("the change is seen", lambda: read(f"{where}/{name}") == b"longer", 6)
        write(f"{where}/{name}", b"even longer")
        assert os.stat(f"{where}/{name}").st_size == 11 and read(f"{where}/{name}") == b"even longer"
        os.close(fd)
        volume.umount(where), volume.umount(other)
    volume.judge()


def moved(path, act):
    before = os.lstat(path)
    act()
    try:
        # Who reads bytes does not wait for it.
        until("the atime moves", lambda: os.lstat(path).st_atime_ns != before.st_atime_ns, 1)
    except AssertionError:
        return False
    after = os.lstat(path)
    assert (after.st_mtime_ns, after.st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns), path
    assert abs(after.st_atime - time.time()) < 10
    return True


def atimes(volume):
    said = {}
    for binary in (PEER, OURS):
        for mode in ("noatime", "relatime", "strictatime"):
            where = volume.mount(binary, "--atime-mode", mode, *NO_CACHES)
            top = f"{where}/{mode}"
            os.mkdir(top), os.symlink("f", f"{top}/l")
            write(f"{top}/f", b"x"), write(f"{top}/g", b"x"), write(f"{top}/old", b"x")
            os.utime(f"{top}/old", ns=(0, 0))
            os.utime(f"{top}/g", (time.time() - 90_000, 0)), os.utime(top, (time.time() - 90_000, 0))
            time.sleep(1.1)
            look = lambda name: (lambda: read(f"{top}/{name}"))
            said[binary, mode] = [
                moved(f"{top}/f", look("f")), moved(f"{top}/f", look("f")), moved(f"{top}/old", look("old")), moved(f"{top}/g", look("g")),
                moved(f"{top}/l", lambda: os.readlink(f"{top}/l")), moved(top, lambda: os.listdir(top)), moved(f"{top}/f", lambda: os.stat(f"{top}/f")),
            ]
            subprocess.run(["rm", "-r", top], check=True)
            volume.umount(where)
    for mode in ("noatime", "relatime", "strictatime"):
        assert said[PEER, mode] == said[OURS, mode], (mode, said)
    assert not any(said[OURS, "noatime"]) and said[OURS, "relatime"].count(True) == 4 and said[OURS, "strictatime"].count(True) == 5, said
    volume.judge()


def umask(volume):
    made = {}
    make = "import os; os.mkdir('d', 0o777); os.close(os.open('f', os.O_CREAT | os.O_WRONLY, 0o666)); os.mkfifo('p', 0o666); os.symlink('f', 'l')"
    for binary in (PEER, OURS):
        for mask in ("0", "077", "0022"):
            where = volume.mount(binary, "--umask", mask)
            # A mask is a process's, and claims are threads of one.
            subprocess.run([sys.executable, "-c", make], cwd=where, umask=0o027, check=True)
            made[binary, mask] = [oct(stat.S_IMODE(os.lstat(f"{where}/{name}").st_mode)) for name in ("d", "f", "p", "l")]
            for name in ("f", "p", "l"):
                os.unlink(f"{where}/{name}")
            os.rmdir(f"{where}/d")
            volume.umount(where)
    for mask in ("0", "077", "0022"):
        assert made[PEER, mask] == made[OURS, mask], made
    assert made[OURS, "077"] == ["0o700", "0o600", "0o600", "0o777"], made
    code, text = run(OURS, "mount", "--umask", "9", volume.meta, f"{volume.folder}/m1")
    assert code and "octal" in text, text


def flags_of(path, command=GETFLAGS, size=8):
    fd = os.open(path, os.O_RDONLY)
    try:
        buffer = array.array("B", bytes(size))
        fcntl.ioctl(fd, command, buffer)
        return int.from_bytes(buffer.tobytes()[:4], "little")
    finally:
        os.close(fd)


def set_flags(path, flags, user=0):
    script = f"""import array, errno, fcntl, os
try:
    fcntl.ioctl(os.open({path!r}, os.O_RDONLY), {SETFLAGS}, array.array('B', {flags.to_bytes(8, 'little')!r})), print('ok')
except OSError as error:
    print(errno.errorcode[error.errno])"""
    return subprocess.run(["/usr/bin/python3", "-c", script], user=user, capture_output=True, text=True, check=True).stdout.strip()


def ioctl(volume):
    """chattr and lsattr: +i and +a hold, +s goes without the trash, and either client sees what the other set."""
    mounts = {binary: volume.mount(binary, "--enable-ioctl", *NO_CACHES) for binary in (PEER, OURS)}
    for binary, other in ((PEER, OURS), (OURS, PEER)):
        a, b = f"{mounts[binary]}/{os.path.basename(binary)}{binary == OURS}", f"{mounts[other]}/{os.path.basename(binary)}{binary == OURS}"
        os.mkdir(a), write(f"{a}/f", b"x"), write(f"{a}/own", b"x"), os.chown(f"{a}/own", NOBODY, NOBODY)
        assert flags_of(f"{a}/f") == 0
        for letters, flags in (("i", 0x10), ("a", 0x20), ("ai", 0x30), ("s", 1), ("", 0)):
            subprocess.run(["chattr", f"={letters}", f"{a}/f"], check=True)
            assert flags_of(f"{a}/f") == flags_of(f"{b}/f") == flags, (binary, letters)
            assert flags_of(f"{b}/f", FSGETXATTR, 28) == flags >> 1 & 0x18, flags_of(f"{b}/f", FSGETXATTR, 28)
            shown = subprocess.run(["lsattr", f"{b}/f"], capture_output=True, text=True, check=True).stdout.split()[0]
            assert set(shown) - {"-"} == set(letters), shown
        assert set_flags(f"{a}/f", 2) == "ENOTSUP"
        assert [set_flags(f"{a}/own", flags, NOBODY) for flags in (0x10, 0x20)] == ["EPERM", "EPERM"]
        if binary == OURS:
            assert set_flags(f"{a}/own", 1, NOBODY) == "EPERM", "who may not skip the trash"
        set_flags(f"{a}/f", 0x10)
        for top in (a, b):
            refused = [errno_of(os.open, f"{top}/f", os.O_WRONLY), errno_of(os.unlink, f"{top}/f"), errno_of(os.rename, f"{top}/f", f"{top}/g"), errno_of(os.link, f"{top}/f", f"{top}/h")]
            assert refused == ["EPERM"] * 4, (binary, refused)
        # Root's chmod gets through the peer.
        assert errno_of(os.chmod, f"{mounts[OURS]}/{os.path.basename(a)}/f", 0) == "EPERM"
        set_flags(f"{a}/f", 0x20)
        for top in (a, b):
            assert errno_of(os.open, f"{top}/f", os.O_WRONLY) == errno_of(os.truncate, f"{top}/f", 0) == "EPERM"
            write(f"{top}/f", b"y", os.O_WRONLY | os.O_APPEND)
        assert read(f"{a}/f") == b"xyy"
        set_flags(f"{a}/f", 0)
        # A directory hands the flag on.
        set_flags(a, 1)
        write(f"{a}/skips", b"x")
        assert flags_of(f"{b}/skips") == 1
        os.unlink(f"{a}/skips")
        assert not [name for _, _, names in os.walk(f"{mounts[OURS]}/.trash") for name in names if name.endswith("-skips")]
        set_flags(a, 0)
    volume.umount(mounts[OURS]), volume.umount(mounts[PEER])
    plain = volume.mount(OURS)
    assert errno_of(flags_of, plain) == "ENOTTY"
    volume.umount(plain)
    volume.judge()


# In a name space of its own, over a root that can be written to and where no file says that it is a container: there the
# peer leaves fstab alone.
FSTAB = r"""set -e
mount -t tmpfs none "$work"; mkdir "$work/up" "$work/wk" "$work/root"
mount -t overlay overlay -o lowerdir=/,upperdir="$work/up",workdir="$work/wk" "$work/root"
rm -f "$work/root/.dockerenv" "$work/root/sbin/mount.juicefs"
for d in proc dev sys tmp root; do mount --rbind /$d "$work/root/$d"; done
exec chroot "$work/root" bash -ec '
printf "# by hand\nUUID=1 / ext4 defaults 0 1" >/etc/fstab
for binary in "$PEER" "$OURS"; do
    chmod 640 /etc/fstab
    for more in --writeback --read-only; do
        "$binary" mount -d --update-fstab --no-usage-report --backup-meta 0 $more --max-uploads 5 --cache-dir "$folder/c" --log "$folder/fstab.log" -o nosuid "$meta" "$folder/fs" >&2
        umount "$folder/fs"
        cat /etc/fstab; readlink /sbin/mount.juicefs; stat -c %a /etc/fstab; echo ---
    done
    rm /sbin/mount.juicefs; sed -i /juicefs/d /etc/fstab
done
ln -s "$OURS" /sbin/mount.juicefs
"$OURS" mount -d --update-fstab --no-usage-report --upload-hours 1,5 --cache-dir "$folder/c" --log "$folder/fstab.log" "$meta" "$folder/f s" >&2
umount "$folder/f s"; mount "$folder/f s"; cat /etc/fstab; grep -c UploadHours.*1,5 "$folder/f s/.config"; umount "$folder/f s"
'
"""


def fstab(volume):
    """--update-fstab writes the peer's line, once for a mount point, and what mount(8) needs to mount by it."""
    work = f"{volume.folder}/ns"
    os.mkdir(work), os.mkdir(f"{volume.folder}/fs"), os.mkdir(f"{volume.folder}/f s")
    code, text = run("unshare", "-m", "--propagation", "private", "bash", "-c", FSTAB, env={
        "work": work, "folder": volume.folder, "meta": volume.meta, "OURS": OURS, "PEER": PEER})
    assert code == 0, text[-1500:]
    theirs, theirs2, ours, ours2, last = [part for part in text.split("# by hand\n")[1:]]
    for peers, own in ((theirs, ours), (theirs2, ours2)):
        table = lambda said: said.split("\n---")[0].split("\n")
        assert table(peers)[:-2] == table(own)[:-2], (peers, own)
        assert os.path.realpath(table(peers)[-2]) == os.path.realpath(PEER) and table(own)[-2] == os.path.realpath(OURS), (peers, own)
    assert ours2.count("juicefs  ") == 1 and "read-only" in ours2 and "writeback" not in ours2, ours2
    assert "\n640\n" in ours2, ours2
    assert "f\\040s  juicefs  _netdev,nofail" in last and "\n1\n" in last, last
    volume.judge()


def claims(world):
    for engine in ENGINES:
        for name, claim in (("--open-cache", open_cache), ("--atime-mode", atimes), ("--umask", umask), ("--enable-ioctl", ioctl)):
            volume = world.volume(engine)
            yield f"{name} as the peer's, {engine}", lambda v=volume, c=claim: c(v)
    volume = world.volume("sqlite")
    yield "--update-fstab as the peer's", lambda v=volume: fstab(v)
