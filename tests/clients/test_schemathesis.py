"""Schemathesis finds nothing: requests drawn from the description, of a server that runs.

What it draws and checks, and its seed, are in `schemathesis.toml`; its version is in
requirements.lock. HANSA_SCHEMATHESIS="--max-examples 200 --seed 7" looks for longer, or elsewhere.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any
from uuid import uuid4

from tests.cli.server import READY, Server

CONFIG = Path(__file__).parent / "schemathesis.toml"
FILE = b"GIF89a"


def send(
    url: str, key: str, path: str, body: Any = None, method: str = ""
) -> tuple[Any, Mapping[str, str]]:
    """Return what an operation answers, and the headers."""
    sent = body if isinstance(body, bytes) else body and json.dumps(body).encode()
    kind = "image/gif" if isinstance(body, bytes) else "application/json"
    request = urllib.request.Request(
        url + path, sent, {"Authorization": f"Bearer {key}", "Content-Type": kind,
        "Idempotency-Key": str(uuid4())}, method=method or None,
    )  # fmt: skip
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read()), answer.headers


def ask(*question: Any) -> Any:
    """Return what an operation answers."""
    return send(*question)[0]


def buy(url: str, key: str, payment: str) -> Any:
    """Return what completing a new cart answers."""
    shown = ask(url, key, "/commerce/products/blue-mug")["variants"][0]
    cart = ask(url, key, "/commerce/carts", {"lines": [{"variant_id": shown["id"], "quantity": 1}]})
    said = {"version": cart["version"], "expected_total": shown["price"], "payment": payment}
    return ask(url, key, f"/commerce/carts/{cart['id']}/complete", said)


def things(url: str, key: str, operator: str) -> dict[str, str]:
    """Make one of everything that a path can name; return the names."""
    (own,) = ask(url, operator, "/sites")["items"]
    made = ask(url, key, "/commerce/products", {
        "handle": "blue-mug", "title": "Blue mug",
        "variants": [{"sku": "B", "price": {"minor": 1500, "currency": "EUR"}, "stock": 9000}],
    })  # fmt: skip
    variant = made["variants"][0]["id"]
    lines = [{"variant_id": variant, "quantity": 1}]
    cart, headers = send(url, key, "/commerce/carts", {"lines": lines})
    letter = {"to": ["ann@example.org"], "subject": "Hello", "text": "There"}
    endpoint = ask(url, key, "/webhooks/endpoints", {"url": "https://hooks.invalid/"})
    return {
        "query": collect(url, key),
        "own": own["id"],
        "position": headers["Hansa-Position"],
        "site": ask(url, operator, "/sites", {"name": "victim"})["id"],
        "product": "blue-mug",
        "variant": variant,
        "cart": cart["id"],
        "order": buy(url, key, "tok_ok")["id"],
        "attempt": buy(url, key, "tok_late")["attempt"],
        "endpoint": endpoint["endpoint"]["id"],
        "message": ask(url, key, "/mail/messages", letter)["id"],
        "blob": ask(url, key, "/files?name=cat.gif", FILE, "PUT")["id"],
    }


def collect(url: str, key: str) -> str:
    """Make a collection with one of everything that a path can name in it; schemathesis.toml and
    schemathesis_hooks.py know the names. Return that of a search which found something."""
    at = "/search/collections/recipes"
    fields = [{"name": "title", "type": "text"}, {"name": "cuisine", "type": "keyword"}]
    rule = {"id": "first", "q": "stew", "pin": [{"id": "labskaus", "place": 1}]}
    for path, body in (
        (at, {"schema": {"fields": fields}, "open_filter": ""}),
        (f"{at}/documents/labskaus", {"title": "Labskaus", "cuisine": "hanseatic"}),
        (f"{at}/rules/first", rule),
        (f"{at}/synonyms/stew", {"id": "stew", "words": ["stew", "ragout"]}),
        ("/search/aliases/dishes", {"collection": "recipes"}),
        ("/search/collections/spare", {"schema": {"fields": fields}}),
    ):
        ask(url, key, path, body, "PUT")
    found = ask(url, key, f"{at}/search", {"q": "labskaus", "change": 1})
    return str(found["query_id"])


def test_it_finds_nothing(tmp_path: Path) -> None:
    with Server(tmp_path / "cell") as server:
        server.wait_for(READY)
        url = f"http://localhost:{server.port}"
        keys = {
            "key": (tmp_path / "cell" / "demo.key").read_text().strip(),
            "operator": (tmp_path / "cell" / "operator.key").read_text().strip(),
        }
        config = tmp_path / "schemathesis.toml"
        filled = Template(CONFIG.read_text()).substitute(keys, **things(url, **keys))
        config.write_text(filled)
        more = shlex.split(os.environ.get("HANSA_SCHEMATHESIS", ""))
        done = subprocess.run(
            [sys.executable, "-m", "schemathesis.cli", "--config-file", config, "run",
             f"{url}/openapi.json", "--no-color", *more],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(CONFIG.parent)}, text=True,
            capture_output=True, timeout=None if more else 300,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        tested = re.search(r"Selected: (\d+)/(\d+)\n +Tested: (\d+)", done.stdout)
        assert tested is not None
        assert tested[1] == tested[2] == tested[3]
        assert server.stop() == 0
