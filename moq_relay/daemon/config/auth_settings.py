"""The settings `auth.*`: who may do what."""

from pydantic import Field

from moq_relay.daemon.config.forms import (
    DirectoryOrUrl,
    Everybody,
    File,
    FileOrUrl,
    OpenOrClosed,
    OptionalDuration,
    OptionalText,
    Texts,
)
from moq_relay.daemon.config.section import Section


class Auth(Section):
    """Who may do what."""

    key: FileOrUrl = Field(
        default=None,
        description="JWK that verifies tokens: a file, or an https URL. A token comes as `?jwt=` "
        "in the URL of a session, or in a header `Authorization: Bearer` (docs/auth.md).",
    )
    key_dir: DirectoryOrUrl = Field(
        default=None,
        description="Where such keys are, each as `<kid>.jwk`: a directory, or an https URL; a "
        "token names its key by `kid`.",
    )
    jwks: FileOrUrl = Field(
        default=None,
        description="A set of such keys, as identity providers publish it: a file, or an https "
        "URL. Needs `auth.audience`.",
    )
    ca: File = Field(
        default=None,
        description="PEM file with certificates to believe of the servers of keys, instead of the "
        "system's.",
    )
    issuer: OptionalText = Field(
        default=None, description="What a token must have as `iss`. Unset: that is not looked at."
    )
    audience: Texts = Field(
        default=(),
        description="Of these a token must have one as `aud`. Unset: a token that has any is "
        "refused.",
    )
    max_lifetime: OptionalDuration = Field(
        default=None,
        description="How long a token may live, from its `iat`, or from its use where it has none, "
        "to its `exp`, which it must have then. Unset: for ever.",
    )
    revocation: OpenOrClosed = Field(
        default="open",
        description="Who brings a token with `jti` or `sub` while the registry is away gets in "
        "unless it is known to be taken back (`open`), or is refused until it is known "
        "(`closed`).",
    )
    public: Everybody = Field(
        default=None,
        description="What everybody without a token may publish and watch: prefixes of full "
        'paths, and `""` is everything. Unset: nobody may do anything.',
    )
