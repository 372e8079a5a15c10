"""Settings: what is refused, and how."""

from __future__ import annotations

import msgspec
import pytest

from hark.errors import SettingsError
from hark.server.settings import _MODEL_CHARACTERS, ServerSettings, is_loopback, read_api_keys
from hark_protocol.messages import Name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", 65_536),
        ("port", -1),
        ("workers", 0),
        ("max_sessions", 0),
        ("max_transcriptions", 0),
        ("max_message_bytes", 1_000),
        ("max_file_bytes", 0),
        ("max_file_s", 0),
        ("max_session_s", -1),
        ("idle_timeout_s", 0),
        ("idle_timeout_s", float("nan")),
        ("send_timeout_s", float("inf")),
        ("grace_period_s", -0.1),
        ("ping_interval_s", 0),
        ("ping_timeout_s", 0),
        ("log_level", "loud"),
        ("log_format", "xml"),
        ("host", ""),
        ("models", ("fake", "")),
        ("api_keys", ("good-key", "")),
        ("api_keys", ("with space",)),
        ("api_keys", ("schlüssel",)),
    ],
)
def test_a_value_out_of_range_is_refused_by_flag_and_variable(name, value):
    with pytest.raises(SettingsError) as error:
        ServerSettings(**{name: value})
    message = str(error.value)
    assert message.startswith(f"--{name.replace('_', '-')} (HARK_{name.upper()}) ")
    for key in ("with space", "schlüssel"):
        assert key not in message


def test_the_defaults_are_valid():
    assert ServerSettings().port == 8000


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_this_machine_alone_needs_no_keys(host):
    assert is_loopback(host)
    assert ServerSettings(host=host).api_keys == ()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "stt.example.org"])
def test_other_machines_need_keys_or_an_explicit_word(host):
    assert not is_loopback(host)
    with pytest.raises(SettingsError, match=r"HARK_API_KEYS.*HARK_ALLOW_ANONYMOUS"):
        ServerSettings(host=host)
    ServerSettings(host=host, api_keys=("a-good-key",))
    ServerSettings(host=host, allow_anonymous=True)


def test_keys_and_anonymity_exclude_each_other():
    with pytest.raises(SettingsError, match=r"HARK_ALLOW_ANONYMOUS.*contradicts"):
        ServerSettings(api_keys=("a-good-key",), allow_anonymous=True)


def test_keys_do_not_show_in_the_representation():
    assert "a-good-key" not in repr(ServerSettings(api_keys=("a-good-key",)))


def test_tls_needs_both_files(tmp_path):
    file = tmp_path / "file.pem"
    file.write_text("")
    with pytest.raises(SettingsError, match="HARK_TLS_KEY"):
        ServerSettings(tls_certificate=file)
    with pytest.raises(SettingsError, match="HARK_TLS_CERTIFICATE"):
        ServerSettings(tls_key=file)
    with pytest.raises(SettingsError, match=r"HARK_TLS_KEY.*readable"):
        ServerSettings(tls_certificate=file, tls_key=tmp_path / "missing.pem")


def test_keys_are_read_from_a_file(tmp_path):
    file = tmp_path / "keys"
    file.write_text("# agents\nfirst\n\n  second  \n")
    assert read_api_keys(file) == ("first", "second")


@pytest.mark.parametrize("content", [None, b"", b"# nothing\n", b"\xff\xfe"])
def test_a_file_without_keys_is_refused(tmp_path, content):
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=r"--api-keys-file \(HARK_API_KEYS_FILE\)"):
        read_api_keys(file)


def test_a_model_whose_name_clients_could_not_be_told_is_refused(tmp_path):
    folder = tmp_path / ("x" * 150) / ("y" * 150)
    folder.mkdir(parents=True)
    with pytest.raises(SettingsError, match=r"--models \(HARK_MODELS\).*shorter path"):
        ServerSettings(models=(str(folder),))
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert("x" * (_MODEL_CHARACTERS + 1), Name)
    assert msgspec.convert("x" * _MODEL_CHARACTERS, Name)


def test_a_model_that_is_not_here_is_refused_with_what_is_or_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HARK_MODELS_DIR", str(tmp_path))
    with pytest.raises(SettingsError, match=r"HARK_MODELS.*'none-such'.*: moonshine-tiny-en"):
        ServerSettings(models=("none-such",))
    with pytest.raises(SettingsError, match=r"HARK_MODELS.*hark models download whisper-small"):
        ServerSettings(models=("whisper-small",))
    assert ServerSettings(models=("fake", str(tmp_path))).models == ("fake", str(tmp_path))
