"""A Python client that openapi-python-client made buys a product.

The generator and all that its clients need are in an environment of their own, as
`python/requirements.txt` says: nothing of Hansa is in it.
"""

import json
import shutil
import sys
from pathlib import Path

from tests.clients.conftest import Shop, run

HERE = Path(__file__).parent / "python"


def test_a_generated_client_buys_a_product(shop: Shop, tmp_path: Path) -> None:
    run(tmp_path, sys.executable, "-m", "venv", "--without-pip", "environment")
    python = tmp_path / "environment" / "bin" / "python"
    run(
        tmp_path, sys.executable, "-m", "pip", "--python", python, "install", "--quiet",
        "--disable-pip-version-check", "--no-deps", "--no-compile",
        "--requirement", HERE / "requirements.txt",
    )  # fmt: skip
    (tmp_path / "config.yaml").write_text("post_hooks: []\n")
    said = run(
        tmp_path, python.parent / "openapi-python-client", "generate", "--path", shop.openapi,
        "--output-path", "shop", "--meta", "none", "--config", "config.yaml", "--fail-on-warning",
    )  # fmt: skip
    assert "WARNING" not in said
    shutil.copy(HERE / "buy.py", tmp_path)
    bought = json.loads(run(tmp_path, python, "buy.py", shop.url, shop.key))
    assert bought["paid"] == 2 * bought["price"]
    assert (bought["state"], bought["payment"]) == ("placed", "paid")
    assert (bought["same"], bought["denied"]) == (True, 401)
