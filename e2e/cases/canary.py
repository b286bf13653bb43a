#!/usr/bin/env python3
"""Looks for secrets where none may be. Prints nothing of them: a finding is the name of the secret and the place.

watch:  every process, all the time, its arguments and environment, and what is written under the folders of --in
        (logs of pods that will be gone), until the file --stop is there.
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


class Processes:
    """A process may change what it shows, so a pid is looked at again and again: at every turn while it is young, later
    at some."""

    YOUNG = 40
    EVERY = 20

    def __init__(self, secrets: dict[str, list[bytes]]) -> None:
        self.secrets = secrets
        self.seen: dict[str, int] = {}
        self.own = str(os.getpid())

    def look(self, everything: bool) -> set[str]:
        found: set[str] = set()
        pids = [name for name in os.listdir("/proc") if name.isdigit() and name != self.own]
        self.seen = {pid: self.seen.get(pid, 0) + 1 for pid in pids}
        for pid, times in self.seen.items():
            if times <= self.YOUNG or times % self.EVERY == 0 or everything:
                found |= self.shown_by(pid)
        return found

    def shown_by(self, pid: str) -> set[str]:
        found: set[str] = set()
        for what in ("cmdline", "environ"):
            try:
                with open(f"/proc/{pid}/{what}", "rb") as file:
                    names = names_in(file.read(), self.secrets)
                if names:
                    with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
                        comm = file.read().strip()
                    found |= {f"{name} /proc/*/{what} of {comm}" for name in names}
            except OSError:
                continue  # It ended meanwhile.
        return found


class Logs:
    """What is written to files: each is read on from where it was left."""

    def __init__(self, secrets: dict[str, list[bytes]], folders: list[str]) -> None:
        self.secrets = secrets
        self.folders = folders
        self.read: dict[str, int] = {}
        self.overlap = max(len(variant) for variants in secrets.values() for variant in variants)

    def look(self) -> set[str]:
        found: set[str] = set()
        for folder in self.folders:
            for directory, _, files in os.walk(folder):
                for name in files:
                    found |= self.shown_in(os.path.join(directory, name))
        return found

    def shown_in(self, path: str) -> set[str]:
        try:
            start = max(0, self.read.get(path, 0) - self.overlap)
            with open(path, "rb") as file:
                if os.fstat(file.fileno()).st_size < start:
                    start = 0  # Begun anew.
                file.seek(start)
                data = file.read()
        except OSError:
            return set()  # Gone with its pod.
        self.read[path] = start + len(data)
        return {f"{name} {path}" for name in names_in(data, self.secrets)}


def watch(secrets: dict[str, list[bytes]], stop: str, folders: list[str], output: str) -> None:
    processes, logs = Processes(secrets), Logs(secrets, folders)
    found: set[str] = set()
    turn = 0
    while True:
        last = os.path.exists(stop)
        found |= processes.look(everything=last)
        if turn % 10 == 0 or last:
            found |= logs.look()
        turn += 1
        if last:
            break
        time.sleep(0.05)
    # Whoever waits for the findings sees all of them or none.
    with open(f"{output}.part", "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in sorted(found))
    os.rename(f"{output}.part", output)


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
        watch(secrets, args.stop, args.folders, args.output)
    else:
        search(secrets, args.folders, args.output)


if __name__ == "__main__":
    main()
