"""Importing: a module that is imported only defines things."""

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

# Runs in a process of its own. An act counts against a module when the innermost module body on the stack is ours;
# reading the modules themselves, and what the bodies of other people's packages do, does not.
_PROBE = """
import _thread, importlib, json, sys, threading

ours, modules = sys.argv[1], sys.argv[2:]
ACTS = ("open", "socket.", "_thread.start", "subprocess.", "os.system", "os.fork", "os.posix_spawn", "os.mkdir",
        "os.remove", "os.rename", "os.putenv", "sqlite3.connect", "shutil.", "tempfile.")
found = []

def notice(event, arguments):
    if not event.startswith(ACTS):
        return
    frame = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith("<frozen importlib"):
            return
        if frame.f_code.co_name == "<module>":
            if path.startswith(ours):
                where = f"{path[len(ours):].lstrip('/')}:{frame.f_lineno}"
                found.append(f"{where}: importing does {event} {arguments!r:.120}")
            return
        frame = frame.f_back

def noticed(start):
    def wrapper(*arguments, **keywords):
        notice("_thread.start", arguments)
        return start(*arguments, **keywords)
    return wrapper

# Not every Python that we support raises an audit event for a thread.
_thread.start_new_thread = noticed(_thread.start_new_thread)
threading.Thread.start = noticed(threading.Thread.start)
sys.addaudithook(notice)
for module in modules:
    try:
        importlib.import_module(module)
    except BaseException as error:
        found.append(f"{module}: importing raises {type(error).__name__}: {error}")
sys.stdout.write(json.dumps(found))
"""


def acts_at_import(folder: Path, modules: Iterable[str]) -> list[str]:
    """What importing these modules of a folder does beyond importing."""
    command = [
        sys.executable,
        "-c",
        f"import sys; sys.path.insert(0, {str(folder)!r})\n{_PROBE}",
        str(folder),
        *modules,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode != 0:
        return [f"the process that imports everything ended with {done.returncode}: {done.stderr[-2000:]}"]
    return json.loads(done.stdout.splitlines()[-1])
