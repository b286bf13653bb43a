"""A volume that asks for what we do not do mounts read-only or not at all, with a sentence that names it, and is looked
at again with every heartbeat. The peer does the asking, before our mount and during it."""
import os, threading, time
from volume import ENGINES, OURS, PEER, errno_of, read, run, until, write

HEARTBEAT = ["--heartbeat", "1"]


def config(*options):
    return lambda volume: run(PEER, "config", volume.meta, *options, "--yes", check=True)


def unknown_field(volume):
    volume.edit_setting(lambda setting: setting.update({"Novelty": {"A": 1}}))


def kerberos(volume):
    path = os.path.join(volume.folder, "krb5.conf")
    write(path, b"[libdefaults]\n")
    config("--kerberos-config-file", path)(volume)


# What the peer does, and the word of our sentence for it.
ASKED = [
    ("POSIX ACLs", config("--enable-acl")),
    ("Ranger", config("--ranger-rest-url", "http://127.0.0.1:1", "--ranger-service", "s")),
    ("Kerberos", kerberos),
    ("the unknown setting Novelty", unknown_field),
]


def mounts_read_only(volume, word):
    code, text, where = volume.try_mount(OURS, *HEARTBEAT)
    assert code == 0, text
    log = volume.log(where)
    assert f"volume {volume.name} " in log and word in log and "read-only" in log, log
    assert word in text, f"the terminal is not told: {text!r}"
    options = next(line.split()[5] for line in read("/proc/self/mountinfo").decode().splitlines() if line.split()[4] == where)
    assert "ro" in options.split(","), options
    assert read(f"{where}/d/f") == b"before"
    for refused in (errno_of(write, f"{where}/new", b""), errno_of(os.unlink, f"{where}/d/f"), errno_of(os.mkdir, f"{where}/e")):
        assert refused == "EROFS", refused
    assert not volume.sessions(), "a reader has no session"
    volume.umount(where)


def before(volumes):
    for volume, (word, ask) in zip(volumes, ASKED):
        where = volume.mount(OURS)
        os.mkdir(f"{where}/d"), write(f"{where}/d/f", b"before")
        volume.umount(where)
        ask(volume)
        mounts_read_only(volume, word)


def not_at_all(volumes):
    strange, = volumes
    strange.edit_setting(lambda setting: setting.update({"Compression": "brotli"}))
    for volume, word in ((strange, "brotli"),):
        code, text, where = volume.try_mount(OURS)
        assert code and word in text and not os.path.ismount(where), f"{word}: {code} {text}"


def during(volume):
    where = volume.mount(OURS, *HEARTBEAT)
    os.mkdir(f"{where}/d")
    made = 0

    def refused_soon(word, held):
        """Makes files until one is refused: what was made until then has to be counted."""
        nonlocal made
        deadline = time.monotonic() + 15
        while True:
            outcome = errno_of(write, f"{where}/d/f{made}", b"x" * 5000)
            made += 1
            if outcome == "EROFS":
                break
            assert outcome == "ok" and time.monotonic() < deadline, outcome
        assert any(word in line and "every change is refused" in line for line in volume.log(where).splitlines()), volume.log(where)
        assert errno_of(os.pwrite, held, b"too late", 0) == "EROFS"
        errno_of(os.close, held)
        assert read(f"{where}/d/f0") == b"x" * 5000, "reading goes on"

    def writable_again():
        until("the volume can be changed again", lambda: errno_of(os.utime, f"{where}/d") == "ok", 15)

    for word, ask, undo in (
        ("the unknown setting Novelty", unknown_field, lambda v: v.edit_setting(lambda setting: setting.pop("Novelty"))),
        ("POSIX ACLs", config("--enable-acl"), None),
    ):
        held = os.open(f"{where}/held", os.O_RDWR | os.O_CREAT, 0o644)
        asking = threading.Thread(target=ask, args=(volume,))
        asking.start()
        refused_soon(word, held)
        asking.join()
        if undo:
            undo(volume)
            writable_again()
    volume.umount(where)
    # Sums of what was done until the last refusal were written.
    volume.judge()


def accepted(volume):
    """What looks alike and is nothing to refuse: an encrypted secret, limits of clients' versions that we meet."""
    config("--encrypt-secret")(volume), config("--min-client-version", "1.4.0")(volume)
    where = volume.mount(OURS)
    write(f"{where}/f", b"written")
    volume.umount(where)
    config("--min-client-version", "1.9.0")(volume)
    code, text, where = volume.try_mount(OURS)
    assert code and "1.9.0" in text, text


def claims(world):
    for engine in ENGINES:
        volume = world.volume(engine)
        yield f"{engine}: what is not done stops changes at the next heartbeat", lambda v=volume: during(v)
        volumes = [world.volume(engine, store="file") for _ in ASKED]
        yield f"{engine}: what is not done mounts read-only", lambda v=volumes: before(v)
        volumes = [world.volume(engine)]
        yield f"{engine}: what can't be read does not mount", lambda v=volumes: not_at_all(v)
    volume = world.volume("redis")
    yield "an encrypted secret and a client version that we meet are no reason", lambda: accepted(volume)
