"""The entry point of a project's functions on AWS Lambda.

A deployed function has ``Handler: stepwell.functions.entry.handler`` and the environment variable STEPWELL_HANDLER
(``cloudsync.functions:list_media``): the same file that runs embedded, with nothing rewritten.
"""

from __future__ import annotations

import os
from typing import Any

from stepwell.functions.handlers import load_handler
from stepwell.functions.typed import lambda_handler

VARIABLE = "STEPWELL_HANDLER"

# Imported with this module, in Lambda's initialisation phase, so that an import error is one and a warm call is not slower.
_handler = lambda_handler(load_handler(os.environ[VARIABLE])) if VARIABLE in os.environ else None


def handler(event: Any, context: Any) -> Any:
    """Lambda calls this; it calls the function that STEPWELL_HANDLER names."""
    if _handler is None:
        raise RuntimeError(f"the environment variable {VARIABLE} is not set; give it the function's handler")
    return _handler(event, context)
