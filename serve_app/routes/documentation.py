"""The documentation page. Swagger UI comes from an installed package: nothing is loaded from elsewhere."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, HTMLResponse, Response
from swagger_ui_bundle import swagger_ui_path  # type: ignore[import-untyped]

from serve_app.errors import not_found
from serve_app.studio.files import file_response

router = APIRouter()
_ASSETS = {
    "swagger-ui.css": "text/css; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "favicon-32x32.png": "image/png",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_START = """window.ui = SwaggerUIBundle({
  url: "/openapi.json", dom_id: "#docs", deepLinking: true, docExpansion: "list", defaultModelsExpandDepth: 0,
  displayRequestDuration: true, persistAuthorization: false, tryItOutEnabled: false, validatorUrl: null,
});
"""
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><title>RayLens API</title><meta name="viewport" content="width=device-width">
<link rel="icon" href="/docs/assets/favicon-32x32.png">
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
</head>
<body><div id="docs"></div>
<script src="/docs/assets/swagger-ui-bundle.js"></script><script src="/docs/assets/start.js"></script>
</body>
</html>
"""


@router.get("/docs")
async def page() -> Response:
    """The documentation."""
    return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _POLICY})


@router.get("/openapi.json")
async def document(request: Request) -> Response:
    """The OpenAPI document."""
    return file_response(request, request.app.state.document, {"Cache-Control": "no-cache"})


@router.get("/docs/assets/{name}")
def asset(name: str) -> Response:
    """One of the page's own files."""
    if name == "start.js":
        return Response(_START, media_type="text/javascript; charset=utf-8", headers={"Cache-Control": "no-cache"})
    if name not in _ASSETS:
        raise not_found("file of that name")
    headers = {"Cache-Control": "public, max-age=86400"}
    return FileResponse(str(swagger_ui_path / name), media_type=_ASSETS[name], headers=headers)
