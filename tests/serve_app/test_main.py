"""The commands: tokens, the Serve config file, and what may not be listened on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from serve_app.__main__ import main
from serve_app.deployment import Arguments
from serve_app.security.redaction import redact, redact_log
from serve_app.security.tokens import Tokens, TokensError, check_exposure
from serve_app.settings import ApiSettings, is_loopback


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAYLENS_HOME", str(tmp_path))
    for name in ("RAY_ADDRESS", "RAYLENS_DATA_ROOTS", "RAYLENS_API_HOSTS", "RAYLENS_API_ORIGINS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_tokens_are_made_shown_once_and_revoked(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "create", "ada", "--scope", "write"]) == 0
    text = capsys.readouterr().out.strip()
    tokens = Tokens(home)
    principal = tokens.verify(text)
    assert principal is not None
    assert (principal.name, principal.scopes) == ("ada", {"read", "write"})
    assert main(["token", "list"]) == 0
    listed = capsys.readouterr().out
    assert "ada" in listed
    assert text not in listed
    assert main(["token", "revoke", "ada"]) == 0
    assert tokens.verify(text) is None
    assert main(["token", "revoke", "ada"]) == 1, "it is revoked already"
    assert main(["token", "create", "../x"]) == 1
    assert main(["token", "create", "short", "--days", "-1"]) == 1


def test_a_token_reads_only_unless_it_is_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["token", "create", "eve"])
    principal = Tokens(home).verify(capsys.readouterr().out.strip())
    assert principal is not None
    assert principal.scopes == {"read"}


def test_tokens_made_at_once_are_all_kept(home: Path) -> None:
    command = [sys.executable, "-m", "serve_app", "token", "create"]
    made = [subprocess.Popen([*command, f"t{i}"], stdout=subprocess.PIPE, text=True) for i in range(6)]
    texts = [process.communicate(timeout=60)[0].strip() for process in made]
    tokens = Tokens(home)
    assert all(tokens.verify(text) for text in texts)


def test_the_clusters_token_is_taken_on_loopback_only(home: Path) -> None:
    (home / "token").write_text("c" * 64)
    assert Tokens(home, cluster_token=True).verify("c" * 64) is not None
    assert Tokens(home, cluster_token=False).verify("c" * 64) is None
    assert Tokens(home, cluster_token=True).verify("") is None
    assert Tokens(home, cluster_token=True).verify("c" * 64, local_client=False) is None, (
        "Serve may listen on more addresses"
    )


@pytest.mark.parametrize("command", ["up", "config"])
@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.org"])
def test_another_address_needs_a_word_and_a_token(host: str, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--host", host]) == 1
    assert "--i-understand-that-others-can-reach-it" in capsys.readouterr().err
    assert main([command, "--host", host, "--i-understand-that-others-can-reach-it"]) == 1
    assert "there is no valid token" in capsys.readouterr().err


def test_a_config_file_for_another_address_carries_the_word(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Tokens(home).create("ada", ["write"])
    assert main(["config", "--host", "0.0.0.0", "--i-understand-that-others-can-reach-it"]) == 0
    arguments = yaml.safe_load(capsys.readouterr().out)["applications"][0]["args"]
    assert Arguments.model_validate(arguments).others
    with pytest.raises(TokensError, match="other machines can reach"):
        check_exposure("0.0.0.0", Tokens(home), Arguments.model_validate({"host": "0.0.0.0"}).others)


def test_up_without_a_cluster_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["up"]) == 1
    assert "python -m cluster up" in capsys.readouterr().err


def test_the_config_file_is_one_for_serve(capsys: pytest.CaptureFixture[str]) -> None:
    from ray.serve.schema import ServeDeploySchema

    assert main(["config", "--port", "8123"]) == 0
    config = ServeDeploySchema.model_validate(yaml.safe_load(capsys.readouterr().out))
    assert [(app.name, app.route_prefix) for app in config.applications] == [("api", "/"), ("interactive", None)]
    assert (config.http_options.host, config.http_options.port) == ("127.0.0.1", 8123)
    assert config.http_options.request_timeout_s is None, "a stream may last"


def test_settings(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ApiSettings.from_environment()
    assert settings.data_roots == (home / "data",)
    assert settings.allowed_hosts() == {"127.0.0.1", "localhost", "[::1]"}
    monkeypatch.setenv("RAYLENS_DATA_ROOTS", "/a:/b")
    monkeypatch.setenv("RAYLENS_API_HOSTS", "raylens.example, other")
    settings = ApiSettings.from_environment("192.0.2.7", 80)
    assert settings.data_roots == (Path("/a"), Path("/b"))
    assert settings.allowed_hosts() >= {"raylens.example", "other", "192.0.2.7"}
    assert not settings.loopback
    assert [is_loopback(h) for h in ("127.0.0.1", "::1", "localhost", "127.1.2.3", "0.0.0.0", "::", "10.0.0.1", "x")] == [
        True, True, True, True, False, False, False, False]  # fmt: skip


def test_paths_are_shortened() -> None:
    for text, shown in (
        ("there is no file /home/ada/data/a.csv", "there is no file …/a.csv"),
        ("see /home/ada/.raylens/logs/x.log)", "see …/x.log)"),
        ("in ~/secret/place.", "in …/place."),
        ("tokens/1a2b at 3 tokens/s and/or CE/KL", "tokens/1a2b at 3 tokens/s and/or CE/KL"),
        ("http://127.0.0.1:8000/v1/jobs", "http://127.0.0.1:8000/v1/jobs"),
        ("'/a/b'", "'…/b'"),
        ("sqlite:////root/.raylens/catalog.db is locked", "sqlite:…/catalog.db is locked"),
        ("PATH=/a/bin:/home/ada/bin", "PATH=…/bin:…/bin"),
        ("open:/home/ada/x, file:///root/store", "open:…/x, file:…/store"),
        ("no file '/home/ada/My Data/secret.csv'", "no file '…/secret.csv'"),
        ("at postgresql+psycopg://ada:pw@db.inside/cat now", "at postgresql://… now"),
        ("s3://bucket/key/part and https://hub/a/b", "s3://bucket/key/part and https://hub/a/b"),
    ):
        assert redact(text) == shown


def test_frames_are_left_out_of_logs() -> None:
    try:
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise ValueError("outer") from error
    except ValueError:
        import traceback

        lines = ["before\n", *traceback.format_exc().splitlines(keepends=True), "after\n"]
    kept = list(redact_log(lines))
    assert kept == ["before\n", "KeyError: 'inner'\n", "ValueError: outer\n", "after\n"]
