"""Every setting, read from the environment once, at start.

`.env.example` is made from this module (`exchequer export-schema`); what each field
says here is its documentation.
"""

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.identity.origins import normal_origin
from app.inference.providers import Protocol, make_provider

_MINIMUM_SECRET = 32
_POSTGRES = ("postgresql", "postgres")
_REDIS = ("redis", "rediss", "unix")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s?#]+")


class ProviderSettings(BaseModel):
    """A provider of models."""

    model_config = ConfigDict(extra="forbid")

    api_key: SecretStr
    base_url: str | None = None
    protocol: Protocol | None = None


class Settings(BaseSettings):
    """Settings of one process. Names are those of the environment, in upper case."""

    model_config = SettingsConfigDict(
        env_file=".env", env_prefix="EXCHEQUER_", extra="ignore", populate_by_name=True
    )

    database_url: str = Field(
        "postgresql://exchequer:exchequer@127.0.0.1:5432/exchequer",
        validation_alias="DATABASE_URL",
        description="Postgres, as the application's role: it may call functions and read,"
        " and owns nothing.",
    )
    migration_database_url: str | None = Field(
        None,
        description="Postgres, as a role that may create roles and tables; for `exchequer"
        " migrate` alone. Unset: DATABASE_URL.",
    )
    redis_url: str = Field(
        "redis://127.0.0.1:6379/0",
        validation_alias="REDIS_URL",
        description="Redis or Valkey: live pushes only. Credits do not need it.",
    )
    environment: Literal["development", "production"] = Field(
        "development", description="`production` refuses to start with unsafe settings."
    )
    host: str = Field("127.0.0.1", validation_alias="HOST", description="Address to listen on.")
    port: int = Field(
        8000, ge=0, le=65535, validation_alias="PORT", description="Port to listen on."
    )
    secret_key: SecretStr | None = Field(
        None,
        description="At least 32 characters. Encrypts stored responses that carry secrets."
        " Required in production.",
    )
    bootstrap_admin_key: SecretStr | None = Field(
        None,
        description="At least 32 characters; whoever sends it as a bearer token is the"
        " platform administrator. For first set-up: off when unset.",
    )
    allowed_origins: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="Origins of web front ends, separated by commas, which may use any key."
        " Projects name their own besides: mutation updateProjectSettings.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe log line that is written."
    )
    log_format: Literal["json", "text"] = Field("json", description="Form of a log line.")

    database_pool_size: int = Field(20, ge=1, le=500, description="Most connections a process.")
    database_pool_idle: int = Field(2, ge=0, le=500, description="Connections kept open.")
    database_connect_seconds: float = Field(10, gt=0, le=60, description="To open a connection.")
    database_acquire_seconds: float = Field(5, gt=0, le=60, description="To wait for a free one.")
    database_command_seconds: float = Field(10, gt=0, le=60, description="For one statement.")
    database_idle_seconds: float = Field(30, gt=0, le=3600, description="Idle ones close after.")
    credit_lanes: int = Field(
        2,
        ge=0,
        le=16,
        description="Calls under way that decide for many accounts at once, of each operation."
        " At most one for seven connections of the pool."
        " 0: each call is of one account, as a database distributed by account needs it.",
    )
    startup_wait_seconds: float = Field(
        60, ge=0, le=600, description="How long to wait at start for Postgres, with back-off."
    )

    drain_seconds: int = Field(
        10,
        ge=1,
        le=600,
        description="How long an API process that is told to stop lets requests finish.",
    )
    request_body_bytes: int = Field(
        262_144, ge=1024, le=16_777_216, description="Largest request body."
    )
    request_head_bytes: int = Field(
        65_536, ge=1024, le=1_048_576, description="Largest address and headers of a request."
    )
    request_seconds: float = Field(
        30.0, gt=0, le=600, description="How long the head of a request may take, and its body."
    )
    graphql_tokens: int = Field(2_000, ge=100, le=100_000, description="Tokens of a document.")
    graphql_depth: int = Field(15, ge=3, le=100, description="Nesting of a document.")
    graphql_aliases: int = Field(30, ge=0, le=1000, description="Aliases of a document.")
    graphql_root_fields: int = Field(20, ge=1, le=1000, description="Root fields of a document.")
    graphql_cost: int = Field(
        5_000, ge=100, le=1_000_000, description="Objects a document may ask for, by page sizes."
    )
    trusted_documents_only: bool = Field(
        default=False,
        description="Run only the documents of frontend-contract/operations, but for keys with"
        " the scope documents:any. Not in development.",
    )
    graphiql: bool | None = Field(
        None, description="Serve GraphiQL and introspection. Unset: only in development."
    )
    socket_operations: int = Field(
        100, ge=1, le=10_000, description="Subscriptions of one WebSocket."
    )
    subscribers: int = Field(
        10_000, ge=1, le=1_000_000, description="Subscriptions of one process."
    )

    feed_pushes_per_second: int = Field(
        10, ge=1, le=1000, description="Most balance pushes a second for an account."
    )
    feed_resync_seconds: float = Field(
        10, gt=0, le=600, description="How often watched balances are compared with Postgres."
    )
    origins_seconds: float = Field(
        10, gt=0, le=600, description="How often the allowed origins of projects are read."
    )
    catalog_recheck_seconds: float = Field(
        1, ge=0, le=60, description="How long a project's catalog is used before it is looked at."
    )
    catalog_max_age_seconds: float = Field(
        300, ge=0, le=86_400, description="How long it is used while Postgres does not answer."
    )
    providers: dict[str, ProviderSettings] = Field(
        default_factory=dict,
        description="Providers of models by their names in the catalog, as JSON: an `api_key`, and"
        " for one that is not known by name a `base_url` of OpenAI's protocol. Known are"
        " openai, google, anthropic, mistral, groq, deepseek, openrouter and together. With"
        ' `"protocol": "litellm"` one that litellm knows by that name.',
    )
    provider_connect_seconds: float = Field(10, gt=0, le=120, description="To connect to one.")
    provider_silent_seconds: float = Field(
        300, gt=0, le=3600, description="How long a provider may say nothing."
    )
    provider_seconds: float = Field(1_800, gt=0, le=86_400, description="For one answer.")
    provider_answer_bytes: int = Field(
        33_554_432, ge=65_536, le=1_073_741_824, description="Largest answer that is no stream."
    )
    provider_connections: int = Field(
        1_000, ge=1, le=100_000, description="Most connections to providers a process."
    )
    inference_body_bytes: int = Field(
        16_777_216, ge=1024, le=268_435_456, description="Largest body of a request to a model."
    )
    inference_output_tokens: int = Field(
        4_096,
        ge=1,
        le=1_000_000,
        description="What an answer that is no stream may write where the request does not say.",
    )
    inference_lease_seconds: int = Field(
        300, ge=3, le=3600, description="How long a call is kept open without a sign of life."
    )
    stream_block_tokens: int = Field(
        256, ge=2, le=1_000_000, description="What is reserved for a stream at a time, at most."
    )
    stream_margin_tokens: int = Field(
        16,
        ge=1,
        le=100_000,
        description="A stream ends while so much is left, as much as a piece has at most.",
    )
    rights_recheck_seconds: float = Field(
        30, gt=0, le=3600, description="How often an open subscription's right is checked."
    )
    key_cache_seconds: float = Field(
        5, ge=0, le=60, description="How long a key is believed without asking Postgres."
    )
    redis_timeout_seconds: float = Field(
        0.25, gt=0, le=10, description="For one command; a push that takes longer is lost."
    )
    sweep_seconds: float = Field(
        5, gt=0, le=600, description="How often the worker looks for what is overdue."
    )

    @field_validator("allowed_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return [origin.strip() for origin in value.split(",") if origin.strip()]
        return value

    @field_validator("allowed_origins")
    @classmethod
    def _are_origins(cls, value: list[str]) -> list[str]:
        for origin in value:
            is_of_the_web = origin.startswith(("http://", "https://"))
            if (is_of_the_web and normal_origin(origin) is None) or (
                origin != "*" and not _ORIGIN.fullmatch(origin)
            ):
                raise ValueError(f"{origin!r} is no origin such as https://app.example")
        return value

    @field_validator("providers")
    @classmethod
    def _are_found(cls, value: dict[str, ProviderSettings]) -> dict[str, ProviderSettings]:
        for name, provider in value.items():
            key = provider.api_key.get_secret_value()
            make_provider(name, key, provider.base_url, provider.protocol)
        return value

    @field_validator("database_url", "migration_database_url", "redis_url")
    @classmethod
    def _is_an_address(cls, value: str | None, info: ValidationInfo) -> str | None:
        schemes = _REDIS if info.field_name == "redis_url" else _POSTGRES
        if value is None:
            return None
        try:
            parts = urlsplit(value)
            usable = parts.scheme in schemes and (parts.port is None or parts.port > 0)
        except ValueError:
            usable = False
        if not usable:
            # The address may hold a password: it is not repeated.
            raise ValueError(f"must be an address such as {schemes[0]}://host:port/name")
        return value

    @field_validator("secret_key", "bootstrap_admin_key")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or not value.get_secret_value():
            return None
        if len(value.get_secret_value()) < _MINIMUM_SECRET:
            raise ValueError(f"must have at least {_MINIMUM_SECRET} characters")
        return value

    @model_validator(mode="after")
    def _safe(self) -> "Settings":
        if self.environment == "production" and self.secret_key is None:
            raise ValueError("EXCHEQUER_SECRET_KEY is required in production")
        if self.environment == "production" and "*" in self.allowed_origins:
            raise ValueError("EXCHEQUER_ALLOWED_ORIGINS must name origins in production, not *")
        return self

    @property
    def serves_graphiql(self) -> bool:
        """Whether GraphiQL and introspection are on."""
        if self.graphiql is None:
            return self.environment == "development"
        return self.graphiql

    @property
    def migration_url(self) -> str:
        """The URL by which migrations log in."""
        return self.migration_database_url or self.database_url
