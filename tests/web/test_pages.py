"""The page's files: served from memory, kept by browsers as long as they are true, and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cloche.errors import ConfigurationError, NotFoundError
from cloche.web.pages import BuiltPages

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html>" + "x" * 1000)
    (tmp_path / "theme.js").write_text("1;")
    (tmp_path / "assets" / "index-AbCd1234.js").write_text("let page;" * 200)
    (tmp_path / "assets" / "secrets.py").write_text("no file of the page")
    return tmp_path


@pytest.fixture
def pages(folder: Path) -> BuiltPages:
    return BuiltPages(folder)


@pytest.fixture
def built() -> BuiltPages:
    return BuiltPages()


async def get(pages: BuiltPages, path: str, **headers: str) -> Any:
    transport = httpx2.ASGITransport(app=pages)
    async with httpx2.AsyncClient(transport=transport, base_url="http://testserver") as client:
        client.headers.pop("accept-encoding")
        return await client.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})


async def test_the_page_is_asked_for_each_time_and_its_hashed_files_never_again(pages: BuiltPages):
    page, asset, theme = [await get(pages, path) for path in ("/", "/assets/index-AbCd1234.js", "/theme.js")]

    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert page.headers["cache-control"] == theme.headers["cache-control"] == "no-cache"
    assert asset.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert asset.headers["content-type"] == "text/javascript; charset=utf-8"


@pytest.mark.parametrize(
    ("accepted", "is_packed"),
    [
        ("gzip, br", True),
        ("br;q=1.0, GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q=0.0", False),
        ("br", False),
        ("", False),
    ],
)
async def test_what_is_large_is_packed_for_those_who_take_it(pages: BuiltPages, accepted: str, is_packed: bool):
    answer = await get(pages, "/assets/index-AbCd1234.js", accept_encoding=accepted)

    assert answer.text == "let page;" * 200
    assert (answer.headers.get("content-encoding") == "gzip") is is_packed
    assert (int(answer.headers["content-length"]) < 1800) is is_packed
    assert answer.headers["vary"] == "Accept-Encoding"


async def test_a_file_that_a_browser_has_is_not_sent_again(pages: BuiltPages):
    plain, packed = [await get(pages, "/", accept_encoding=one) for one in ("identity", "gzip")]

    again = await get(pages, "/", if_none_match=f'"other", W/{plain.headers["etag"]}')
    other = await get(pages, "/", if_none_match=packed.headers["etag"])

    assert plain.headers["etag"] != packed.headers["etag"]
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["content-security-policy"] == plain.headers["content-security-policy"]
    assert other.status_code == 200


@pytest.mark.parametrize(
    "path", ["/assets/secrets.py", "/nothing", "/assets", "/assets/../index.html", "/%2e%2e/pages.py"]
)
async def test_nothing_but_the_page_s_files_is_there(pages: BuiltPages, path: str):
    assert path not in pages.paths

    with pytest.raises(NotFoundError):
        await pages({"type": "http", "path": path, "method": "GET", "headers": []}, _never, _never)


def test_an_installation_without_the_page_says_so(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="make web"):
        BuiltPages(tmp_path)


async def test_the_built_page_names_only_files_that_are_there_and_runs_no_inline_script(built: BuiltPages):
    page = (await get(built, "/")).text

    named = {f"/{path}" for path in re.findall(r'(?:src|href)="\./([^"]+)"', page)}
    assert named <= set(built.paths)
    assert len(named) >= 4
    assert not re.findall(r"<script(?![^>]*\bsrc=)[^>]*>|\son\w+=|style=|https?://", page)


async def test_the_policy_lets_the_page_do_nothing_that_an_answer_could_ask_for(built: BuiltPages):
    answer = await get(built, "/")

    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
    assert {policy[name] for name in ("script-src", "style-src", "img-src", "connect-src")} == {"'self'"}
    assert policy["require-trusted-types-for"] == "'script'"


async def _never(*_: object) -> Any:
    raise AssertionError("nothing is read or sent")


@pytest.mark.slow
def test_a_wheel_brings_the_whole_page(tmp_path: Path):
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)

    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        brought = {name for name in archive.namelist() if name.startswith("cloche/web/built/")}

    assert brought == {f"cloche/web/built{path if path != '/' else '/index.html'}" for path in BuiltPages().paths}
    assert "cloche/web/built/licenses.md" in brought
