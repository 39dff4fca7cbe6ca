import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from services.analytics.pages import WEB, pages

SCRIPTS = sorted((WEB / "js").rglob("*.js"))
SHEETS = sorted((WEB / "css").rglob("*.css"))


class Links(HTMLParser):
    """What a page loads, and code that it has in itself."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.inline: list[str] = []
        self._in_code = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("script", "img"):
            self.loaded.append(given.get("src") or "")
        if tag == "link":
            self.loaded.append(given.get("href") or "")
        self._in_code = tag in ("script", "style")
        self.inline += [f"{name} of {tag}" for name in given if name == "style" or name.startswith("on")]

    def handle_data(self, data: str) -> None:
        if self._in_code and data.strip():
            self.inline.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._in_code = False


@pytest.fixture
def client() -> TestClient:
    return TestClient(pages(ingest_url="https://feedback.example"))


def test_everything_that_the_page_loads_is_there_and_may_be_kept_for_ever(client: TestClient) -> None:
    links = Links(client.get("/").text)

    assert len(links.loaded) >= 7
    for address in links.loaded:
        answer = client.get(address)
        assert answer.status_code == 200, address
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_every_module_that_is_imported_is_there() -> None:
    for script in SCRIPTS:
        for target in re.findall(r'from "([^"]+)"', script.read_text()):
            assert (script.parent / target).resolve().is_file(), f"{script.name} imports {target}"


def test_the_page_itself_is_asked_for_again_and_not_sent_again(client: TestClient) -> None:
    first = client.get("/")

    assert first.headers["cache-control"] == "no-cache"
    again = client.get("/", headers={"if-none-match": f'"other", W/{first.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["content-security-policy"] == first.headers["content-security-policy"]


def test_the_policy_lets_nothing_in_but_what_the_page_brings(client: TestClient) -> None:
    policy = client.get("/").headers["content-security-policy"]

    assert policy == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    assert Links(client.get("/").text).inline == []


@pytest.mark.parametrize("path", ["/", "/favicon.ico", "/assets/x/js/main.js", "/assets/x/nothing.js", "/nothing"])
def test_every_answer_carries_the_security_headers(client: TestClient, path: str) -> None:
    headers = client.get(path).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-frame-options"] == "DENY"
    assert "default-src 'none'" in headers["content-security-policy"]


def test_a_page_of_another_release_gets_the_files_that_there_are_but_may_not_keep_them(client: TestClient) -> None:
    answer = client.get("/assets/0123456789abcdef/js/main.js")

    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "path",
    [
        "/assets/x/../pages.py",
        "/assets/x/%2e%2e/pages.py",
        "/assets/x/..%2f..%2fpages.py",
        "/assets/x//etc/passwd",
        "/assets/x/index.html",
    ],
)
def test_nothing_but_the_page_s_own_files_can_be_read(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_what_is_large_travels_compressed_where_the_client_can_read_that(client: TestClient) -> None:
    address = "/assets/x/vendor/uplot/uPlot.esm.js"
    packed = client.get(address, headers={"accept-encoding": "gzip"})
    plain = client.get(address, headers={"accept-encoding": "identity"})

    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.content == plain.content
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]) / 3
    assert packed.headers["vary"] == "accept-encoding"


def test_a_changed_file_changes_every_address(tmp_path: Path) -> None:
    def addresses(script: str) -> list[str]:
        (tmp_path / "js").mkdir(exist_ok=True)
        (tmp_path / "js" / "a.js").write_text(script)
        (tmp_path / "favicon.svg").write_text("<svg/>")
        (tmp_path / "index.html").write_text('<script src="{{assets}}/js/a.js"></script>')
        return Links(TestClient(pages(folder=tmp_path)).get("/").text).loaded

    assert addresses("1") != addresses("2")
    assert addresses("1") == addresses("1")


def test_the_address_of_the_door_cannot_break_out_of_its_attribute() -> None:
    page = TestClient(pages(ingest_url='https://x/"><script>alert(1)</script>')).get("/").text

    assert "alert(1)</script>" not in page
    assert Links(page).inline == []


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_the_page_only_answers_reading(client: TestClient, method: str) -> None:
    answer = client.request(method, "/")

    assert answer.status_code == 405
    assert answer.json()["error"] == "method_not_allowed"


def test_no_script_makes_html_or_code_of_text() -> None:
    forbidden = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser|srcdoc"
    )

    assert len(SCRIPTS) > 20
    for script in SCRIPTS:
        assert not forbidden.search(script.read_text()), script.name


def test_no_file_of_the_page_points_to_another_host() -> None:
    for file in [*SCRIPTS, *SHEETS, WEB / "index.html", WEB / "favicon.svg"]:
        hosts = set(re.findall(r"(?:https?:)?//([a-z0-9.-]+\.[a-z]{2,})", file.read_text()))
        assert hosts <= {"www.w3.org"}, file.name


def test_the_charts_library_comes_with_its_licence() -> None:
    assert "MIT" in (WEB / "vendor" / "uplot" / "LICENSE").read_text()
