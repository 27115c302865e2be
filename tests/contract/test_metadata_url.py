import pytest

from contract.metadata_url import Server, check_has_no_password, parse, read, redacted


@pytest.mark.parametrize(
    ("password", "written"),
    [
        ("s3cret", "s3cret"),
        ("a:b", "a:b"),
        ("a@b", "a@b"),
        ("a/b", "a/b"),
        ("a:b@c/d:1@e?f#g", "a:b@c/d:1@e?f#g"),
        ("a:b@c/d", "a%3Ab%40c%2Fd"),
        ("100%", "100%"),
        ("", ""),
    ],
)
def test_a_password_may_hold_any_letter(password, written):
    url = f"mysql://tfx:{written}@db.example:3307/mlmd"
    assert parse(url) == Server("mysql", "db.example", 3307, "mlmd", "tfx", password)
    assert redacted(url) == "mysql://tfx:…@db.example:3307/mlmd"
    assert password not in repr(parse(url)) or not password
    with pytest.raises(ValueError, match="--metadata-url-file"):
        check_has_no_password(url)


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("mysql://db/mlmd", Server("mysql", "db", 3306, "mlmd", "", "")),
        ("mysql://tfx@db:1/mlmd", Server("mysql", "db", 1, "mlmd", "tfx", "")),
        ("mysql://tfx@[::1]:1/mlmd", Server("mysql", "::1", 1, "mlmd", "tfx", "")),
    ],
)
def test_a_url_without_a_password_is_shown_as_it_is(url, server):
    assert parse(url) == server
    assert redacted(url) == url
    check_has_no_password(url)


@pytest.mark.parametrize(
    "url",
    [
        "oracle://tfx:s3cret@db/mlmd",
        "mysql://tfx:s3cret@db",
        "mysql://tfx:s3cret@/mlmd",
        "mysql://tfx:s3cret@db:port/mlmd",
        "mysql://tfx:s3cret",
        "tfx:s3cret@db/mlmd",
        "s3cret",
        "mysql://tfx@db/mlmd?password=s3cret",
    ],
)
def test_another_url_is_refused_without_a_word_of_it(url):
    with pytest.raises(
        ValueError, match="metadata_url must be mysql://USER:PASSWORD@HOST"
    ) as it:
        parse(url)
    assert "s3cret" not in str(it.value)


def test_postgresql_has_a_port_of_its_own():
    server = parse("postgresql://tfx@db.example/mlmd")
    assert server == Server("postgresql", "db.example", 5432, "mlmd", "tfx", "")


def test_a_file_goes_before_the_environment(tmp_path, monkeypatch):
    assert read(None) == ""
    monkeypatch.setenv("CIFAR_METADATA_URL", "mysql://environment/mlmd")
    assert read(None) == "mysql://environment/mlmd"
    (tmp_path / "url").write_text("mysql://file/mlmd\n")
    assert read(tmp_path / "url") == "mysql://file/mlmd"


@pytest.mark.parametrize("content", [None, b"", b"\xff"])
def test_a_file_without_a_url_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "url").write_bytes(content)
    with pytest.raises(ValueError, match=r"url (cannot be read|is empty).*expected mysql://"):
        read(tmp_path / "url")
