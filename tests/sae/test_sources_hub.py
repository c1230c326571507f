"""A hub that misbehaves: cuts, refusals, files that change, tokens that are missing, wrong or open to others."""

from __future__ import annotations

import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from email.utils import formatdate
from pathlib import Path
from typing import NamedTuple

import pytest

from configs.download import HubSource
from sae.sources import SourceError, SourceUnreachable, resolve_source
from sae.sources.hub_files import HubFile, HubRevision
from sae.sources.hub_requests import retry_after_s
from sae.sources.hub_token import hub_token
from tests.hub import COMMIT, LFS_BYTES, Hub, hub

__all__ = ["hub"]
MIB = 1 << 20
PIECE = 10 * MIB  # of huggingface_hub, which keeps what it has got in these


def quiet(done: int) -> None:
    """Progress that nobody reads."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("RAYLENS_HOME", str(home))
    return home


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses take no time, and are noted."""
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    return pauses


def large_file(hub: Hub, mib: int, seed: int = 1) -> bytes:
    content = random.Random(seed).randbytes(mib * MIB)
    (hub.repo("dataset", "me/texts") / "a.txt").write_bytes(content)
    return content


def fetched(source: HubSource | None = None) -> Path:
    found = resolve_source(source or HubSource(repo="me/texts"), "dataset")
    return found.fetch(found.names, quiet) / "a.txt"


def test_a_busy_hub_and_a_cut_connection_are_got_over(hub: Hub, home: Path, no_pauses: list[float]) -> None:
    content = b"text\n" * 1000
    (hub.repo("dataset", "me/texts") / "a.txt").write_bytes(content)
    hub.faults = {"/api/": [429, 503], "/resolve/": ["cut", 503]}
    hub.retry_after = "7"
    assert fetched().read_bytes() == content
    assert not any(hub.faults.values())
    assert no_pauses.count(7.0) >= 2, "as long as the hub asks for"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_twenty_cuts_at_random_change_nothing(hub: Hub, home: Path, no_pauses: list[float], seed: int) -> None:
    content = large_file(hub, 45)
    draw = random.Random(seed)
    path = f"/datasets/me/texts/resolve/{COMMIT}/a.txt"
    cuts: list[int | str] = [f"{draw.choice(['cut', 'cut', 'reset'])}:{draw.randrange(12 * MIB)}" for _ in range(20)]
    hub.faults = {path: list(cuts)}
    assert hashlib.sha256(fetched().read_bytes()).digest() == hashlib.sha256(content).digest()
    assert hub.faults[path] == [], "all cuts happened"
    assert hub.requests[f"GET {path}"] == 21, "after a cut one request goes on"
    twice = hub.sent[path] - len(content)
    assert 0 <= twice <= 20 * PIECE
    starts = [int(re.findall(r"\d+", one)[0]) for one in hub.ranges]
    assert starts == sorted(starts), "what is there is never fetched again"


@pytest.mark.parametrize("fault", [503, 429, 500])
def test_a_download_that_was_given_up_goes_on_where_it_ended(
    hub: Hub, home: Path, no_pauses: list[float], fault: int
) -> None:
    content = large_file(hub, 25)
    path = f"/datasets/me/texts/resolve/{COMMIT}/a.txt"
    hub.faults = {path: [f"reset:{21 * MIB}", *[fault] * 60]}
    with pytest.raises(SourceUnreachable, match=rf"answers {fault} for dataset 'me/texts'"):
        fetched()
    hub.faults = {}
    assert fetched().read_bytes() == content
    assert int(re.findall(r"\d+", hub.ranges[-1])[0]) >= 10 * MIB
    assert hub.sent[path] <= len(content) + PIECE + 2 * MIB  # and what was on its way
    assert not list(Path(os.environ["HF_HUB_CACHE"]).rglob("*.incomplete"))


def test_a_process_that_is_killed_loses_a_piece_at_most(hub: Hub, home: Path) -> None:
    content = large_file(hub, 32)
    hub.pause_s = 0.004
    code = (
        "from configs.download import HubSource\nfrom sae.sources import resolve_source\n"
        "found = resolve_source(HubSource(repo='me/texts'), 'dataset')\nfound.fetch(found.names, print)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    cache, deadline = Path(os.environ["HF_HUB_CACHE"]), time.monotonic() + 60
    while not any(part.stat().st_size >= PIECE for part in cache.rglob("*.incomplete")):
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    (part,) = cache.rglob("*.incomplete")
    come = part.stat().st_size
    assert PIECE <= come < len(content)
    hub.pause_s = 0.0
    assert fetched().read_bytes() == content
    assert hub.ranges == [f"bytes={come}-"]


@pytest.mark.parametrize("mib", [0, 12])
def test_a_file_that_changes_under_a_revision_is_refused(hub: Hub, home: Path, mib: int) -> None:
    file = hub.repo("dataset", "me/texts") / "a.txt"
    for before, after in ((b"one", b"two"), (b"x" * LFS_BYTES * 2, b"y" * LFS_BYTES * 2), (b"longer", b"short")):
        file.write_bytes(before + bytes(mib * MIB))
        found = resolve_source(HubSource(repo="me/texts"), "dataset")
        file.write_bytes(after + bytes(mib * MIB))
        with pytest.raises(
            SourceError, match=rf"'a\.txt' .* does not have the .* commit {COMMIT[:12]}: it changed there"
        ):
            found.fetch(found.names, quiet)
        assert fetched().read_bytes() == file.read_bytes(), "what the hub has now is right"
        file.unlink()
        for cached in Path(os.environ["HF_HUB_CACHE"]).rglob("a.txt"):
            cached.unlink()


def test_a_file_that_changes_while_it_is_fetched_is_refused(hub: Hub, home: Path, no_pauses: list[float]) -> None:
    content = large_file(hub, 22)
    found = resolve_source(HubSource(repo="me/texts"), "dataset")
    file = hub.repo("dataset", "me/texts") / "a.txt"
    hub.faults = {"/resolve/": [f"cut:{11 * MIB}", *[503] * 60]}
    with pytest.raises(SourceError, match="503"):
        found.fetch(found.names, quiet)
    hub.faults = {}
    file.write_bytes(content[::-1])
    with pytest.raises(SourceError, match="it changed there under that revision"):
        found.fetch(found.names, quiet)
    assert not list(Path(os.environ["HF_HUB_CACHE"]).rglob("snapshots/*/a.txt"))


def test_a_file_that_was_damaged_in_the_cache_is_fetched_again(hub: Hub, home: Path) -> None:
    content = b"text\n" * 1000
    (hub.repo("dataset", "me/texts") / "a.txt").write_bytes(content)
    path = fetched()
    path.write_bytes(content[:-1] + b"?")
    assert fetched().read_bytes() == content


def test_a_disk_that_is_too_small_is_said_before_the_start(
    hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"a.txt": HubFile(30 << 40, None), "b.txt": HubFile(1, None)}
    revision = HubRevision(HubSource(repo="me/texts"), "dataset", COMMIT, files)
    with pytest.raises(
        SourceError, match=r"^dataset 'me/texts' needs 30,720\.0 GiB in .*hf-cache, whose disk has .* GiB left: make"
    ):
        revision.fetch(["a.txt", "b.txt"], quiet)
    assert not hub.requests
    # What is there already needs no room.
    (hub.repo("dataset", "me/texts") / "a.txt").write_bytes(b"x")
    fetched()
    with pytest.raises(SourceError, match=r"there|listed|lists"):
        revision.fetch(["a.txt"], quiet)
    assert hub.requests


def test_retry_after_is_seconds_or_a_date() -> None:
    now = 1_800_000_000.0
    assert retry_after_s("12", now) == 12
    assert retry_after_s(formatdate(now + 90, usegmt=True), now) == 90
    assert retry_after_s(formatdate(now - 90, usegmt=True), now) == 0
    assert retry_after_s("", now) is None
    assert retry_after_s("soon", now) is None


def test_what_is_wrong_with_the_hub_is_said(hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (hub.repo("model", "me/model") / "config.json").write_text("{}")
    with pytest.raises(
        SourceError, match=rf"^there is no model 'no/such' on {hub.url}; if it is private, set HF_TOKEN, or write"
    ):
        resolve_source(HubSource(repo="no/such"), "model")
    with pytest.raises(SourceError, match=r"model 'me/model' on .* has no revision 'v9'"):
        resolve_source(HubSource(repo="me/model", revision="v9"), "model")
    with pytest.raises(SourceError, match="'a b' cannot name a repository"):
        resolve_source(HubSource(repo="a b"), "model")
    with pytest.raises(SourceError, match=r"model me/model at aaaaaaaaaaaa has no model .*; there are config\.json"):
        resolve_source(HubSource(repo="me/model"), "model")
    monkeypatch.setattr("sae.sources.hub_requests.ATTEMPTS", 2)
    hub.faults = {"/api/": [500] * 20}
    with pytest.raises(SourceError, match="answers 500 for model 'me/model'"):
        resolve_source(HubSource(repo="me/model"), "model")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SourceError, match=r"cannot get model 'me/model' from http://127\.0\.0\.1:9"):
        resolve_source(HubSource(repo="me/model"), "model")


class Places(NamedTuple):
    """Where a token can be."""

    own: Path
    library: Path


@pytest.fixture
def places(hub: Hub, home: Path) -> Places:
    import huggingface_hub.constants as constants

    found = Places(home / "hf_token", Path(constants.HF_TOKEN_PATH))
    found.library.parent.mkdir(parents=True, exist_ok=True)
    (hub.repo("dataset", "me/secret") / "a.txt").write_text("x")
    hub.gated, hub.token = {"me/secret"}, "sesame"
    return found


def write_secret(path: Path, text: str, mode: int = 0o600) -> None:
    path.touch(mode=0o600)
    path.write_text(text)
    path.chmod(mode)


def test_a_gated_repository_without_a_token_says_how_to_give_one(hub: Hub, places: Places) -> None:
    with pytest.raises(
        SourceError,
        match=rf"^dataset 'me/secret' on {hub.url} is gated: accept its terms there and give your token: set HF_TOKEN, or "
        r"write the token to the file hf_token in RAYLENS_HOME \(mode 600\)$",
    ):
        resolve_source(HubSource(repo="me/secret"), "dataset")
    assert hub.authorizations == {None}


@pytest.mark.parametrize("where", ["environment", "own", "library"])
def test_the_token_comes_from_the_environment_or_a_file_of_its_owner(
    hub: Hub, places: Places, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    write_secret(places.library, "sesame\n" if where == "library" else "wrong")
    if where != "library":
        write_secret(places.own, "sesame" if where == "own" else "wrong")
    if where == "environment":
        monkeypatch.setenv("HF_TOKEN", "sesame")
    found = resolve_source(HubSource(repo="me/secret"), "dataset")
    assert (found.fetch(found.names, quiet) / "a.txt").read_text() == "x"
    assert "sesame" not in repr(found)
    assert "sesame" not in repr(hub_token())
    assert hub.authorizations == {"Bearer sesame"}


def test_a_token_that_the_hub_does_not_take_is_named_by_its_place_alone(
    hub: Hub, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_secret(places.own, "opensesame")
    with pytest.raises(
        SourceError, match=r"is gated, and the token of .*/hf_token has no access to it: accept"
    ) as caught:
        resolve_source(HubSource(repo="me/secret"), "dataset")
    assert "sesame" not in str(caught.value)
    hub.faults = {"/api/": [401]}
    monkeypatch.setenv("HF_TOKEN", "opensesame")
    with pytest.raises(SourceError, match="the token of HF_TOKEN") as caught:
        resolve_source(HubSource(repo="me/secret"), "dataset")
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
@pytest.mark.parametrize("place", Places._fields)
def test_a_token_that_others_can_read_is_not_used(hub: Hub, places: Places, place: str, mode: int) -> None:
    path: Path = getattr(places, place)
    write_secret(path, "sesame", mode)
    with pytest.raises(SourceError, match=rf"others can read the token in .* \(mode {mode:o}\).*`chmod 600 ") as caught:
        resolve_source(HubSource(repo="me/secret"), "dataset")
    assert "sesame" not in str(caught.value)
    assert not hub.requests, "nothing was sent"
    path.chmod(0o600)
    assert resolve_source(HubSource(repo="me/secret"), "dataset").names == ["a.txt"]


@pytest.mark.parametrize("text", ["two words", "schlüssel", "a\nb"])
def test_what_is_no_token_is_not_sent(hub: Hub, places: Places, text: str) -> None:
    write_secret(places.own, text)
    with pytest.raises(SourceError, match=r"hf_token holds no token: it must be one word"):
        resolve_source(HubSource(repo="me/secret"), "dataset")
    assert not hub.requests
