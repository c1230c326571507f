"""Prints the OpenAPI document: `python -m serve_app.openapi`. It needs no server, catalog or store."""

from __future__ import annotations

import json

from serve_app.app import routes_only

if __name__ == "__main__":
    print(json.dumps(routes_only().openapi(), ensure_ascii=False, indent=1))
