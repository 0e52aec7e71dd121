"""Whether runs are tracked online: known without importing W&B."""

from __future__ import annotations

import netrc
import os
from urllib.parse import urlparse

#: W&B's project where `WANDB_PROJECT` names none.
PROJECT = "cxr-reasoner"


def logged_in_to_wandb() -> bool:
    """Whether `wandb login` was run (it writes ~/.netrc) or a key is in the environment."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
