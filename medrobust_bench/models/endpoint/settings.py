"""How a model behind a server is asked."""

from __future__ import annotations

import ipaddress
import os
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from medrobust_bench.problems import InvalidInputError, Problem

_NO_KEY = "none"


def _server(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("give the server's address, such as http://localhost:8000/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("an address holds no password, query or fragment: a key comes from the environment")
    return url.rstrip("/")


class Prices(BaseModel):
    """What a server charges, in any one currency."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: float = Field(default=0.0, ge=0, description="Per million tokens of the prompt, image included")
    output: float = Field(default=0.0, ge=0, description="Per million tokens written")


class EndpointOptions(BaseModel):
    """An OpenAI-compatible server, and how it is asked.

    The key is only ever named: what is written here can be published.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: Annotated[str, AfterValidator(_server)] = Field(
        default="https://api.openai.com/v1", description="Address of the server, up to and with /v1"
    )
    key_variable: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = Field(
        default="OPENAI_API_KEY",
        description="Environment variable that holds the key; a local server needs none",
    )
    seed: int = Field(
        default=0, description="Sent with every request; with temperature 0, as reproducible as it gets"
    )
    max_tokens: int = Field(default=1024, ge=1, description="Length limit of a generated answer")
    length_parameter: Annotated[str, Field(pattern=r"^max_(completion_)?tokens$")] = Field(
        default="max_tokens",
        description="What the server calls it; max_completion_tokens for newer hosted models",
    )
    top_logprobs: int = Field(
        default=20, ge=1, le=20, description="Alternatives per token that are asked for"
    )
    extra_body: dict[str, JsonValue] = Field(
        default_factory=dict, description="What else goes into the request, such as chat_template_kwargs"
    )
    concurrency: int = Field(default=8, ge=1, description="Requests at the same time")
    retries: int = Field(
        default=6, ge=0, description="Further tries after 408, 409, 429, 5xx, a cut line or no JSON"
    )
    timeout: float = Field(default=300.0, gt=0, description="Seconds per try")
    prices: Prices = Prices()

    @property
    def local(self) -> bool:
        """Whether the server is this machine."""
        host = urlsplit(self.base_url).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost" or host.endswith(".localhost")

    def key(self) -> str:
        """The key from the environment.

        Raises:
            InvalidInputError: there is none, and the server is another machine.
        """
        key = os.environ.get(self.key_variable, "").strip()
        if not key and not self.local:
            remedy = f"export {self.key_variable}=…; a server of your own without a key takes any text"
            raise InvalidInputError(
                [Problem(self.base_url, f"the environment has no {self.key_variable}", remedy)]
            )
        return key or _NO_KEY


class EndpointSettings(EndpointOptions):
    """A model of an OpenAI-compatible server, and how it is asked."""

    model: Annotated[str, Field(min_length=1)] = Field(description="The server's name of the model")

    def request(self) -> dict[str, Any]:
        """The part of every request that does not depend on the question."""
        return {"model": self.model, "temperature": 0, "seed": self.seed, **self.extra_body}
