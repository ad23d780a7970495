"""The port of the storage, over a folder and over a server that speaks S3: whole or not at all, and never twice."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest

from data.engine import StorageError
from data.storage import s3
from data.storage.address import StorageAddressUnusable
from data.storage.folder import FolderStorage
from data.storage.opening import open_storage
from data.storage.port import AlreadyThere, ObjectDamaged, ObjectGone, Storage, StorageUnavailable, VersionMoved
from data.storage.s3 import S3Storage
from tests.stage.object_storage import BRIEF, Faults, environ, faults, make_bucket, put_as_others, storage_at, use_keys
from tests.stage.seeds import some

pytestmark = some(22)


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    use_keys(monkeypatch)


@pytest.fixture(params=["folder", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "folder":
        return FolderStorage(tmp_path / "storage")
    return storage_at(make_bucket(), prefix="pre/fix")


@pytest.fixture
def way() -> Generator[Faults]:
    with faults() as state:
        yield state


@pytest.fixture
def far(way: Faults) -> S3Storage:
    """Object storage at the end of a way on which things go wrong."""
    return storage_at(make_bucket(), port=way.port, patience=BRIEF)


def local(tmp_path: Path, content: bytes = b"members") -> Path:
    file = tmp_path / "made here"
    file.write_bytes(content)
    return file


def test_a_file_is_put_whole_and_got_whole(storage: Storage, tmp_path: Path):
    content = os.urandom(100_000)

    put = storage.put_file(local(tmp_path, content), "run-1.parquet")
    got = storage.get_file("run-1.parquet", tmp_path / "got" / "there")

    assert (tmp_path / "got" / "there").read_bytes() == content
    assert put == got == storage.look("run-1.parquet")
    assert put.size == 100_000
    assert [each.name for each in storage.list()] == ["run-1.parquet"]


def test_a_file_takes_no_name_that_another_has(storage: Storage, tmp_path: Path):
    storage.put_file(local(tmp_path), "one/run-1.parquet")

    with pytest.raises(AlreadyThere, match="under the name one/run-1.parquet already"):
        storage.put_file(local(tmp_path, b"others!"), "one/run-1.parquet")

    storage.put_file(local(tmp_path), "one/run-1.parquet")  # the same once more is as good
    assert storage.read("one/run-1.parquet").content == b"members"


def test_an_object_without_a_digest_is_refused(tmp_path: Path):
    bucket = make_bucket()
    put_as_others(bucket, ["pre/run-1.parquet"])
    storage = storage_at(bucket, prefix="pre")

    with pytest.raises(ObjectDamaged, match=r"holds run-1\.parquet without the digest") as refused:
        storage.get_file("run-1.parquet", tmp_path / "got")

    assert "metadata" in (refused.value.advice or "")
    assert not (tmp_path / "got").exists()
    with pytest.raises(AlreadyThere):
        storage.put_file(local(tmp_path, b"of others"), "run-1.parquet")


def test_what_is_not_there_is_told_as_gone(storage: Storage, tmp_path: Path):
    with pytest.raises(ObjectGone):
        storage.get_file("run-1.parquet", tmp_path / "got")
    with pytest.raises(ObjectGone):
        storage.read("audit.head")
    assert storage.look("run-1.parquet") is None
    assert list(storage.list()) == []
    storage.remove("run-1.parquet")
    assert not (tmp_path / "got").exists()


def test_a_file_without_a_byte_is_one_too(storage: Storage, tmp_path: Path):
    storage.put_file(local(tmp_path, b""), "upload.csv")

    storage.get_file("upload.csv", tmp_path / "got")

    assert (tmp_path / "got").read_bytes() == b""


def test_a_small_object_is_replaced_only_by_whoever_read_it(storage: Storage):
    first = storage.put("audit.head", b"1")
    assert storage.read("audit.head").version == first

    second = storage.replace("audit.head", b"2", first)

    with pytest.raises(VersionMoved):
        storage.replace("audit.head", b"3", first)
    with pytest.raises(AlreadyThere):
        storage.put("audit.head", b"4")
    assert storage.read("audit.head").content == b"2"
    storage.remove("audit.head")
    with pytest.raises(VersionMoved):
        storage.replace("audit.head", b"5", second)


def test_names_that_lead_elsewhere_are_refused(storage: Storage):
    for name in ("../run-1", "/etc/passwd", "a//b", ".hidden", "a/../b", "a\nb", ""):
        with pytest.raises(ValueError, match="not a name in the storage"):
            storage.look(name)


def test_a_listing_is_of_names_that_begin_so(storage: Storage, tmp_path: Path):
    for name in ("run-1.parquet", "run-2.parquet", "associations/00000001/plan.parquet"):
        storage.put_file(local(tmp_path), name)

    assert {each.name for each in storage.list("run-")} == {"run-1.parquet", "run-2.parquet"}
    assert [each.name for each in storage.list("associations/0")] == ["associations/00000001/plan.parquet"]


def test_a_folder_reads_nothing_that_a_link_leads_to(tmp_path: Path):
    secret = local(tmp_path)
    (tmp_path / "storage").mkdir()
    (tmp_path / "storage" / "audit.head").symlink_to(secret)
    storage = FolderStorage(tmp_path / "storage")

    with pytest.raises(StorageError):
        storage.read("audit.head")
    assert storage.look("audit.head") is None


def test_a_large_file_goes_and_comes_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(s3, "PART", 5 * 2**20)  # no part but the last may be smaller
    storage, content = storage_at(make_bucket()), os.urandom(11 * 2**20)

    storage.put_file(local(tmp_path, content), "run-1.parquet")
    storage.get_file("run-1.parquet", tmp_path / "got")

    assert (tmp_path / "got").read_bytes() == content
    storage.put_file(local(tmp_path, content), "run-1.parquet")
    with pytest.raises(AlreadyThere):
        storage.put_file(local(tmp_path, content[1:] + b"!"), "run-1.parquet")


def test_a_put_that_was_done_and_not_confirmed_counts_as_done(far: S3Storage, way: Faults, tmp_path: Path):
    way.times(1, "unconfirmed", "PUT")
    far.put_file(local(tmp_path), "run-1.parquet")
    way.times(1, "unconfirmed", "PUT")
    version = far.put("audit.head", b"1")
    way.times(1, "unconfirmed", "PUT")
    far.replace("audit.head", b"2", version)

    assert far.read("run-1.parquet").content == b"members"
    assert far.read("audit.head").content == b"2"
    assert [asked.method for asked in way.asked].count("PUT") == 3


@pytest.mark.parametrize("fault", ["error", "cut"])
def test_a_request_that_failed_is_made_again(far: S3Storage, way: Faults, tmp_path: Path, fault: str):
    way.times(1, fault, "PUT")
    far.put_file(local(tmp_path), "run-1.parquet")
    way.times(1, fault, "GET")
    far.get_file("run-1.parquet", tmp_path / "got")
    way.times(1, fault, "HEAD")
    assert far.look("run-1.parquet")
    way.times(1, fault, "DELETE")
    far.remove("run-1.parquet")

    assert far.look("run-1.parquet") is None
    assert (tmp_path / "got").read_bytes() == b"members"


def test_an_answer_that_breaks_off_leaves_no_file(far: S3Storage, way: Faults, tmp_path: Path):
    far.put_file(local(tmp_path, b"members" * 1000), "run-1.parquet")

    way.times(1000, "half", "GET")
    with pytest.raises(StorageUnavailable, match="broke off|in time"):
        far.get_file("run-1.parquet", tmp_path / "got")
    assert list(tmp_path.glob("*got*")) == []

    way.times(1, "half", "GET")
    far.get_file("run-1.parquet", tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == b"members" * 1000


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("error", "answered with errors"),
        ("cut", "cannot be reached, or broke off"),
        ("slow", "did not answer in time"),
        ("expired", "refuses these credentials: they have ended"),
    ],
)
def test_what_lasts_ends_in_a_sentence(far: S3Storage, way: Faults, tmp_path: Path, fault: str, told: str):
    way.fault = lambda asked: fault

    with pytest.raises(StorageUnavailable, match=told) as failed:
        far.put_file(local(tmp_path), "run-1.parquet")

    assert failed.value.advice
    assert "test" not in str(failed.value)  # the keys
    with pytest.raises(StorageUnavailable, match=told):
        far.check()


def test_a_bucket_that_is_not_there_and_a_service_that_is_not_there_are_told(tmp_path: Path):
    with pytest.raises(StorageUnavailable, match="has no bucket nothing-here"):
        storage_at("nothing-here").check()
    with pytest.raises(StorageUnavailable, match="has no bucket nothing-here"):
        storage_at("nothing-here").put_file(local(tmp_path), "run-1.parquet")
    with pytest.raises(StorageUnavailable, match="cannot be reached"):
        storage_at("nothing-here", port=1, patience=BRIEF).check()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("s3://", "a bucket's name"),
        ("s3://Bucket/x", "a bucket's name"),
        ("s3://key:secret@bucket/x", "credentials go into AWS_ variables"),
        ("s3://bucket/a b", "its prefix"),
        ("s3://bucket/../x", "its prefix"),
        ("gs://bucket/x", "neither a folder nor an address"),
        ("https://bucket.example/x", "neither a folder nor an address"),
        ("s3:/bucket/x", "a folder is named by its whole path"),
        ("'s3://bucket/x'", "a folder is named by its whole path"),
        ("KEY:SECRET@bucket/x", "a folder is named by its whole path"),
        ("file://data/members", "file:///folder"),
        ("file:///data/a?b", "file:///folder"),
        ("file://[data/members", "file:///folder"),
    ],
)
def test_an_address_that_is_none_is_refused(url: str, why: str, tmp_path: Path):
    with pytest.raises(StorageAddressUnusable, match=why):
        open_storage(url, default=tmp_path)


def test_an_address_is_a_folder_or_a_bucket(tmp_path: Path):
    assert open_storage("", default=tmp_path).folder == tmp_path
    assert open_storage(str(tmp_path / "x"), default=tmp_path).folder == tmp_path / "x"
    assert open_storage(f"file://{tmp_path}/a%20b", default=tmp_path).folder == tmp_path / "a b"
    there = open_storage("s3://bucket/pre/", default=tmp_path)
    assert (there.folder, there.address) == (None, "s3://bucket/pre")


def test_plain_http_leads_off_this_machine_only_where_that_is_allowed(tmp_path: Path):
    elsewhere = environ() | {"AWS_ENDPOINT_URL": "http://storage.example:9000"}
    storage = open_storage("s3://bucket", default=tmp_path, environ=elsewhere)

    with pytest.raises(StorageUnavailable, match="not asked over plain http"):
        storage.look("audit.head")


@pytest.mark.parametrize(
    "endpoint",
    [
        "storage.example:9000",
        "http://KEY:SECRET@127.0.0.1:9",
        "https://h/?token=SECRET",
        "a SECRET",
        "ftp://h",
        "http://",
    ],
)
def test_an_address_of_a_service_that_is_none_is_refused_and_not_repeated(endpoint: str, tmp_path: Path):
    with pytest.raises(StorageAddressUnusable, match="AWS_ENDPOINT_URL is no address") as refused:
        open_storage("s3://bucket", default=tmp_path, environ=environ() | {"AWS_ENDPOINT_URL": endpoint})
    assert "SECRET" not in str(refused.value)


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN", "AWS_REGION"])
def test_what_no_request_can_be_made_of_is_told(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(name, "of a file\r\n")
    storage = open_storage("s3://bucket", default=tmp_path)

    with pytest.raises(StorageUnavailable, match="what the AWS_ variables hold"):
        storage.look("audit.head")


@pytest.mark.parametrize("other", ["of others/a//b", "of others/../x", "of others/\x01\u00fc"])
def test_names_of_others_that_cannot_be_listed_are_in_no_way(other: str, tmp_path: Path):
    bucket = make_bucket()
    put_as_others(bucket, [f"pre/{other}"])
    storage = storage_at(bucket, prefix="pre")
    storage.put_file(local(tmp_path), "run-1.parquet")
    storage.put_file(local(tmp_path), "associations/1.tar")

    storage.check()
    assert [known.name for known in storage.list()] == ["run-1.parquet"]
    assert [known.name for known in storage.list("associations/")] == ["associations/1.tar"]


def test_a_name_with_which_nothing_can_be_listed_is_told(tmp_path: Path):
    bucket = make_bucket()
    put_as_others(bucket, ["pre/x\x01"])
    storage = storage_at(bucket, prefix="pre")

    storage.check()
    with pytest.raises(StorageUnavailable, match=r"nothing there can be listed: pre/x\\x01\."):
        list(storage.list())
