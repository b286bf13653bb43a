#!/usr/bin/env python3
"""Packs a folder or a layer as an image: a docker-archive that `ctr image import` reads.

The archive is a tar with manifest.json, a configuration, and one layer whose sha256 the configuration names.
Owners and modes are kept, times are dropped, so the same folder gives the same bytes.
The image of this project is not made here but by `cargo xtask image`, from the Dockerfile.
"""

import argparse
import hashlib
import io
import json
import os
import tarfile
import tempfile


def add_bytes(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))


def without_time(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tag", required=True)
    content = parser.add_mutually_exclusive_group(required=True)
    content.add_argument("--root", help="folder that becomes the image's root")
    content.add_argument("--layer", help="tar that becomes the image's only layer as it is; images share a layer by its bytes")
    parser.add_argument("--entrypoint")
    parser.add_argument("--command", default="")
    parser.add_argument("--output", required=True)
    args = parser.parse_args()

    with open(args.layer, "rb") if args.layer else tempfile.TemporaryFile(dir=os.path.dirname(args.output)) as layer:
        if args.root:
            with tarfile.open(fileobj=layer, mode="w", format=tarfile.GNU_FORMAT) as tar:
                for name in sorted(os.listdir(args.root)):
                    tar.add(os.path.join(args.root, name), arcname=name, filter=without_time)
        layer.seek(0)
        digest = hashlib.file_digest(layer, "sha256").hexdigest()
        config = json.dumps({
            "architecture": "amd64",
            "os": "linux",
            "config": {
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "Entrypoint": [args.entrypoint] if args.entrypoint else None,
                "Cmd": args.command.split() or None,
            },
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + digest]},
            "history": [{"created_by": "e2e/cluster/pack.py"}],
        }).encode()
        config_name = hashlib.sha256(config).hexdigest() + ".json"
        layer_name = digest + "/layer.tar"
        manifest = [{"Config": config_name, "RepoTags": [args.tag], "Layers": [layer_name]}]
        with tarfile.open(args.output, mode="w", format=tarfile.GNU_FORMAT) as archive:
            add_bytes(archive, "manifest.json", json.dumps(manifest).encode())
            add_bytes(archive, config_name, config)
            entry = tarfile.TarInfo(layer_name)
            entry.size = layer.seek(0, os.SEEK_END)
            layer.seek(0)
            archive.addfile(entry, layer)


if __name__ == "__main__":
    main()
