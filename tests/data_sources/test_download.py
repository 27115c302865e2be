import socket
import time

import pytest

from data_sources.download import SourceError, download


@pytest.fixture
def get(tmp_path, release, said):
    """Downloads the tiny archive and returns its bytes."""

    def call(url=release.url, md5=release.archive_md5):
        target = tmp_path / "archive.tar.gz"
        download(url, target, release.archive_bytes, md5, said)
        return target.read_bytes()

    return call


def test_bytes_arrive_as_they_were_sent(get, server):
    assert get() == server.body


def test_broken_download_goes_on_where_it_broke(get, server, said):
    server.break_after = [100_000, 50_000]
    assert get() == server.body
    first, second, third = server.ranges
    assert first is None
    # Up to a chunk of 64 KiB may be lost with the connection.
    resumed_at = int(second.removeprefix("bytes=").removesuffix("-"))
    assert 100_000 - 65_536 <= resumed_at <= 100_000
    assert int(third.removeprefix("bytes=").removesuffix("-")) > resumed_at
    assert f"Resuming at {resumed_at:,} of {len(server.body):,} bytes." in str(said)


def test_part_of_another_version_is_not_resumed(get, server, tmp_path):
    (tmp_path / "archive.tar.gz.part").write_bytes(b"older")
    (tmp_path / "archive.tar.gz.part.validator").write_text('"older"')
    assert get() == server.body
    assert server.ranges == ["bytes=5-"]


def test_server_without_ranges_sends_everything_again(get, server):
    server.break_after = [100_000]
    server.knows_ranges = False
    assert get() == server.body
    assert len(server.ranges) == 2


def test_web_page_is_refused_before_a_byte_is_kept(get, server, tmp_path):
    server.content_type = "text/html; charset=utf-8"
    with pytest.raises(SourceError, match=r"text/html.* expected an archive of"):
        get()
    assert not list(tmp_path.iterdir())


def test_archive_of_another_length_is_refused(get, server):
    server.body += b"more"
    with pytest.raises(SourceError, match=f"{len(server.body)} bytes, expected an archive"):
        get()


def test_server_that_announces_no_length_may_send_the_archive(get, server):
    server.says_length = False
    assert get() == server.body


def test_server_that_announces_no_length_cannot_fill_the_disk(get, server, tmp_path):
    server.says_length = False
    server.body += bytes(10_000_000)
    with pytest.raises(SourceError, match=r"sends more than the .* bytes expected; deleted"):
        get()
    assert not list(tmp_path.glob("*.part"))


def test_download_with_a_wrong_checksum_is_deleted(get, tmp_path):
    with pytest.raises(SourceError, match="expected 0000; deleted"):
        get(md5="0000")
    assert not (tmp_path / "archive.tar.gz").exists()
    assert not (tmp_path / "archive.tar.gz.part").exists()


def test_server_that_sends_nothing_is_given_up(get, server):
    server.break_after = [0]
    with pytest.raises(SourceError, match="cannot be reached"):
        get()


def test_refused_connection_is_noticed_at_once(get):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/archive.tar.gz"
        started = time.monotonic()
        with pytest.raises(SourceError, match="cannot be reached"):
            get(url=url)
    assert time.monotonic() - started < 2
