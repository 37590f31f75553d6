"""From where a form comes, and whether its browser speaks TLS."""

from hansa.kernel.http.origin import is_from_here, is_secure


def test_where_a_form_comes_from() -> None:
    def came(**headers: str) -> bool:
        return is_from_here({name.replace("_", "-"): v for name, v in headers.items()})

    assert came(sec_fetch_site="same-origin")
    assert came(host="a.test:8400", origin="http://a.test:8400")
    assert not came(sec_fetch_site="cross-site", host="a.test", origin="http://a.test")
    assert not came(sec_fetch_site="same-site")
    assert not came(host="a.test", origin="http://b.test")
    assert not came(host="a.test", origin="null")
    assert not came(host="a.test")
    assert not came(origin="http://")


def test_whether_the_browser_speaks_tls() -> None:
    assert is_secure("https", {})
    assert is_secure("http", {"x-forwarded-proto": "https"})
    assert not is_secure("http", {})
