"""The store when things go wrong: damaged files, a full disk, a process killed at any point."""

from __future__ import annotations

import errno
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest

from cluster.store import CorruptFile, Manifest, Store, StoreError, StoreFull
from cluster.store.cache import Cache
from cluster.store.hashing import sha256_of
from configs.artifact_ids import ArtifactRef

REF = ArtifactRef("tokens", "0123456789abcdef")
REPOSITORY = Path(__file__).resolve().parents[2]


def make(tmp_path: Path, content: bytes) -> Store:
    store = Store.open(str(tmp_path / "store"), cache=str(tmp_path / "cache"))
    (tmp_path / "local").write_bytes(content)
    file = store.put(REF, 1, "train-00000.parquet", tmp_path / "local")
    store.commit(Manifest(kind=REF.kind, id=REF.id, stage="tokenize", stage_version=1, attempt=1, files=(file,)))
    return store


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
@pytest.mark.parametrize("by", ["path", "directory"])
def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path, damage: str, by: str) -> None:
    store = make(tmp_path, b"x" * 100_000)
    stored = store.files(REF).path("train-00000.parquet")
    expected = sha256_of(stored)
    if damage == "flip":
        flip(stored)
    elif damage == "truncate":
        os.truncate(stored, 99_999)
    else:
        stored.unlink()
    found = sha256_of(stored) if stored.exists() else "no file at all"
    with pytest.raises(CorruptFile) as caught:
        store.files(REF).directory() if by == "directory" else store.files(REF).path("train-00000.parquet")
    for part in (str(REF), "'train-00000.parquet'", expected, found, str(tmp_path / "store/tokens" / REF.id), "again"):
        assert part in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value), "it travels back from a worker"


def test_a_file_is_hashed_once_in_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make(tmp_path, b"x")
    store.files(REF).path("train-00000.parquet")
    monkeypatch.setattr("cluster.store.hashing.sha256_of", lambda path: pytest.fail(f"{path} is hashed again"))
    store.files(REF).path("train-00000.parquet")
    store.files(REF).directory()


@pytest.mark.parametrize("content", [b"", b"{", b'{"kind": "tokens"}', b"\xff\xfe"])
def test_a_damaged_manifest_is_named_with_what_to_do(tmp_path: Path, content: bytes) -> None:
    store = make(tmp_path, b"x")
    (tmp_path / "store/tokens" / REF.id / "manifest.json").write_bytes(content)
    with pytest.raises(CorruptFile, match=r"manifest\.json is damaged.*delete the artifact's folder"):
        store.files(REF)


def test_a_damaged_note_on_a_part_is_named(tmp_path: Path) -> None:
    store = make(tmp_path, b"x")
    (tmp_path / "local").write_bytes(b"y")
    store.put(REF, 1, "y", tmp_path / "local", part=True)
    (tmp_path / "store/tokens" / REF.id / "a1/y.part.json").write_bytes(b"{}")
    with pytest.raises(CorruptFile, match=r"a1/y\.part\.json, cannot be read.*delete that file"):
        store.parts(REF)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    store = make(tmp_path, b"x")
    before = sorted((tmp_path / "store").rglob("*"))

    def full(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    (tmp_path / "local").write_bytes(b"more")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreFull, match=r"cannot store 'tokens/.*/a1/more' in .*: no space is left"):
            store.put(REF, 1, "more", tmp_path / "local", keep=True)
    assert sorted((tmp_path / "store").rglob("*")) == before
    assert (tmp_path / "local").exists()
    assert store.files(REF).path("train-00000.parquet").exists()


def test_a_really_full_disk(tmp_path: Path) -> None:
    """On a file system of 256 KiB, where the kernel allows one to be mounted; /dev/shm is too large to fill."""
    (tmp_path / "small").mkdir()
    (tmp_path / "big").write_bytes(os.urandom(1 << 20))
    script = (
        "import sys; from pathlib import Path; from cluster.store import *; from configs.artifact_ids import ArtifactRef\n"
        "small, big = map(Path, sys.argv[1:]); store = Store.open(str(small / 'store'))\n"
        "try: store.put(ArtifactRef('tokens', '0' * 16), 1, 'big', big)\n"
        "except StoreFull as error: print(error)\n"
        "print([p for p in small.rglob('*') if p.is_file()], big.exists())\n"
    )
    command = 'mount -t tmpfs -o size=256k none "$1" && exec "$3" -c "$4" "$1" "$2"'
    run = subprocess.run(
        ["unshare", "-rm", "sh", "-c", command, "sh", tmp_path / "small", tmp_path / "big", sys.executable, script],
        capture_output=True,
        check=False,
        text=True,
        cwd=REPOSITORY,
    )
    if run.returncode != 0 and ("unshare" in run.stderr or "mount" in run.stderr):
        pytest.skip(f"this machine lets nobody mount a small disk: {run.stderr.strip()}")
    assert "no space is left" in run.stdout, run
    assert "[] True" in run.stdout, run


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "store").write_bytes(b"a file where a folder should be")
    with pytest.raises(StoreError, match=r"cannot store .* in .*store"):
        make(tmp_path, b"x")


CHILD = """
import os, random, sys
from pathlib import Path
from cluster.store import Manifest, Store
from configs.artifact_ids import ArtifactRef

store, scratch = Store.open(sys.argv[1]), Path(sys.argv[2])
def work(seed):
    ref = ArtifactRef("tokens", "0123456789abcdef")
    choose = random.Random(seed)
    standing = store.manifest(ref)
    attempt = standing.attempt if standing else 1
    print(os.getpid(), flush=True)
    while True:
        attempt += choose.random() < 0.5
        files = []
        for name in ("x", "y"):
            local = scratch / f"{seed}-{name}"
            local.write_bytes(choose.randbytes(choose.choice((1, 5000, 300000))))
            files.append(store.put(ref, attempt, name, local, extra={"n": 1}, part=True, keep=choose.random() < 0.5))
        store.commit(Manifest(kind=ref.kind, id=ref.id, stage="tokenize", stage_version=1, attempt=attempt, files=files))
        if choose.random() < 0.5:
            store.sweep(ref)
        if choose.random() < 0.1:
            store.delete(ref)
for line in sys.stdin:
    if (child := os.fork()) == 0:
        work(int(line))
    os.waitpid(child, 0)
"""


def test_a_kill_at_any_point_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"), cache=str(tmp_path / "cache"))
    seen = 0
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, tmp_path / "store", tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    ) as parent:
        assert parent.stdin is not None and parent.stdout is not None
        for seed in range(12):
            parent.stdin.write(f"{seed}\n")
            parent.stdin.flush()
            child = int(parent.stdout.readline())
            time.sleep(random.Random(seed).uniform(0, 0.5))
            os.kill(child, signal.SIGKILL)
            while Path(f"/proc/{child}").exists():
                time.sleep(0.001)
            for file, extra in store.parts(REF).values():
                assert sha256_of(tmp_path / "store/tokens" / REF.id / file.path) == file.sha256
                assert extra == {"n": 1}
            if store.manifest(REF):
                seen += 1
                assert store.files(REF).names == ["x", "y"]
                store.files(REF).directory()
    assert seen > 0, "some child had committed before it was killed"


def test_two_attempts_put_the_same_at_once(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))

    def work(number: int) -> None:
        for turn in range(10):
            local = tmp_path / f"local-{number}"
            local.write_bytes(b"same")
            assert store.put(REF, 1 + turn % 2, "x", local, part=True).size == 4

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert store.parts(REF)["x"][0].path == "a2/x"
    assert (tmp_path / "store/tokens" / REF.id / "a2/x").read_bytes() == b"same"


def test_the_cache_is_filled_once_and_heals(tmp_path: Path) -> None:
    cache, calls = Cache(tmp_path / "cache"), []
    (tmp_path / "x").write_bytes(b"content")
    sha256 = sha256_of(tmp_path / "x")

    def fill(sink: BinaryIO) -> str:
        calls.append(1)
        time.sleep(0.05)
        sink.write(b"content")
        return sha256

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: cache.file(sha256, 7, fill), range(4)))
    assert len(calls) == 1
    path, found = cache.file(sha256, 7, fill)
    assert path.read_bytes() == b"content"
    assert found == sha256
    flip(path)
    assert cache.file(sha256, 7, fill)[0].read_bytes() == b"content"
    assert len(calls) == 2


def test_the_cache_keeps_nothing_that_came_damaged_or_found_no_room(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")

    def full(sink: BinaryIO) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StoreFull, match="RAYLENS_CACHE elsewhere"):
        cache.file("0" * 64, 7, full)
    path, found = cache.file("0" * 64, 7, lambda sink: "1" * 64)
    assert found == "1" * 64
    assert not path.exists()
    assert list((tmp_path / "cache/files/00").iterdir()) == []
