"""Whether a model server is there, has the model, and accepts the key; and what a base URL is."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from configs.label_endpoint import LabelEndpoint
from sae.labels.endpoint.check import check_endpoint
from sae.labels.endpoint.errors import EndpointError, EndpointUnreachable
from sae.labels.endpoint.key import label_key
from tests.model_server import ModelServer
from tests.sae.label_endpoint_world import endpoint, running, server

__all__ = ["running", "server"]


def test_a_server_that_is_not_there_or_has_no_such_model(server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    check_endpoint(endpoint(server))
    with pytest.raises(
        EndpointError, match=r"404 to a request for the model 'large': The model large does not exist \(it lists j"
    ):
        check_endpoint(endpoint(server, model="large"))
    server.asked.clear()
    with pytest.raises(EndpointUnreachable, match=r"^the model server http://127.0.0.1:9/v1 cannot be reached: "):
        check_endpoint(endpoint(server, url="http://127.0.0.1:9/v1/"))
    assert not server.asked
    server.models = None
    check_endpoint(endpoint(server))
    assert server.asked[0]["max_tokens"] == 1, "without a list one token is asked for"
    server.faults = [404]
    with pytest.raises(EndpointError, match="answers 404 to a request for the model 'judge': busy"):
        check_endpoint(endpoint(server))
    with pytest.raises(
        EndpointError, match=r"redirects to http://198\.51\.100\.1/v1/chat/completions: nothing is sent"
    ):
        check_endpoint(endpoint(server, url=server.url.replace("/v1", "/elsewhere")))


def test_the_key_comes_from_the_environment_or_a_private_file_and_is_nowhere_else(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server.key = "sesame"
    with pytest.raises(
        EndpointError, match=r"requires a key \(401\): set RAYLENS_LABEL_KEY, or write the key to the file"
    ):
        check_endpoint(endpoint(server))
    monkeypatch.setenv("RAYLENS_LABEL_KEY", "wrong-secret")
    with pytest.raises(EndpointError, match="does not accept the key of RAYLENS_LABEL_KEY") as caught:
        check_endpoint(endpoint(server))
    assert "wrong-secret" not in str(caught.value) + repr(label_key()), "not even when the server repeats it"
    monkeypatch.delenv("RAYLENS_LABEL_KEY")
    file = tmp_path / "label_key"
    file.write_text("sesame\n")
    file.chmod(0o644)
    with pytest.raises(EndpointError, match="others can read the key in"):
        check_endpoint(endpoint(server))
    file.chmod(0o600)
    check_endpoint(endpoint(server))
    assert server.authorizations == {None, "Bearer wrong-secret", "Bearer sesame"}
    monkeypatch.setenv("RAYLENS_LABEL_KEY", "two words")
    with pytest.raises(EndpointError, match="RAYLENS_LABEL_KEY holds no key"):
        label_key()


@pytest.mark.parametrize(
    "url", ["ftp://x/v1", "localhost:80", "http://", "http://me:secret@x/v1", "http://x/v1?key=secret", "http://x /v1"]
)
def test_a_base_url_is_an_address_and_nothing_else(url: str) -> None:
    with pytest.raises(ValidationError, match=r"base URL") as caught:
        LabelEndpoint(url=url, model="judge")
    assert "secret" not in caught.value.errors(include_input=False)[0]["msg"]
