#!/usr/bin/env python3
"""Looks for secrets where none may be. Prints nothing of them: a finding is the name of the secret and the place.

watch:  every process, all the time, its arguments and environment, until the file --stop is there.
search: every file under the folders of --in; links are not followed.

A secret is a file; its file name is its name. It is found as it is and in base64 at any of the three alignments, as
Secrets inside of other objects and dumped messages have it.
"""

import argparse
import base64
import os
import stat
import time

CHUNK = 1 << 20


def forms(secret: bytes) -> list[bytes]:
    found = [secret]
    for shift in range(3):
        # The characters that neighbours take part in are cut off at both ends.
        encoded = base64.b64encode(b"\0" * shift + secret)
        first = (shift * 8 + 5) // 6
        last = (shift + len(secret)) * 8 // 6
        found.append(encoded[first:last])
    return found


def load(paths: list[str]) -> dict[str, list[bytes]]:
    secrets = {}
    for path in paths:
        with open(path, "rb") as file:
            value = file.read()
        assert len(value) >= 12, f"{path} is too short to be told from other words"
        secrets[os.path.basename(path)] = forms(value)
    return secrets


def names_in(data: bytes, secrets: dict[str, list[bytes]]) -> set[str]:
    return {name for name, variants in secrets.items() if any(variant in data for variant in variants)}


def watch(secrets: dict[str, list[bytes]], stop: str, output: str) -> None:
    # A process may change what it shows, so a pid is looked at again and again.
    found: set[str] = set()
    own = str(os.getpid())
    while True:
        last = os.path.exists(stop)
        for pid in os.listdir("/proc"):
            if not pid.isdigit() or pid == own:
                continue
            for what in ("cmdline", "environ"):
                try:
                    with open(f"/proc/{pid}/{what}", "rb") as file:
                        data = file.read()
                    for name in names_in(data, secrets):
                        with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
                            found.add(f"{name} /proc/*/{what} of {file.read().strip()}")
                except OSError:
                    continue  # It ended meanwhile.
        if last:
            break
        time.sleep(0.02)
    with open(output, "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in sorted(found))


def search(secrets: dict[str, list[bytes]], folders: list[str], output: str) -> None:
    overlap = max(len(variant) for variants in secrets.values() for variant in variants)
    with open(output, "w", encoding="utf-8") as report:
        for folder in folders:
            assert os.path.isdir(folder), f"{folder} is no folder"
            for directory, subfolders, files in os.walk(folder):
                # The containers' own root file systems are images, not what somebody told.
                subfolders[:] = [name for name in subfolders if name != "rootfs"]
                for name in files:
                    path = os.path.join(directory, name)
                    if not stat.S_ISREG(os.lstat(path).st_mode):
                        continue
                    found: set[str] = set()
                    with open(path, "rb") as file:
                        tail = b""
                        while chunk := file.read(CHUNK):
                            found |= names_in(tail + chunk, secrets)
                            tail = chunk[-overlap:]
                    report.writelines(f"{secret} {path}\n" for secret in sorted(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=["watch", "search"])
    parser.add_argument("--stop")
    parser.add_argument("--output", required=True)
    parser.add_argument("--in", dest="folders", action="append", default=[])
    parser.add_argument("secrets", nargs="+")
    args = parser.parse_args()
    secrets = load(args.secrets)
    if args.action == "watch":
        watch(secrets, args.stop, args.output)
    else:
        search(secrets, args.folders, args.output)


if __name__ == "__main__":
    main()
