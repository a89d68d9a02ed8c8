"""Object stores (`s3://`, `gs://`): addresses, opening a store, and what its errors mean to a person.

Requests go through obstore, which retries with backoff what may pass. Its messages quote the replies of the
server, and those name access keys and signatures: only the status and the error code are taken from them.
"""

from __future__ import annotations

import functools
import os
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from framemill.errors import SetupError, UnreadableError, UsageError

T = TypeVar("T")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
# What presigned addresses and access tokens are called in query strings.
_SECRET_QUERY = re.compile(r"[?&](X-Amz-|X-Goog-|AWSAccessKeyId|GoogleAccessId|Signature|sig|token)", re.I)
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w{1,60})</Code>")
_REFUSED = (
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "RequestTimeTooSkewed",
)
_ELSEWHERE = (
    "PermanentRedirect",
    "AuthorizationHeaderMalformed",
    "TemporaryRedirect",
    "IllegalLocationConstraint",
)
_THROTTLED = ("SlowDown", "SlowDownRead", "SlowDownWrite", "RequestLimitExceeded", "Throttling")
_GOOGLE_SETTINGS = (
    "GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH",
    "GOOGLE_SERVICE_ACCOUNT_KEY", "GOOGLE_BEARER_TOKEN", "GOOGLE_SKIP_SIGNATURE",
)  # fmt: skip

CONNECT_SECONDS = 5.0
REQUEST_SECONDS = 120.0
# Without a byte for so long, a request is made anew: several times within the time for retries.
SILENT_SECONDS = 20.0
# With the backoff below, trouble of some seconds passes: five at least in nine cases of ten.
RETRIES = 8
RETRY_SECONDS = 60.0
INSTALL = 'reading and writing s3:// and gs:// needs the extra `cloud`: pip install ".[cloud]"'


@dataclass(frozen=True, slots=True)
class Address:
    """A place in an object store.

    Attributes:
        scheme: s3 or gs. bucket: its name. key: without a leading slash; empty for the whole bucket.
    """

    scheme: str
    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}" if self.key else f"{self.scheme}://{self.bucket}"


def is_remote(text: str) -> bool:
    """Whether a source or result is named by a URI; `parse_uri` refuses those that cannot be used."""
    return _SCHEME.match(text) is not None and not os.path.lexists(text)


def parse_uri(text: str) -> Address:
    """Takes `s3://bucket/key` or `gs://bucket/key` apart; the key is taken as it is, without unescaping.

    Raises:
        UsageError: another scheme, no bucket, or something secret in it. The message shows no secret.
    """
    scheme, _, rest = text.partition("://")
    bucket, _, key = rest.partition("/")
    shown = f"{scheme}://{bucket.rpartition('@')[2].partition('?')[0]}/..."
    if scheme not in ("s3", "gs"):
        raise UsageError(f"{shown} cannot be read: give a path, or an address with s3:// or gs://")
    if "@" in bucket or _SECRET_QUERY.search(rest):
        raise UsageError(
            f"the address {shown} carries credentials, which would end up in tables and logs: leave them out "
            "and set AWS_ACCESS_KEY_ID, AWS_PROFILE or GOOGLE_APPLICATION_CREDENTIALS"
        )
    if not bucket:
        raise UsageError(f"the address {text} names no bucket: give {scheme}://BUCKET/...")
    return Address(scheme, bucket, key.lstrip("/"))


@functools.cache
def open_store(scheme: str, bucket: str, retries: int = RETRIES) -> Any:
    """The obstore store of a bucket, made once per process.

    Args:
        retries: how often a request is tried again.

    Raises:
        SetupError: the library is missing, or no credentials can be found.
    """
    try:
        from obstore.store import GCSStore, S3Store
    except ImportError as exc:
        raise SetupError(INSTALL) from exc
    options: dict[str, Any] = {
        "client_options": {
            "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
            "timeout": timedelta(seconds=REQUEST_SECONDS),
            "read_timeout": timedelta(seconds=SILENT_SECONDS),
            "allow_http": endpoint(scheme).startswith("http://"),
        },
        "retry_config": {
            "max_retries": retries,
            "retry_timeout": timedelta(seconds=RETRY_SECONDS),
            "backoff": {
                "init_backoff": timedelta(seconds=0.2),
                "max_backoff": timedelta(seconds=5),
                # Jitter takes half of it: with the usual 2 the waits would hardly grow.
                "base": 3,
            },
        },
    }
    try:
        if scheme == "s3":
            if endpoint(scheme):
                options["endpoint"] = endpoint(scheme)
            return S3Store(bucket, **_amazon_credentials(), **options)
        return GCSStore(bucket, **_google_credentials(), **options)
    except SetupError:
        raise
    except Exception:  # obstore's own classes; their text may quote a key file
        raise SetupError(
            f"the credentials for {scheme}://{bucket} cannot be used: check the variables AWS_* or GOOGLE_* "
            "and the files that they name"
        ) from None


def endpoint(scheme: str) -> str:
    """Address of a store that is not the provider's own, or empty."""
    if scheme == "gs":
        emulator = os.environ.get("STORAGE_EMULATOR_HOST", "")
        if emulator and "://" not in emulator:
            emulator = f"http://{emulator}"
        return os.environ.get("GOOGLE_BASE_URL", emulator)
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")


def _amazon_credentials() -> dict[str, Any]:
    """Nothing where the environment holds them; else what boto3 finds: profiles, single sign-on, roles."""
    is_public = os.environ.get("AWS_SKIP_SIGNATURE", "").lower() in ("1", "true", "yes", "on")
    if is_public or os.environ.get("AWS_ACCESS_KEY_ID"):
        return {}
    try:
        import boto3
        from botocore.exceptions import BotoCoreError
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError as exc:
        raise SetupError(INSTALL) from exc
    try:
        session = boto3.Session()
        found = session.get_credentials()
        if found is not None:
            found.get_frozen_credentials()
            return {"credential_provider": Boto3CredentialProvider(session)}
    except BotoCoreError as exc:
        name = os.environ.get("AWS_PROFILE", "default")
        raise SetupError(
            f"the AWS profile {name!r} gives no credentials ({type(exc).__name__}): "
            "check AWS_PROFILE and ~/.aws, or sign in again"
        ) from None
    raise SetupError(
        "no credentials for s3://: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run "
        "where a role is attached; AWS_SKIP_SIGNATURE=true reads public buckets"
    )


def _google_credentials() -> dict[str, Any]:
    if any(os.environ.get(name) for name in _GOOGLE_SETTINGS):
        return {"base_url": endpoint("gs")} if endpoint("gs") else {}
    if endpoint("gs"):
        return {"base_url": endpoint("gs"), "bearer_token": "emulator"}  # which asks nobody who he is
    folder = Path(os.environ.get("CLOUDSDK_CONFIG", Path.home() / ".config" / "gcloud"))
    if (folder / "application_default_credentials.json").exists() or _is_on_google():
        return {}
    raise SetupError(
        "no credentials for gs://: set GOOGLE_APPLICATION_CREDENTIALS to a key file, run "
        "`gcloud auth application-default login`, or run where a service account is attached; "
        "GOOGLE_SKIP_SIGNATURE=true reads public buckets"
    )


def _is_on_google() -> bool:
    """Whether the metadata server of Google's machines responds; one request, of a second at most."""
    import http.client

    connection = http.client.HTTPConnection(os.environ.get("GCE_METADATA_HOST", "169.254.169.254"), timeout=1)
    try:
        connection.request("GET", "/", headers={"Metadata-Flavor": "Google"})
        return connection.getresponse().getheader("Metadata-Flavor") == "Google"
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def setup_problem(error: Exception, scheme: str, bucket: str) -> str:
    """What only a person can repair, with the remedy; empty for any other error."""
    text = str(error)
    status, code = status_and_code(text)
    name = type(error).__name__
    place = f"{scheme}://{bucket}"
    if code == "NoSuchBucket":
        return f"the bucket {place} does not exist: check its name, or make it"
    if code in _ELSEWHERE or status in ("301", "307"):
        return f"the bucket {place} lies in another region: set AWS_REGION to that of the bucket"
    if code in _REFUSED or name == "UnauthenticatedError" or status == "401":
        return f"the credentials for {place} are refused ({code or status}): set valid ones"
    if name == "PermissionDeniedError" or status == "403":
        return (
            f"no permission for {place} ({code or status}): ask for the right to list, read and write there"
        )
    return ""


def describe_error(error: Exception) -> str:
    """What went wrong, in words without secrets."""
    status, code = status_and_code(str(error))
    if isinstance(error, FileNotFoundError):
        return "nothing is there"
    if type(error).__name__ == "PreconditionError":
        return "it was changed while it was read"
    if code in _THROTTLED:
        return (
            f"the storage asks for fewer requests ({status} {code}), whatever the wait: use fewer workers at "
            "once, or spread the objects over more prefixes"
        )
    if status:
        return f"the storage answered {' '.join(filter(None, (status, code)))} every time"
    return "the storage cannot be reached"


def status_and_code(text: str) -> tuple[str, str]:
    """HTTP status and error code in the text of an error of obstore; each empty where it states none."""
    status, code = _STATUS.search(text), _CODE.search(text)
    return status[1] if status else "", code[1] if code else ""


@contextmanager
def reading_object(uri: str) -> Iterator[None]:
    """Turns errors of the store into that of one input.

    Raises:
        UnreadableError: with the remedy.
    """
    try:
        yield
    except (UsageError, SetupError, UnreadableError):
        raise
    except Exception as exc:
        address = parse_uri(uri)
        why = setup_problem(exc, address.scheme, address.bucket) or describe_error(exc)
        raise UnreadableError(f"cannot be read: {why}; the next run tries again") from None


def was_cut(error: Exception) -> bool:
    """Whether an answer was lost on its way, of which obstore tells without having asked again.

    So it does with listings, the removal of many objects, and the making of one that is not to be there yet.
    """
    text = str(error)
    asked_again = "retries: " in text and "retries: 0," not in text
    return type(error).__name__ == "GenericError" and not asked_again and not any(status_and_code(text))


def waits() -> Iterator[float]:
    """Seconds to wait before each further try, as obstore does: growing, at random, and a few times."""
    for attempt in range(RETRIES):
        yield random.uniform(0.1, min(5.0, 0.2 * 2**attempt))


def list_objects(store: Any, prefix: str | None) -> Iterator[Mapping[str, Any]]:
    """Every object below a prefix, as obstore tells of it; a listing that was cut goes on where it was."""
    last, pauses = None, waits()
    while True:
        try:
            for chunk in store.list(prefix=prefix, offset=last):
                yield from chunk
                last, pauses = chunk[-1]["path"], waits()
            return
        except Exception as error:
            pause = next(pauses, None) if was_cut(error) else None
            if pause is None:
                raise
            time.sleep(pause)


def ask(request: Callable[[], T]) -> T:
    """The answer to a request that does no harm when it is repeated, asked again where one was lost."""
    for pause in waits():
        try:
            return request()
        except Exception as error:
            if not was_cut(error):
                raise
        time.sleep(pause)
    return request()


def stat_object(uri: str) -> tuple[int, str]:
    """(size in bytes, entity tag) of an object.

    Raises:
        UnreadableError: it cannot be had.
    """
    address = parse_uri(uri)
    with reading_object(uri):
        found = open_store(address.scheme, address.bucket).head(address.key)
    return found["size"], found["e_tag"] or ""
