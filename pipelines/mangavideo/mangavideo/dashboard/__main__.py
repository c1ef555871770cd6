"""`python -m mangavideo.dashboard`: serve the dashboard's API on a port.

Beyond this machine it belongs behind a proxy that speaks HTTPS.
"""

from __future__ import annotations

import argparse

import uvicorn

from mangavideo.dashboard.app import create_app

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The dashboard of the manga video pipeline.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    uvicorn.run(create_app(), host=arguments.host, port=arguments.port, log_level="warning")
