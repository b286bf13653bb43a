"""What the judges of a volume say, read the same way by every suite."""
import re


def fsck_of_the_tree(run, peer, meta):
    """The peer's; what it says of the root is made up (two links) when a database takes long to answer: it looks again."""
    for _ in range(4):
        code, text = run(peer, "fsck", meta, "--path", "/", "--recursive", "--sync-dir-stat")
        if not re.search("nlink of / should be [0-9]+, but got 2 ", text):
            break
    return code, text


def findings(code, text):
    """Of the audit, one line each; anything else that it says when it fails for another reason."""
    found = [line for line in text.splitlines() if re.match(r"[a-z-]+: ", line) and not re.match("audit: |error: ", line)]
    return found or ([text[-800:]] if code else [])


def is_excused(finding, is_miscounted=False):
    """Of the audit of a volume on which a peer did everything to everything."""
    return re.match("dir-stat: |used-space: |used-inodes: " + "|parent: " * is_miscounted, finding) is not None
