"""The commands of docs/mirrors.md do what it says, in the order in which they stand there."""
import os, re, subprocess
from volume import OURS, read, write

GUIDE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "mirrors.md")


def mirrors(world, volume):
    own = os.path.join(volume.folder, "guide")
    os.makedirs(f"{own}/bin")
    os.makedirs(f"{own}/near")
    os.symlink(OURS, f"{own}/bin/juicefs")
    there = volume.mount(OURS)
    write(f"{there}/file", b"bytes" * 1000)
    volume.umount(there)
    names = {"SOURCE": volume.meta, "MIRROR": f"sqlite3://{own}/one.db", "MIRROR2": f"sqlite3://{own}/two.db", "NEAR": f"{own}/near", "BUCKET2": f"{own}/bucket"}
    blocks = re.findall(r"^```sh\n(.*?)^```", read(GUIDE).decode(), re.M | re.S)
    assert len(blocks) >= 6, blocks
    script = "set -eux\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n"
    script += "".join(block + f'[ ! -e "$NEAR/.config" ] || cmp "$NEAR/file" {own}/file\n' for block in blocks)
    write(f"{own}/file", b"bytes" * 1000)
    environment = {**os.environ, **names, "PATH": f"{own}/bin:{os.environ['PATH']}", "HOME": own}
    ran = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    assert ran.returncode == 0, ran.stderr[-1500:]
    assert ran.stderr.count(f"+ cmp {own}/near/file") == 2, "the mirror was not looked at"


def claims(world):
    yield "the guide to mirrors does what it says", lambda v=world.volume("sqlite", store="file"): mirrors(world, v)
