"""The commands of each guide in docs/guides do what it says, in the order in which they stand there."""
import os, re, subprocess
from volume import OURS, PEER, Redis, read, run, until, write

GUIDES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "guides")


def follow(guide, own, names):
    """Runs the `sh` blocks of a guide as one script; what it left mounted goes."""
    os.makedirs(f"{own}/bin"), os.makedirs(f"{own}/mnt", exist_ok=True)
    for name, binary in (("juicefs", OURS), ("stock", PEER)):
        os.symlink(binary, f"{own}/bin/{name}")
    blocks = re.findall(r"^```sh\n(.*?)^```", read(f"{GUIDES}/{guide}.md").decode(), re.M | re.S)
    assert blocks, guide
    names = {"DIR": own, "MNT": f"{own}/mnt", "CACHE": f"{own}/cache", **names}
    environment = {**os.environ, **names, "PATH": f"{own}/bin:{os.environ['PATH']}", "HOME": own}
    try:
        ran = subprocess.run(["bash", "-c", "set -eux\n" + "".join(blocks)], env=environment, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
        assert ran.returncode == 0, ran.stderr[-1500:]
    finally:
        if os.path.ismount(f"{own}/mnt"):
            subprocess.run(["umount", "-l", f"{own}/mnt"], capture_output=True)
    return ran


def place(volume):
    return os.path.join(volume.folder, "guide")


def switch(volume):
    where = volume.mount(PEER)
    write(f"{where}/file", b"bytes" * 1000)
    # A volume in use: in the first second of a new one the root has no statistics yet, and both clients begin them.
    until("the peer has counted it", lambda: volume.redis("HGET", "dirUsedInodes", "1").strip() == b"1")
    ran = follow("switch", place(volume), {"META": volume.meta, "OLD": where})
    assert ran.stdout.count("written by the new one") == 2 and ran.stdout.count("written by the old one") == 1, ran.stdout
    volume.umount(where)
    volume.judge()


def databases(volume, servers):
    follow("databases", place(volume), servers)


def stores(volume):
    s3 = volume.world.s3
    metas = {name: f"sqlite3://{volume.folder}/{name}.db" for name in ("META", "META2", "META3")}
    follow("stores", place(volume), {**metas, "S3_BUCKET": s3.bucket("guide"), "S3_KEY": s3.access_key, "S3_SECRET": s3.secret_key, "JFS_RSA_PASSPHRASE": "a passphrase"})


def boot(volume):
    own, password = place(volume), "no word of a dictionary"
    os.makedirs(own)
    server = Redis(own, None, "--requirepass", password)
    try:
        run(OURS, "format", server.url(), "guarded", "--bucket", f"{own}/data", env={"META_PASSWORD": password}, check=True)
        follow("boot", own, {"META": volume.meta, "GUARDED": server.url(), "PASSWORD": password})
    finally:
        server.stop()


def mounted(volume, guide):
    """Guides that begin with a mount that is there."""
    own = place(volume)
    os.makedirs(f"{own}/mnt")
    log = f"{own}/log"
    run(OURS, "mount", "-d", "--log", log, "--cache-dir", f"{own}/cache", volume.meta, f"{own}/mnt", check=True)
    os.mkdir(f"{own}/mnt/team")
    run(OURS, "quota", "set", volume.meta, "--path", "/team", "--capacity", "1", check=True)
    follow(guide, own, {"META": volume.meta, "LOG": log})


def backup(volume, new):
    where = volume.mount(OURS)
    write(f"{where}/file", b"bytes" * 1000)
    volume.umount(where)
    ran = follow("backup", place(volume), {"META": volume.meta, "NEW": new})
    assert ran.stdout.count("bytes") == 1000, ran.stdout


def claims(world):
    def empty():
        world.used += 1
        return world.redis.url(world.used)

    plain = lambda *options: world.volume("sqlite", *options, store="file")
    told = lambda guide: f"the guide {guide} does what it says"
    yield told("switch"), lambda v=world.volume("redis", store="file"): switch(v)
    servers = {"REDIS": empty(), "OTHER": empty(), "POSTGRES": world.database("postgres").database("guide"), "MARIADB": world.database("mysql").database("guide")}
    yield told("databases"), lambda v=plain(): databases(v, servers)
    yield told("stores"), lambda v=plain(): stores(v)
    yield told("cache"), lambda v=plain(): follow("cache", place(v), {"META": v.meta})
    yield told("boot"), lambda v=plain(): boot(v)
    yield told("trouble"), lambda v=plain("--trash-days", "1"): mounted(v, "trouble")
    yield told("backup"), lambda v=plain(), new=empty(): backup(v, new)
    yield told("speed"), lambda v=plain(): follow("speed", place(v), {"META": v.meta})
