"""Compiles Python sources. On standard input each is a line SIZE<SPACE>PATH-ON-THE-BOX and so many bytes. To standard output
goes the tag of byte code's file names, and for each source that is valid a line NUMBER<SPACE>SIZE and so many bytes of byte
code; sources are numbered from 0.
"""

import gc
import importlib.util
import itertools
import sys
import warnings
from importlib._bootstrap_external import _code_to_hash_pyc

warnings.simplefilter("ignore")
gc.disable()  # Nothing here is a circle but what ends with the process.
out = sys.stdout.buffer
out.write(sys.implementation.cache_tag.encode() + b"\n")
for number in itertools.count():
    head = sys.stdin.buffer.readline()
    if not head:
        break
    size, path = head.decode().rstrip("\n").split(" ", 1)
    source = sys.stdin.buffer.read(int(size))
    try:
        code = compile(source, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        continue  # Templates and deliberate bad examples are not meant to be compiled.
    made = _code_to_hash_pyc(code, importlib.util.source_hash(source), False)
    out.write(b"%d %d\n" % (number, len(made)))
    out.write(made)
