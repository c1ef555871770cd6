"""eks:call and eks:runJob against a Kubernetes API of its own certificate authority, on loopback."""

import asyncio
import base64
import datetime
import ipaddress
import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from stepwell.tasks import Dispatcher, TaskError
from stepwell.tasks.aws_clients import AwsClients

from .conftest import ACCOUNT, Submissions, run

NOW = datetime.datetime.now(datetime.UTC)
JOB = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "pi"}, "spec": {"template": {}}}


def certificate(name, key, issuer, issuer_key, *, authority):
    built = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - datetime.timedelta(days=1))
        .not_valid_after(NOW + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=authority,
                crl_sign=authority,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    )
    if not authority:
        place = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        built = built.add_extension(place, critical=False)
    return built.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.fixture(scope="module")
def authorities(tmp_path_factory):
    """The authority's certificate, another one's, and the server's context."""
    folder = tmp_path_factory.mktemp("certificates")
    root, leaf, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    trusted = certificate("cluster", root, "cluster", root, authority=True)
    strange = certificate("other", other, "other", other, authority=True)
    pem = leaf.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "server.pem"
    path.write_bytes(pem + certificate("api", leaf, "cluster", root, authority=False))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return base64.b64encode(trusted).decode(), base64.b64encode(strange).decode(), context


class Cluster:
    """A Kubernetes API that remembers its requests; `answers` by (method, path): a list of (status, body), the last again and again."""

    def __init__(self, context):
        self.requests = []
        self.answers = {}
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            def _do(self):
                parts = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                found = cluster.answers.get((self.command, parts.path), [(404, {"kind": "Status", "code": 404})])
                cluster.requests.append(
                    (
                        self.command,
                        parts.path,
                        parse_qs(parts.query),
                        body,
                        {k.lower(): v for k, v in self.headers.items()},
                    )
                )
                status, answer = found.pop(0) if len(found) > 1 else found[0]
                text = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-type", "text/plain" if isinstance(answer, str) else "application/json")
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_DELETE = do_PATCH = do_PUT = _do

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def made(self, method):
        return [path for found, path, *_ in self.requests if found == method]


@pytest.fixture
def cluster(authorities):
    made = Cluster(authorities[2])
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
async def dispatcher(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    made = Dispatcher(aws=AwsClients(None, ACCOUNT), poll_seconds=(0.01, 0.02))
    yield made
    await made.close()


@pytest.fixture
def arguments(cluster, authorities):
    return {"ClusterName": "mine", "CertificateAuthority": authorities[0], "Endpoint": cluster.url}


JOBS = "/apis/batch/v1/namespaces/default/jobs"
PODS = "/api/v1/namespaces/default/pods"


async def failure(dispatcher, resource, arguments, **more):
    with pytest.raises(TaskError) as caught:
        await run(dispatcher, resource, arguments, **more)
    return caught.value


async def test_call(dispatcher, cluster, arguments):
    cluster.answers["GET", PODS] = [(200, {"items": [1]})]
    query = {"labelSelector": ["job-name=a b"], "limit": 5}
    result = await run(dispatcher, "eks:call", {**arguments, "Method": "GET", "Path": PODS, "QueryParameters": query})
    assert result == {"ResponseBody": {"items": [1]}, "StatusCode": 200, "StatusText": "OK"}
    [(_, _, sent, _, headers)] = cluster.requests
    assert sent == {"labelSelector": ["job-name=a b"], "limit": ["5"]}
    kind, token = headers["authorization"].split()
    assert kind == "Bearer"
    assert token.startswith("k8s-aws-v1.")
    assert "=" not in token
    text = token.removeprefix("k8s-aws-v1.")
    url = urlsplit(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode())
    assert (url.hostname, url.path) == ("sts.us-east-1.amazonaws.com", "/")
    signed = {name: values[0] for name, values in parse_qs(url.query).items()}
    assert (signed["Action"], signed["X-Amz-Expires"]) == ("GetCallerIdentity", "60")
    assert signed["X-Amz-SignedHeaders"] == "host;x-k8s-aws-id"
    assert signed["X-Amz-Credential"].startswith("AKIDEXAMPLE/")


async def test_bodies_and_what_a_patch_is(dispatcher, cluster, arguments):
    for method, body, kind in (
        ("POST", {"a": 1}, "application/json"),
        ("POST", '{"a":1}', "application/json"),
        ("PATCH", {"a": 1}, "application/merge-patch+json"),
        ("PATCH", [{"op": "remove", "path": "/a"}], "application/json-patch+json"),
    ):
        cluster.answers[method, "/x"] = [(201, "made")]
        result = await run(dispatcher, "eks:call", {**arguments, "Method": method, "Path": "/x", "RequestBody": body})
        assert (result["ResponseBody"], result["StatusCode"]) == ("made", 201)
        assert cluster.requests[-1][4]["content-type"] == kind
        assert json.loads(cluster.requests[-1][3]) == (json.loads(body) if isinstance(body, str) else body)


async def test_refusals(dispatcher, cluster, arguments, authorities):
    status = {"kind": "Status", "status": "Failure", "message": "Unauthorized", "code": 401}
    cluster.answers["GET", "/x"] = [(401, status)]
    call = {**arguments, "Method": "GET", "Path": "/x"}
    refused = await failure(dispatcher, "eks:call", call)
    assert refused.error == "EKS.401"
    assert json.loads(refused.cause) == {"ResponseBody": status, "StatusCode": 401, "StatusText": "Unauthorized"}
    strange = await failure(dispatcher, "eks:call", {**call, "CertificateAuthority": authorities[1]})
    assert strange.error == "EKS.SdkClientException"
    assert "CERTIFICATE_VERIFY_FAILED" in strange.cause
    for wrong, words in (
        ({"CertificateAuthority": "bm8="}, "CertificateAuthority"),
        ({"Endpoint": "http://127.0.0.1"}, "not an https URL"),
        ({"Method": "TRACE"}, "Method"),
        ({"ClusterName": None}, "ClusterName"),
        ({"QueryParameters": [1]}, "QueryParameters"),
    ):
        refused = await failure(dispatcher, "eks:call", {**call, **wrong})
        assert refused.error == "States.Runtime"
        assert words in refused.cause


async def test_a_job_that_is_not_waited_for(dispatcher, cluster, arguments):
    cluster.answers["POST", "/apis/batch/v1/namespaces/blue/jobs"] = [(201, JOB)]
    result = await run(dispatcher, "eks:runJob", {**arguments, "Job": JOB, "Namespace": "blue"})
    assert (result["ResponseBody"], result["StatusCode"]) == (JOB, 201)
    cluster.answers["POST", "/apis/batch/v1/namespaces/blue/jobs"] = [(409, {"reason": "AlreadyExists"})]
    refused = await failure(dispatcher, "eks:runJob", {**arguments, "Job": JOB, "Namespace": "blue"})
    assert refused.error == "EKS.409"


def ended(kind):
    return {
        **JOB,
        "status": {"conditions": [{"type": "Suspended", "status": "False"}, {"type": kind, "status": "True"}]},
    }


async def test_a_job_until_it_is_complete_with_its_logs(dispatcher, cluster, arguments):
    cluster.answers["POST", JOBS] = [(201, JOB)]
    cluster.answers["GET", f"{JOBS}/pi"] = [
        (200, JOB),
        (503, "busy"),
        (200, {**JOB, "status": {}}),
        (200, ended("Complete")),
    ]
    spec = {"containers": [{"name": "main"}, {"name": "side"}, {"name": "none"}]}
    cluster.answers["GET", PODS] = [(200, {"items": [{"metadata": {"name": "pi-x"}, "spec": spec}]})]
    cluster.answers["GET", f"{PODS}/pi-x/log"] = [(200, '{"pi": 3.14}'), (200, "plain\n"), (400, {"message": "none"})]
    submitted = Submissions()
    options = {"RetrieveLogs": True, "LogParameters": {"tailLines": ["6"]}}
    result = await run(
        dispatcher, "eks:runJob.sync", {**arguments, "Job": json.dumps(JOB), "LogOptions": options}, submitted
    )
    assert submitted[0]["StatusCode"] == 201
    containers = result.pop("logs")["pods"]["pi-x"]["containers"]
    assert result == ended("Complete")
    assert containers["main"] == {"log": {"pi": 3.14}}
    assert containers["side"] == {"log": "plain\n"}
    assert (containers["none"]["error"], set(containers["none"])) == ("EKS.400", {"error", "cause"})
    asked = [query for _, path, query, *_ in cluster.requests if path.endswith("/log")]
    assert asked[0] == {"container": ["main"], "tailLines": ["6"]}
    listed = [query for _, path, query, *_ in cluster.requests if path == PODS]
    assert listed == [{"labelSelector": ["job-name=pi"]}]


async def test_a_job_that_fails_is_the_cause(dispatcher, cluster, arguments):
    cluster.answers["GET", f"{JOBS}/pi"] = [(200, ended("Failed"))]
    started = json.dumps({"ResponseBody": JOB, "StatusCode": 201, "StatusText": "Created"}).encode()
    failed = await failure(dispatcher, "eks:runJob.sync", {**arguments, "Job": JOB}, submitted=started)
    assert failed.error == "States.TaskFailed"
    assert json.loads(failed.cause) == ended("Failed")
    assert cluster.made("POST") == [], "after a restart it is only asked for"


@pytest.mark.parametrize("leaving", [False, True])
async def test_cancelling_deletes_the_job_unless_the_host_goes_down(dispatcher, cluster, arguments, leaving):
    cluster.answers["POST", JOBS] = [(201, JOB)]
    cluster.answers["GET", f"{JOBS}/pi"] = [(200, JOB)]
    cluster.answers["DELETE", f"{JOBS}/pi"] = [(200, {})]
    submitted = Submissions()
    task = asyncio.create_task(run(dispatcher, "eks:runJob.sync", {**arguments, "Job": JOB}, submitted))
    while not submitted:
        await asyncio.sleep(0.001)
    if leaving:
        dispatcher.detach()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cluster.made("DELETE") == ([] if leaving else [f"{JOBS}/pi"])
