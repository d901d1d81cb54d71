"""Compiles Python sources: lines of SOURCE<TAB>RESULT<TAB>PATH-ON-THE-BOX on standard input. The argument
says how many at a time.

Each is compiled in a child of its own, forked from the same state: which constants marshal writes as
references depends on what the interpreter saw before, and so would the bytes.
"""

import os
import py_compile
import sys
import warnings

warnings.simplefilter("ignore")
running = 0


def wait():
    if os.wait()[1] != 0:
        sys.exit(1)


for line in sys.stdin.read().splitlines():
    source, result, name = line.split("\t")
    if running == int(sys.argv[1]):
        wait()
        running -= 1
    running += 1
    if os.fork() == 0:
        try:
            py_compile.compile(
                source,
                cfile=result,
                dfile=name,
                doraise=True,
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )
        except py_compile.PyCompileError as error:
            # Templates and deliberate bad examples are not meant to be compiled. Anything else, such as too
            # little memory, must not leave a hole.
            if not issubclass(error.exc_type, (SyntaxError, ValueError)):
                print(f"{name}: {error}", file=sys.stderr, flush=True)
                os._exit(1)
        except BaseException as error:
            print(f"{name}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
for _ in range(running):
    wait()
