"""SigV4: botocore signs, the server checks; everything that was changed on the way is refused."""

import hashlib
from datetime import UTC, datetime

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from stepwell.api.auth import AccessKey, Authenticator, AuthError, KeysError, load_keys

SECRET = "s" * 40
BODY = b'{"stateMachineArn":"a"}'


class Clock:
    def __init__(self):
        self.now = datetime.now(UTC).timestamp()

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def authenticator(clock):
    keys = [AccessKey("AKIDPLAIN", SECRET), AccessKey("AKIDTOKEN", SECRET, "session")]
    return Authenticator(keys, region="us-east-1", clock=clock)


def signed(
    *,
    key="AKIDPLAIN",
    secret=SECRET,
    token=None,
    body=BODY,
    region="us-east-1",
    service="states",
    query=False,
    path="/",
    method="POST",
):
    request = AWSRequest(
        method=method,
        url=f"http://127.0.0.1:8083{path}",
        data=body,
        headers={"Host": "127.0.0.1:8083", "X-Amz-Target": "AWSStepFunctions.StartExecution", "User-Agent": "u"},
    )
    # A presigned URL has no body: botocore would move it into the query.
    request.data = b"" if query else request.data
    signer = SigV4QueryAuth if query else SigV4Auth
    signer(Credentials(key, secret, token), service, region).add_auth(request)
    raw_path, _, query_string = request.url.split("8083", 1)[1].partition("?")
    return {
        "method": method,
        "path": raw_path,
        "raw_path": raw_path.encode(),
        "query_string": query_string.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in request.headers.items()],
    }


def without(scope, name):
    return {**scope, "headers": [(n, v) for n, v in scope["headers"] if n != name.encode()]}


def changed(scope, name, value):
    return {**scope, "headers": [(n, value.encode() if n == name.encode() else v) for n, v in scope["headers"]]}


def refusal(authenticator, scope, body=BODY, service="states"):
    with pytest.raises(AuthError) as caught:
        authenticator.check(scope, body, service)
    return caught.value.code, str(caught.value)


def test_a_signed_request(authenticator):
    assert authenticator.check(signed(), BODY, "states") == "AKIDPLAIN"


def test_a_presigned_url(authenticator):
    scope = signed(query=True)
    assert authenticator.check(scope, b"", "states") == "AKIDPLAIN"
    assert authenticator.check(scope, b"", "states") == "AKIDPLAIN", "it may be used until it expires"


@pytest.mark.parametrize("query", [False, True])
def test_a_session_token(authenticator, query):
    body = b"" if query else BODY
    assert authenticator.check(signed(key="AKIDTOKEN", token="session", query=query), body, "states") == "AKIDTOKEN"
    for token in (None, "other"):
        code, _ = refusal(authenticator, signed(key="AKIDTOKEN", token=token, query=query), body)
        assert code == "UnrecognizedClientException"
    assert refusal(authenticator, signed(token="surplus"))[0] == "UnrecognizedClientException"


def test_paths_with_escapes(authenticator):
    path = "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-1%3A1%3Afunction%3Af/invocations?Qualifier=a%20b&x="
    assert authenticator.check(signed(path=path, service="lambda"), BODY, "lambda")


@pytest.mark.parametrize("query", [False, True])
def test_what_was_changed_is_refused(authenticator, query):
    scope = signed(query=query)
    body = b"" if query else BODY
    assert refusal(authenticator, scope, body + b" ")[0] == "InvalidSignatureException"
    for altered in (
        changed(scope, "x-amz-target", "AWSStepFunctions.DeleteStateMachine"),
        changed(scope, "host", "evil.example"),
        {**scope, "method": "GET"},
        {**scope, "path": "/x", "raw_path": b"/x"},
        {**scope, "query_string": scope["query_string"] + b"&a=b"},
    ):
        assert refusal(authenticator, altered, body)[0] == "InvalidSignatureException"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"key": "AKIDOTHER"}, "UnrecognizedClientException"),
        ({"secret": "t" * 40}, "InvalidSignatureException"),
        ({"region": "eu-west-1"}, "InvalidSignatureException"),
        ({"service": "lambda"}, "InvalidSignatureException"),
    ],
)
def test_who_may_not(authenticator, change, code):
    assert refusal(authenticator, signed(**change))[0] == code


def test_without_a_signature(authenticator):
    assert refusal(authenticator, without(signed(), "authorization"))[0] == "MissingAuthenticationTokenException"
    for text in ("", "AWS4-HMAC-SHA256 Credential=a", "Bearer x", "AWS4-HMAC-SHA256 " + "A" * 10_000):
        assert refusal(authenticator, changed(signed(), "authorization", text))[0] == "IncompleteSignature"


def test_headers_nobody_signed(authenticator):
    scope = signed()
    scope["headers"].append((b"x-amz-invocation-type", b"Event"))
    assert "must be signed" in refusal(authenticator, scope)[1]
    scope = signed()
    assert "is not in the request" in refusal(authenticator, without(scope, "x-amz-target"))[1]


def test_a_claimed_hash_must_be_the_bodys(authenticator):
    scope = signed()
    scope["headers"].append((b"x-amz-content-sha256", b"UNSIGNED-PAYLOAD"))
    assert "unsigned bodies are refused" in refusal(authenticator, scope)[1]
    scope["headers"][-1] = (b"x-amz-content-sha256", hashlib.sha256(BODY).hexdigest().encode())
    assert authenticator.check(scope, BODY, "states")


@pytest.mark.parametrize(("seconds", "words"), [(299, None), (301, "expired"), (-299, None), (-301, "not yet current")])
def test_the_clock(authenticator, clock, seconds, words):
    scope = signed()
    clock.now = int(datetime.now(UTC).timestamp()) + seconds
    if words is None:
        assert authenticator.check(scope, BODY, "states")
    else:
        assert words in refusal(authenticator, scope)[1]


def test_a_presigned_url_expires(authenticator, clock):
    scope = signed(query=True)
    clock.now += 3601
    assert "expired" in refusal(authenticator, scope)[1]


def test_a_replay_is_refused_but_equal_requests_of_one_second_are_not(authenticator, clock):
    scope = signed()
    for _ in range(3):
        assert authenticator.check(scope, BODY, "states")
        clock.now += 0.5
    clock.now += 1
    assert "replay" in refusal(authenticator, scope)[1]


def test_what_is_remembered_is_bounded_in_time(authenticator, clock):
    authenticator.check(signed(), BODY, "states")
    clock.now += 601
    authenticator._check_replay("other")
    assert list(authenticator._seen) == ["other"]


def test_keys_file(tmp_path):
    path = tmp_path / "keys.toml"
    path.write_text(f'[keys.AKIDPLAIN]\nsecret = "{SECRET}"\n')
    path.chmod(0o600)
    assert load_keys(path, region="us-east-1").check(signed(), BODY, "states") == "AKIDPLAIN"
    path.chmod(0o644)
    with pytest.raises(KeysError, match="chmod 600"):
        load_keys(path, region="us-east-1")
    path.chmod(0o600)
    for text, words in (
        ("", "has no"),
        ("[keys.A]\nsecret = 1", "needs a secret"),
        ("[keys.A]\nsecret = 'short'", "at least 16"),
        (f"[keys.A]\nsecret = '{SECRET}'\nsession = 'x'", "unknown field 'session'"),
        ("[", "not valid TOML"),
    ):
        path.write_text(text)
        with pytest.raises(KeysError, match=words):
            load_keys(path, region="us-east-1")
    with pytest.raises(KeysError, match="cannot be read"):
        load_keys(tmp_path / "absent", region="us-east-1")


def test_secrets_do_not_show():
    assert SECRET not in repr(AccessKey("A", SECRET, "session"))
