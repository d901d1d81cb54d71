"""A zstd stream that comes in parts, taken apart by zstd itself. It may not become more than it should."""

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable

from chatimg_box.system import Trouble


class Unpacker:
    """`take` gets what comes out, in its own thread; what it raises ends everything. `like` is what the stream was made with."""

    def __init__(self, take: Callable[[bytes], None], like: bytes = b"") -> None:
        self.take = take
        self.trouble: Exception | None = None
        with contextlib.ExitStack() as stack:
            # The window of chatimg's own streams, and no more.
            command = ["zstd", "--decompress", "--stdout", "--quiet", "--memory=128MB"]
            shown = []
            if like:
                file = stack.enter_context(os.fdopen(os.memfd_create("like"), "wb"))
                file.write(like)
                file.flush()
                shown = [file.fileno()]
                command.append(f"--patch-from=/dev/fd/{file.fileno()}")
            self.zstd = subprocess.Popen(
                command, pass_fds=shown, start_new_session=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        self.thread = threading.Thread(target=self._drain, daemon=True)
        self.thread.start()

    def _drain(self) -> None:
        try:
            while part := os.read(self.zstd.stdout.fileno(), 1 << 18):
                self.take(part)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other thread tells it
            self.trouble = error
            self.zstd.kill()

    def feed(self, data: bytes) -> None:
        try:
            self.zstd.stdin.write(data)
            self.zstd.stdin.flush()
        except (BrokenPipeError, ValueError):
            self.finish()
            raise Trouble("more data came than belong to the image") from None

    def finish(self) -> None:
        """Returns when all was taken."""
        try:
            self.zstd.stdin.close()
        except OSError:
            pass  # It ended early; why, follows.
        self.thread.join()
        code = self.zstd.wait()
        if self.trouble:
            raise self.trouble
        if code:
            raise Trouble("the data that came are no zstd stream, or end early")

    def close(self) -> None:
        """Ends it, however far it got."""
        self.zstd.kill()
        self.thread.join()
        self.zstd.wait()
        for pipe in (self.zstd.stdin, self.zstd.stdout):
            try:
                pipe.close()
            except OSError:
                pass
