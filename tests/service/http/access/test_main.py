import pytest

from service.http.access.__main__ import main
from service.http.access.api_key import KeysFile, Right, digest


def test_key_is_printed_once_and_the_file_gets_its_digest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shop"]) == 0
    written = capsys.readouterr()
    key = written.err.split()[-1]
    assert key not in written.out
    assert KeysFile.parse(written.out.encode()).keys["shop"].sha256 == (digest(key),)


def test_key_has_the_rights_that_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["operator", "--right", "admin", "--right", "metrics"]) == 0
    entry = KeysFile.parse(capsys.readouterr().out.encode()).keys["operator"]
    assert entry.rights == {Right.ADMIN, Right.METRICS}


@pytest.mark.parametrize("arguments", [["my shop"], ["-"], [""], ["shop", "--right", "root"], []])
def test_what_would_be_accepted_is_said(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "pastiche-keys: error:" in capsys.readouterr().err
