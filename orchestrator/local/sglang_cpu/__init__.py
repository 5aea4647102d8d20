"""Programs that run in the engine's own environment, never imported by the orchestrator.

`launch.py` starts SGLang on a CPU, `prepare_model.py` turns a GGUF model into the folder it serves.
"""
