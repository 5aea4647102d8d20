"""Starts SGLang on a machine without a GPU: `python launch.py --model-path DIR --device cpu ...`.

Spawned children run the top of this file again, so the environment and the stub stand outside the guard.
"""

import os
import sys

os.environ.setdefault("SGLANG_USE_CPU_ENGINE", "1")

import torchvision_stub  # noqa: F401

if __name__ == "__main__":
    from sglang.launch_server import run_server
    from sglang.srt.server_args import prepare_server_args
    from sglang.srt.utils import kill_process_tree

    try:
        run_server(prepare_server_args(sys.argv[1:]))
    finally:
        kill_process_tree(os.getpid(), include_parent=False)
