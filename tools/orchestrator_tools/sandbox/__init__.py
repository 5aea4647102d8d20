"""Model-written Python, run where it can do no harm: in Monty, in a process of its own that the kernel bounds."""

from orchestrator_tools.sandbox.run import PythonError, PythonResult, run_python

__all__ = ["PythonError", "PythonResult", "run_python"]
