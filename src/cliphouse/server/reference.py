"""The page /docs, which shows the OpenAPI document. Its scripts come from a CDN, and only this page
may load them."""

from __future__ import annotations

import base64
import hashlib
import re

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse

router = APIRouter()
_SOURCE = "https://cdn.jsdelivr.net"


@router.get("/docs", include_in_schema=False)
async def docs() -> HTMLResponse:
    page = get_swagger_ui_html(
        openapi_url="/openapi.json", title="cliphouse", swagger_favicon_url="data:,"
    )
    text = bytes(page.body).decode()
    inline = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    hashes = " ".join(f"'sha256-{_hash(script)}'" for script in inline)
    policy = (
        f"default-src 'self'; script-src {_SOURCE} {hashes}; "
        f"style-src {_SOURCE} 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"
    )
    return HTMLResponse(text, headers={"Content-Security-Policy": policy})


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
