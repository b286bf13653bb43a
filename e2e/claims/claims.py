"""Every claim on volumes of its own, some at a time. Ends in "N passed, N failed"."""
import concurrent.futures, importlib, os, sys, time, traceback
from pathlib import Path
from volume import Scratch, World

AT_ONCE = 4
FIRST = ("mounts", "refusals", "records")


def modules():
    """Every module here that makes claims; the long ones first."""
    names = [path.stem for path in Path(__file__).parent.glob("*.py") if "\ndef claims(" in path.read_text()]
    return map(importlib.import_module, sorted(names, key=lambda name: (name not in FIRST, name)))


def tried(name, claim):
    begun = time.monotonic()
    try:
        claim()
        print(f"ok    {name} ({time.monotonic() - begun:.0f} s)", flush=True)
        return True
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        print(f"FAIL  {name}: {type(error).__name__} at {os.path.basename(where.filename)}:{where.lineno}: {error}", flush=True)
        return False


def main(wanted):
    with Scratch() as folder:
        world = World(folder)
        try:
            found = [claim for module in modules() for claim in module.claims(world)]
            found = [(name, claim) for name, claim in found if not wanted or any(word in name for word in wanted)]
            with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
                passed = sum(pool.map(lambda claim: tried(*claim), found))
        finally:
            world.stop()
    print(f"{passed} passed, {len(found) - passed} failed")
    return 0 if found and passed == len(found) else 1


sys.exit(main(sys.argv[1:]))
