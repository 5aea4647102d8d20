"""`python -m orchestrator.local`: converts the engine's model, if that isn't done yet; `make model` calls it."""

import anyio

from orchestrator.local.progress import Progress
from orchestrator.local.sglang import PART, prepare_model
from orchestrator.settings import Settings

if __name__ == "__main__":
    with Progress() as progress:
        folder = anyio.run(prepare_model, Settings.load(), progress)
        progress(PART, "ready", f"the model is in {folder}")
