"""Stand-in for `sgl-kernel`, a CUDA-only wheel: every name imports, every call fails loudly.

SGLang takes its native torch path for each kernel that is absent, so nothing here is ever called on a CPU.
Remove it once SGLang publishes a CPU wheel.
"""

from collections.abc import Callable
from typing import NoReturn


def __getattr__(name: str) -> Callable[..., NoReturn]:
    if name.startswith("__"):
        raise AttributeError(name)

    def missing(*_args: object, **_kwargs: object) -> NoReturn:
        raise NotImplementedError(f"sgl_kernel.{name} has no CPU stand-in")

    return missing
