"""Whatever a volume's objects go through on their way, either client reads what the other wrote."""
import os, subprocess
from objects import both_read
from volume import OURS, PEER, run, until

PASSPHRASE = "correct horse"
# Volumes without a key pass it over.
os.environ["JFS_RSA_PASSPHRASE"] = PASSPHRASE


def private_key(folder, name, *options):
    path = os.path.join(folder, f"{name}.pem")
    subprocess.run(["openssl", "genrsa", "-out", path, *options, "2048"], check=True, capture_output=True)
    return path


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


def claims(world):
    forms = {"PKCS#8": [], "PKCS#1": ["-traditional"], "encrypted PKCS#8": ["-aes256", "-passout", f"pass:{PASSPHRASE}"],
             "encrypted PKCS#1": ["-traditional", "-aes256", "-passout", f"pass:{PASSPHRASE}"]}
    keys = {form: private_key(world.folder, f"key{n}", *options) for n, (form, options) in enumerate(forms.items())}
    for form, algorithm, formatter, compression in (("PKCS#8", "aes256gcm-rsa", PEER, "lz4"), ("PKCS#1", "chacha20-rsa", OURS, "none"),
                                                    ("encrypted PKCS#8", "chacha20-rsa", PEER, "none"), ("encrypted PKCS#1", "aes256gcm-rsa", OURS, "zstd")):
        volume = world.volume("sqlite", "--encrypt-rsa-key", keys[form], "--encrypt-algo", algorithm, "--compress", compression, "--block-size", "64K", formatter=formatter)
        yield f"{algorithm} with a key in {form}, {compression}", lambda v=volume: encrypted(v)
    volume = world.volume("sqlite", "--encrypt-rsa-key", keys["encrypted PKCS#8"], formatter=OURS)
    yield "an encrypted volume stays locked without its passphrase", lambda v=volume: locked(v, keys["PKCS#8"])
