"""Compiles Python sources: lines of SOURCE<TAB>PATH-ON-THE-BOX on standard input. To standard output goes the tag of
byte code's file names, and for each source that is valid a line SOURCE<SPACE>SIZE and so many bytes of byte code.
"""

import gc
import importlib.util
import sys
import warnings
from importlib._bootstrap_external import _code_to_hash_pyc

warnings.simplefilter("ignore")
gc.disable()  # Nothing here is a circle but what ends with the process.
out = sys.stdout.buffer
out.write(sys.implementation.cache_tag.encode() + b"\n")
for line in sys.stdin.read().splitlines():
    name, path = line.split("\t")
    with open(name, "rb") as file:
        source = file.read()
    try:
        code = compile(source, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        continue  # Templates and deliberate bad examples are not meant to be compiled.
    made = _code_to_hash_pyc(code, importlib.util.source_hash(source), False)
    out.write(b"%s %d\n" % (name.encode(), len(made)))
    out.write(made)
