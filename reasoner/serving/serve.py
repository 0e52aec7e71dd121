"""`python -m reasoner.serving.serve [flags of vllm serve]`: vLLM's server, which is the same in both of its builds.

One that a trainer started ends when its standard input does, with all its processes: the trainer holds the other end,
however it ends itself.
"""

from __future__ import annotations

import os
import signal
import threading

from reasoner.serving import HELD


def _end_with_input() -> None:
    while os.read(0, 4096):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)


def main() -> None:
    if os.environ.get(HELD):
        threading.Thread(target=_end_with_input, daemon=True).start()
    from vllm.entrypoints.launchers.api_server.entry import main as serve

    serve()


if __name__ == "__main__":
    main()
