"""The verbs of `sites`, `log`, `migrate`, `import`, `check`: what they do and refuse."""

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pytest

from hansa.cli.main import main
from hansa.platform.sites.api import ClockState
from hansa.testing.postgres import Dsns
from tests.cli.server import READY, Server, free_port

PRODUCT = (
    '{"handle":"%s","title":"T","variants":[{"sku":"%s","price":{"minor":5,"currency":"EUR"}}]}\n'
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HANSA_FOLDER", str(tmp_path / "cell"))
    for name in ("HANSA_DATABASE", "HANSA_OWNER_DATABASE", "HANSA_URL", "HANSA_KEY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cell"


@pytest.mark.usefixtures("folder")
def test_sites_are_made_listed_keyed_and_advanced(capsys: pytest.CaptureFixture[str]) -> None:
    clock = "2026-01-01T00:00:00Z"
    made = ["sites", "create", "Tea house", "--currency", "GBP", "--host", "tea.localhost"]
    assert main([*made, "--test-clock", clock]) == 0
    site = capsys.readouterr().out.strip()
    assert site.startswith("site_")
    assert main(["sites", "list"]) == 0
    listed = capsys.readouterr().out
    assert all(one in listed for one in (site, "GBP", "Tea house"))
    assert main(["sites", "key", site, "commerce.*", "--name", "till"]) == 0
    assert capsys.readouterr().out.startswith("hansa_")
    assert main(["sites", "advance", site, "2027-01-01T00:00:00Z"]) == 0
    assert "2027-01-01" in capsys.readouterr().out


@pytest.mark.usefixtures("folder")
def test_settings_are_shown_set_and_reset(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sites", "create", "shop"]) == 0
    site = capsys.readouterr().out.strip()
    few = '{"site": {"per_s": 5, "burst": 9}}'
    assert main(["sites", "set", site, "sites.limits", few]) == 0
    assert capsys.readouterr().out.startswith("* sites.limits")
    assert main(["sites", "settings", site]) == 0
    assert '"burst":9' in capsys.readouterr().out
    assert main(["sites", "set", site, "sites.limits", "many"]) == 1
    assert "is no JSON" in capsys.readouterr().err
    assert main(["sites", "set", site, "sites.limits", '{"at_once": 0}']) == 1
    assert "at_once" in capsys.readouterr().err
    assert main(["sites", "reset", site, "sites.limits"]) == 0
    capsys.readouterr()
    assert main(["sites", "settings", site]) == 0
    assert '"burst":9' not in capsys.readouterr().out


@pytest.mark.usefixtures("folder")
def test_keys_expire_and_are_revoked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sites", "create", "shop"]) == 0
    site = capsys.readouterr().out.strip()
    make = ["sites", "key", site, "commerce.*", "--expires"]
    assert main([*make, "2020-01-01T00:00:00Z"]) == 1
    assert "/expires_at: an instant that is to come" in capsys.readouterr().err
    assert main([*make, "2999-01-01T00:00:00Z"]) == 0
    capsys.readouterr()
    assert main(["sites", "keys", site]) == 0
    listed = capsys.readouterr().out
    assert "until 2999-01-01" in listed
    key = listed.split()[0]
    assert main(["sites", "revoke", site, key]) == 0
    assert main(["sites", "keys", site]) == 0
    assert f"{key}  revoked " in capsys.readouterr().out
    assert main(["sites", "revoke", site, "key_nobody"]) == 1


@pytest.mark.parametrize(
    "line",
    [
        "sites list",
        "sites key site_x commerce.*",
        "log due",
        "log skip a b c",
        "import FILE",
        "serve --port PORT",
    ],
)
def test_who_looks_at_no_cell_makes_none(
    line: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "products.ndjson"
    file.write_text(PRODUCT % ("a", "A"))
    assert main(line.replace("FILE", str(file)).replace("PORT", str(free_port())).split()) == 1
    assert "There is no cell in" in capsys.readouterr().err
    assert not folder.exists()


@pytest.mark.parametrize(
    "line",
    [
        "serve --port 0",
        "log events --limit 10001",
        "import x --stock -1",
        "torture --kills 0",
        "torture --processes 17",
        "torture --seed x",
    ],
)
def test_numbers_have_bounds(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(line.split())
    assert ended.value.code == 2
    assert "a whole number from" in capsys.readouterr().err


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"hansa {version('hansa')}\n"


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "line",
    [
        "sites create x --currency euro",
        "sites create x --test-clock yesterday",
        "sites key site_nobody commerce.*",
        "sites advance site_nobody 2027-01-01T00:00:00Z",
        "sites list --url http://127.0.0.1:9",
        "import /nowhere.ndjson",
        "log events",
        "log skip site_x sub evt",
        "log replay-due site_x due",
    ],
)
def test_a_refusal_is_one_clear_line(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 1
    told = capsys.readouterr().err.strip()
    assert told.startswith("hansa: ")
    assert "Traceback" not in told


def test_migrate_plans_applies_and_has_nothing_left(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["migrate", "--plan"]) == 0
    planned = capsys.readouterr().out
    assert "commerce" in planned
    assert main(["migrate"]) == 0
    assert "commerce" in capsys.readouterr().out
    assert main(["migrate"]) == 0
    assert "up to date" in capsys.readouterr().out
    assert (folder / "hansa.db").exists()


def test_import_tells_its_faults_and_goes_on(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sites", "create", "shop"]) == 0
    file, faults = tmp_path / "products.ndjson", tmp_path / "faults.ndjson"
    file.write_text(PRODUCT % ("a", "A") + "junk\n\n" + PRODUCT % ("b", "B"))
    capsys.readouterr()
    assert main(["import", str(file), "--faults", str(faults)]) == 1
    said = capsys.readouterr()
    assert "2 products, 1 faulty lines" in said.out
    assert "line 2:" in said.err
    assert json.loads(faults.read_text())["line"] == 2
    assert main(["import", str(file)]) == 1
    said = capsys.readouterr()
    assert "2 products are here already" in said.out
    assert "1 lines before line 5 were refused the last time" in said.err
    torn = tmp_path / "torn.ndjson.gz"
    torn.write_bytes(b"\x1f\x8b\x08junk")
    assert main(["import", str(torn)]) == 1
    assert main(["log", "events", "--limit", "2", "--type", "commerce.product_created"]) == 0
    assert capsys.readouterr().out.count("commerce.product_created") == 2
    assert main(["log", "deliveries"]) == 0
    assert main(["log", "subscribers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("commerce.count_sale ") for line in lines)
    assert all(" up to date " in line for line in lines)
    with closing(sqlite3.connect(folder / "hansa.db")) as cell, cell:
        cell.execute("DELETE FROM hansa_cursors")
        cell.execute("UPDATE hansa_subscribers SET floor = 0")
        cell.execute("UPDATE hansa_events SET type = 'commerce.order_placed' WHERE position > 1")
        cell.execute("INSERT INTO hansa_subscribers VALUES ('gone.of_old', 0, 0)")
        (orders,) = cell.execute("SELECT count(*) FROM hansa_events WHERE position > 1").fetchone()
    assert orders > 1
    assert main(["log", "subscribers"]) == 0
    told = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert f" {orders} events behind " in told["commerce.count_sale"]
    assert " up to date " in told["webhooks.take_event"], "it takes those of sites with endpoints"
    assert " of no service here " in told["gone.of_old"]
    assert main(["log", "due"]) == 0


def test_a_line_that_the_shop_refuses_is_told_and_left_out(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sites", "create", "shop"]) == 0
    file, faults = tmp_path / "products.ndjson", tmp_path / "faults.ndjson"
    lines = [PRODUCT % (f"p{number}", f"S{number}") for number in range(40)]
    lines[7] = lines[7].replace("EUR", "USD")
    lines[20] = PRODUCT % ("p3", "other")
    lines[39] = PRODUCT % ("other", "S3")
    file.write_text("".join(lines))
    assert main(["import", str(file), "--faults", str(faults)]) == 1
    assert "37 products, 3 faulty lines" in capsys.readouterr().out
    told = {one["line"]: one["detail"] for one in map(json.loads, faults.read_text().splitlines())}
    assert list(told) == [8, 21, 40]
    assert "not in USD" in told[8]
    assert "the same handle" in told[21]
    assert "the same sku" in told[40]
    assert main(["import", str(file)]) == 1
    assert "going on at line 41" in capsys.readouterr().out


def test_a_running_server_is_worked_through(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    async def stuck(*_: object) -> ClockState:
        return ClockState(datetime(2030, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC))

    file = tmp_path / "products.ndjson"
    file.write_text(PRODUCT % ("a", "A"))
    with Server(folder) as server:
        server.wait_for(READY)
        url = f"http://127.0.0.1:{server.port}"
        operator = (folder / "operator.key").read_text().strip()
        shop = (folder / "demo.key").read_text().strip()
        assert main(["sites", "--url", url, "--key", operator, "create", "second"]) == 0
        site = capsys.readouterr().out.strip()
        assert main(["sites", "--url", url, "--key", operator, "key", site, "commerce.*"]) == 0
        assert capsys.readouterr().out.startswith("hansa_")
        through = ["sites", "--url", url, "--key", operator]
        assert main([*through, "keys", site]) == 0
        key = capsys.readouterr().out.split()[0]
        assert main([*through, "keys", site, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)[0]["id"] == key
        assert main([*through, "revoke", site, key]) == 0
        assert capsys.readouterr().out == "revoked\n"
        assert main([*through, "list"]) == 0
        listed = capsys.readouterr().out
        assert len(listed.splitlines()) == 2
        assert main([*through, "create", "t", "--test-clock", "2026-01-01T00:00:00Z"]) == 0
        clock = capsys.readouterr().out.strip()
        assert main([*through, "advance", clock, "2030-01-01T00:00:00Z"]) == 0
        assert capsys.readouterr().out == "2030-01-01T00:00:00+00:00\n"
        monkeypatch.setattr("hansa.cli.sites.STUCK_S", 0.0)
        monkeypatch.setattr("hansa.cli.remote.Server.ask", stuck)
        assert main([*through, "advance", clock, "2031-01-01T00:00:00Z"]) == 1
        assert "The clock stands at 2030-01-01" in capsys.readouterr().err
        monkeypatch.undo()
        assert main(["sites", "--folder", str(folder), "list"]) == 1
        assert "its address with --url" in capsys.readouterr().err
        assert main(["import", "--url", url, "--key", shop, str(file)]) == 0
        assert "1 products, 0 faulty" in capsys.readouterr().out
        assert main(["import", "--url", url, "--key", "wrong", str(file)]) == 1
        assert "hansa: " in capsys.readouterr().err
        assert server.stop() == 0


def test_the_last_release_is_not_broken(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0
    assert "Nothing is broken" in capsys.readouterr().out


def test_postgres_is_migrated_by_the_owner_and_served_by_the_application(
    folder: Path, postgres_dsns: Dsns, capsys: pytest.CaptureFixture[str]
) -> None:
    application = ["--database", postgres_dsns.application]
    both = [*application, "--owner-database", postgres_dsns.owner]
    with Server(folder, "serve", *application) as early:
        early.wait_for("hansa migrate")
        assert early.process.wait(60) == 1
    assert main(["migrate", *both]) == 0
    capsys.readouterr()
    with Server(folder, "serve", *application) as one, Server(folder, "serve", *application) as two:
        one.wait_for("Hansa serves on")
        two.wait_for("Hansa serves on")
        assert main(["sites", *both, "create", "shop"]) == 0
        assert capsys.readouterr().out.startswith("site_")
        assert main(["log", "events", *application]) == 0
        assert "sites.site_created" in capsys.readouterr().out
        assert main(["log", "subscribers", *application]) == 0
        assert " up to date " in capsys.readouterr().out
        assert [one.stop(), two.stop()] == [0, 0]


def test_a_master_key_that_others_may_read_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sites", "create", "shop"]) == 0
    (folder / "master.key").chmod(0o644)
    assert main(["sites", "list"]) == 1
    assert "chmod 600" in capsys.readouterr().err
