"""Whatever a volume's objects go through on their way, either client reads what the other wrote."""
import base64, json, os, re, shutil, subprocess, urllib.request
from objects import both_read
from volume import OURS, PEER, Volume, read, run, until, write
from servers import Azurite, FakeGcs, Sftp, WebDav

PASSPHRASE = "correct horse"
# Volumes without a key pass it over.
os.environ["JFS_RSA_PASSPHRASE"] = PASSPHRASE


def private_key(folder, name, *options):
    path = os.path.join(folder, f"{name}.pem")
    subprocess.run(["openssl", "genrsa", "-out", path, *options, "2048"], check=True, capture_output=True)
    return path


def document(binary, *command, env=None):
    """The JSON among what is said."""
    text = run(binary, *command, env=env, check=True)[1]
    return json.JSONDecoder().raw_decode(text[text.index("{"):])[0]


def encrypted(volume):
    both_read(volume)
    found = volume.objects()
    assert found, "no objects"
    for path in [*found, os.path.join(volume.folder, "data", volume.name, "juicefs_uuid")]:
        with open(path, "rb") as file:
            body = file.read()
        assert body[:3] == b"\x01\x00\x0c" and b"again and again" not in body, f"{path} is not encrypted"
    for binary in (OURS, PEER):
        run(binary, "gc", volume.meta, env={"JFS_GC_SKIPPEDTIME": "0"}, check=True)


def locked(volume, another):
    """Without the passphrase nothing is read; another key never takes the place of the first."""
    for passphrase, word in (("", "JFS_RSA_PASSPHRASE"), ("wrong", "does not open")):
        for command in (("mount", "-d", volume.meta, volume.folder + "/nowhere"), ("fsck", volume.meta), ("gc", volume.meta)):
            os.makedirs(volume.folder + "/nowhere", exist_ok=True)
            code, text = run(OURS, *command, env={"JFS_RSA_PASSPHRASE": passphrase})
            assert code and word in text, (command, text)
    for change in (["--encrypt-rsa-key", another], ["--encrypt-algo", "chacha20-rsa"]):
        code, text = run(OURS, "format", *volume.store, *change, volume.meta, volume.name)
        assert code and "encryption" in text and "unchanged" in text, text
    run(OURS, "config", volume.meta, "--trash-days", "3", "--yes", check=True)
    until("the peer reads what we changed", lambda: '"TrashDays": 3' in run(PEER, "config", volume.meta)[1])
    code, text = run(OURS, "format", "--storage", "file", "--bucket", volume.folder + "/other", "--encrypt-rsa-key", another, "--encrypt-algo", "sm4gcm", f"sqlite3://{volume.folder}/other.db", "other")
    assert code and "aes256gcm-rsa" in text, text
    for binary in (OURS, PEER):
        run(binary, "fsck", volume.meta, check=True)


def sharded(volume, folder):
    """Every bucket has some of the objects, and both know which."""
    both_read(volume)
    for binary in (OURS, PEER):
        run(binary, "gc", volume.meta, env={"JFS_GC_SKIPPEDTIME": "0"}, check=True)
    report = document(OURS, "gc", "--json", volume.meta, env={"JFS_GC_SKIPPEDTIME": "0"})
    assert report["valid"]["count"] > 20 and not report["leaked"]["count"], report
    if folder:
        counts = [sum(len(names) for _, _, names in os.walk(f"{folder}{n}/{volume.name}/chunks")) for n in range(3)]
        assert all(counts) and sum(counts) == report["scanned"]["count"], counts


def not_sharded(volume):
    for options, word in ((["--shards", "257"], "256"), (["--shards", "3", "--bucket", volume.folder + "/no-place"], "%d"), (["--shards", "3", "--bucket", volume.folder + "/%d-%d"], "%d")):
        code, text = run(OURS, "format", "--storage", "file", *options, f"sqlite3://{volume.folder}/other.db", "other")
        assert code and word in text, text
    code, text = run(OURS, "format", *volume.store, "--shards", "2", volume.meta, volume.name)
    assert code and "shards" in text, text


def attributes(world, volume):
    """What the server keeps beside each object that is not about its bytes: class and tags."""
    found = {}
    filer = f"http://127.0.0.1:{world.s3.ports[4]}"

    def walk(path):
        with urllib.request.urlopen(urllib.request.Request(f"{filer}{path}/?limit=1000", headers={"Accept": "application/json"}), timeout=20) as answer:
            entries = json.load(answer)["Entries"] or []
        for entry in entries:
            if entry["Mode"] & (1 << 31):
                walk(entry["FullPath"])
            else:
                kept = {name: value for name, value in (entry["Extended"] or {}).items() if re.search("tagging|storage-class", name, re.I)}
                found[entry["FullPath"]] = json.dumps(kept, sort_keys=True)

    walk(f"/buckets/claims/{volume.name}/chunks")
    return found


def classed(world, volume):
    """Class and tag of the setting and of one mount, as the peer sends them."""
    def written_by(binary, name, *options):
        where = volume.mount(binary, *options)
        write(f"{where}/{name}", os.urandom(70_000))
        volume.umount(where)
        new = {path: kept for path, kept in attributes(world, volume).items() if path not in before}
        before.update(new)
        return set(new.values())

    before = {}

    run(OURS, "config", volume.meta, "--tag", "team=a b/ü", "--storage-class", "STANDARD_IA", "--yes", check=True)
    settings = document(PEER, "config", volume.meta)
    assert settings["Tiers"]["0"] == {"ID": 0, "StorageClass": "STANDARD_IA", "Tag": "team=a b/ü"}, settings
    ours, theirs = written_by(OURS, "o1"), written_by(PEER, "p1")
    assert ours == theirs and len(ours) == 1 and "STANDARD_IA" in str([base64.b64decode(v) for v in json.loads(*ours).values()]), (ours, theirs)
    assert len(json.loads(*ours)) == 2, ours
    options = ["--storage-class", "REDUCED_REDUNDANCY", "--tag", "x=y"]
    ours, theirs = written_by(OURS, "o2", *options), written_by(PEER, "p2", *options)
    assert ours == theirs and len(ours) == 1, (ours, theirs)
    again = ["format", *volume.store, "--storage-class", "STANDARD", "--tag", "kept=1", f"sqlite3://{volume.folder}/tagged.db", volume.name + "t"]
    run(OURS, *again, check=True)
    assert document(PEER, "config", f"sqlite3://{volume.folder}/tagged.db")["Tiers"]["0"] == {"ID": 0, "StorageClass": "STANDARD", "Tag": "kept=1"}
    code, text = run(OURS, "config", volume.meta, "--tag", "nonsense", "--yes")
    assert code and "key=value" in text, text


def another_name(volume):
    """A volume that says `minio`, made by either, is S3."""
    both_read(volume)
    for storage, word in (("oss", "s3.oss-REGION"), ("nfs", "file"), ("nonsense", "unknown")):
        code, text = run(OURS, "format", "--storage", storage, "--bucket", "x", f"sqlite3://{volume.folder}/other.db", "other")
        assert code and word in text and storage in text, text


def reconfigured(volume):
    """A mount follows `config`: another bucket, other credentials, another class; wrong ones leave the last in place."""
    where = volume.mount(OURS, "--heartbeat", "1")
    write(f"{where}/before", os.urandom(70_000))
    shutil.copytree(volume.folder + "/data", volume.folder + "/moved")
    run(PEER, "config", volume.meta, "--bucket", volume.folder + "/moved", "--yes", check=True)
    until("the mount follows", lambda: "moved" in volume.log(where))
    old = len(volume.objects())
    body = os.urandom(70_000)
    write(f"{where}/after", body)
    moved = sum(len(names) for at, _, names in os.walk(f"{volume.folder}/moved/{volume.name}/chunks"))
    assert len(volume.objects()) == old and moved == old + 2, (old, moved)
    volume.edit_setting(lambda setting: setting.update({"Storage": "nfs"}))
    until("the mount says what is wrong", lambda: "can't be used" in volume.log(where))
    write(f"{where}/still", body)
    volume.edit_setting(lambda setting: setting.update({"Storage": "file"}))
    volume.umount(where)
    where = volume.mount(PEER)
    assert read(f"{where}/after") == read(f"{where}/still") == body
    volume.umount(where)
    volume.judge()


def served(folder, Service):
    """A whole volume on a service of that kind: made by us, written by both in turns, judged by both."""
    os.mkdir(folder)
    server = Service(folder, "claims")
    try:
        os.environ.update(server.env)
        volume = Elsewhere(folder, server)
        where = volume.mount(OURS)
        os.mkdir(f"{where}/d")
        write(f"{where}/d/ours", os.urandom(300_000))
        volume.umount(where)
        where = volume.mount(PEER)
        write(f"{where}/d/theirs", os.urandom(300_000))
        sums = {name: read(f"{where}/d/{name}") for name in ("ours", "theirs")}
        volume.umount(where)
        assert all(len(body) == 300_000 for body in sums.values()), {name: len(body) for name, body in sums.items()}
        where = volume.mount(OURS)
        assert {name: read(f"{where}/d/{name}") for name in ("ours", "theirs")} == sums
        os.unlink(f"{where}/d/ours")
        volume.umount(where)
        run(OURS, "fsck", volume.meta, check=True)
        run(OURS, "gc", volume.meta, env={"JFS_GC_SKIPPEDTIME": "0"}, check=True)
        run(PEER, "fsck", volume.meta, check=True)
    finally:
        for name in server.env:
            os.environ.pop(name, None)
        server.stop()


class Elsewhere(Volume):
    """A volume on a store that the other claims do not share."""

    def __init__(self, folder, server):
        self.folder, self.engine, self.mounts, self.name, self.meta = folder, "sqlite", 0, "elsewhere", f"sqlite3://{folder}/meta.db"
        keys = ["--access-key", server.access_key, "--secret-key", server.secret_key] if server.access_key else []
        self.store = ["--storage", server.storage, "--bucket", server.bucket, *keys]
        code, text = run(OURS, "--trace", "format", *self.store, "--trash-days", "0", "--block-size", "64K", self.meta, self.name)
        assert not code and not any(secret in text for secret in (server.secret_key, getattr(server, "key", "")) if secret), text


def claims(world):
    for Service in (Azurite, FakeGcs, WebDav, Sftp):
        folder = os.path.join(world.folder, Service.__name__)
        yield f"a volume on {Service.storage}", lambda f=folder, s=Service: served(f, s)
    for shards, formatter in (("file", PEER), ("file", OURS), ("s3", OURS)):
        volume = world.volume("sqlite", "--shards", "3", "--block-size", "64K", formatter=formatter, store=shards, bucket="-%d")
        yield f"three shards in {shards}, made by {'us' if formatter == OURS else 'the peer'}", lambda v=volume, f=shards == "file" and volume.folder + "/data-": sharded(v, f)
    volume = world.volume("sqlite", "--block-size", "64K")
    yield "a mount follows what config says of the store", lambda v=volume: reconfigured(v)
    volume = world.volume("sqlite", formatter=OURS)
    yield "shards need a place for their number", lambda v=volume: not_sharded(v)
    volume = world.volume("sqlite", "--trash-days", "0", store="s3")
    yield "storage class and tag are sent as by the peer", lambda v=volume: classed(world, v)
    for formatter in (OURS, PEER):
        volume = world.volume("sqlite", "--storage", "minio", "--block-size", "64K", formatter=formatter, store="s3")
        yield f"storage minio, made by {'us' if formatter == OURS else 'the peer'}", lambda v=volume: another_name(v)
    forms = {"PKCS#8": [], "PKCS#1": ["-traditional"], "encrypted PKCS#8": ["-aes256", "-passout", f"pass:{PASSPHRASE}"],
             "encrypted PKCS#1": ["-traditional", "-aes256", "-passout", f"pass:{PASSPHRASE}"]}
    keys = {form: private_key(world.folder, f"key{n}", *options) for n, (form, options) in enumerate(forms.items())}
    for form, algorithm, formatter, compression in (("PKCS#8", "aes256gcm-rsa", PEER, "lz4"), ("PKCS#1", "chacha20-rsa", OURS, "none"),
                                                    ("encrypted PKCS#8", "chacha20-rsa", PEER, "none"), ("encrypted PKCS#1", "aes256gcm-rsa", OURS, "zstd")):
        volume = world.volume("sqlite", "--encrypt-rsa-key", keys[form], "--encrypt-algo", algorithm, "--compress", compression, "--block-size", "64K", formatter=formatter)
        yield f"{algorithm} with a key in {form}, {compression}", lambda v=volume: encrypted(v)
    volume = world.volume("sqlite", "--encrypt-rsa-key", keys["encrypted PKCS#8"], formatter=OURS)
    yield "an encrypted volume stays locked without its passphrase", lambda v=volume: locked(v, keys["PKCS#8"])
