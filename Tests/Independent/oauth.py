"""Gets, uses, refreshes and revokes tokens with Authlib, told nothing but the address of the discovery document; checks access
tokens with joserfc, the JWT library that belongs to Authlib.

    python oauth.py http://127.0.0.1:8080 --service ID:SECRET
"""

import argparse
import asyncio
import os
import time
import uuid

# Plain HTTP: the server under test is on loopback.
os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"

import requests
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from joserfc import jwt
from joserfc.errors import BadSignatureError
from joserfc.jwk import KeySet

from support import TIMEOUT, Account, Socket, step


def discover(http):
    answer = requests.get(f"{http}/.well-known/oauth-authorization-server", timeout=TIMEOUT)
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("application/json")
    metadata = AuthorizationServerMetadata(answer.json())
    # Everything that Authlib checks, but the issuer's https, and the response types: this server has none, and RFC 8414 both requires
    # the member (section 2) and forbids it to be empty (section 3.2).
    for key in AuthorizationServerMetadata.REGISTRY_KEYS:
        if key not in ("issuer", "response_types_supported") and hasattr(metadata, f"validate_{key}"):
            getattr(metadata, f"validate_{key}")()
    assert metadata["issuer"] == http, "the issuer is where the document was found"
    assert metadata["response_types_supported"] == []
    assert {"password", "refresh_token", "client_credentials"} <= set(metadata["grant_types_supported"])
    step("the discovery document is what RFC 8414 says")
    return metadata


def session(**token):
    return OAuth2Session("apus", token_endpoint_auth_method="none", revocation_endpoint_auth_method="none", **token)


def log_in(metadata, account, device):
    client = session()
    token = client.fetch_token(
        metadata["token_endpoint"], grant_type="password", username=account.username, password=account.password,
        device_name=device, platform="python",
    )
    assert token["token_type"].lower() == "bearer" and token["refresh_token"] and 0 < token["expires_in"] <= 900, token
    assert token["account"] == account.id
    return client


def expect_error(error, call):
    """`call` is refused by the token endpoint with that code of RFC 6749."""
    try:
        call()
    except Exception as refused:
        assert getattr(refused, "error", None) == error, refused
    else:
        raise AssertionError(f"expected {error}")


def verify(metadata, token, account):
    keys = KeySet.import_key_set(requests.get(metadata["jwks_uri"], timeout=TIMEOUT).json())
    assert all("d" not in key for key in keys.as_dict()["keys"]), "no private part is published"
    decoded = jwt.decode(token["access_token"], keys, algorithms=["ES256"])
    assert decoded.header["alg"] == "ES256" and decoded.header["kid"], "the key id says which key signed"
    jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": metadata["issuer"]}, sub={"essential": True, "value": account.id}, exp={"essential": True},
        iat={"essential": True},
    ).validate(decoded.claims)
    assert decoded.claims["exp"] - decoded.claims["iat"] == token["expires_in"]

    head, claims, signature = token["access_token"].split(".")
    forged = ".".join([head, claims, signature[:10] + ("A" if signature[10] != "A" else "B") + signature[11:]])
    try:
        jwt.decode(forged, keys, algorithms=["ES256"])
        raise AssertionError("a forged token was accepted")
    except BadSignatureError:
        pass
    profile = f"{metadata['issuer']}/v1/account"
    for bearer, status in ((token["access_token"], 200), (forged, 401), ("", 401)):
        answer = requests.get(profile, headers={"Authorization": f"Bearer {bearer}"}, timeout=TIMEOUT)
        assert answer.status_code == status, (status, answer.text)
    step("the access token is verified with the published keys, and a forged one is refused by everybody")


async def rotate(metadata, account):
    client = log_in(metadata, account, "rotating")
    first = dict(client.token)
    assert client.get(f"{metadata['issuer']}/v1/account", timeout=TIMEOUT).json()["id"] == account.id
    second = dict(client.refresh_token(metadata["token_endpoint"], refresh_token=first["refresh_token"]))
    assert second["refresh_token"] != first["refresh_token"] and second["access_token"] != first["access_token"]
    assert second["device"] == first["device"], "a refreshed login is the same device"
    step("a refresh token is used up for a new one")

    again = dict(session().refresh_token(metadata["token_endpoint"], refresh_token=first["refresh_token"]))
    assert again["refresh_token"] != second["refresh_token"] and again["device"] == first["device"]
    step("whoever lost the answer to a refresh asks once more and gets one")
    last = dict(session().refresh_token(metadata["token_endpoint"], refresh_token=again["refresh_token"]))

    bystander = log_in(metadata, account, "another device")
    socket = await Socket.open(account.socket_url, last["access_token"])
    expect_error(
        "invalid_grant", lambda: session().refresh_token(metadata["token_endpoint"], refresh_token=first["refresh_token"]))
    assert await socket.close_code() == 4201, "the device whose token was used twice is out"
    expect_error(
        "invalid_grant", lambda: session().refresh_token(metadata["token_endpoint"], refresh_token=last["refresh_token"]))
    assert bystander.refresh_token(metadata["token_endpoint"])["access_token"], "other devices stay"
    step("the second use of a refresh token revokes its whole family, and no other")


async def revoke(metadata, account):
    client = log_in(metadata, account, "to be revoked")
    token = dict(client.token)
    other = log_in(metadata, account, "staying")
    socket = await Socket.open(account.socket_url, token["access_token"])
    staying = await Socket.open(account.socket_url, other.token["access_token"])
    began = time.monotonic()
    answer = await asyncio.to_thread(
        client.revoke_token, metadata["revocation_endpoint"], token=token["refresh_token"], token_type_hint="refresh_token")
    assert answer.status_code == 200, answer.text
    assert await socket.close_code() == 4201
    elapsed = time.monotonic() - began
    assert elapsed < 1, f"the connection lived on for {elapsed:.2f} s"
    expect_error("invalid_grant", lambda: session().refresh_token(metadata["token_endpoint"], refresh_token=token["refresh_token"]))
    socket = await Socket.open(account.socket_url)
    await socket.post("hello", accessToken=token["access_token"])
    assert await socket.close_code() == 4200, "its access token opens no session any more"
    assert "pong" in await staying.request("ping")
    await staying.close()
    again = client.revoke_token(metadata["revocation_endpoint"], token=token["refresh_token"])
    assert again.status_code == 200, "revoking what is revoked is no error (RFC 7009)"
    step(f"a revoked login is disconnected within a second ({elapsed * 1000:.0f} ms), and cannot come back")


def service(metadata, credentials):
    identifier, secret = credentials.split(":", 1)
    for method in ("client_secret_basic", "client_secret_post"):
        client = OAuth2Session(identifier, secret, token_endpoint_auth_method=method)
        token = client.fetch_token(metadata["token_endpoint"], grant_type="client_credentials", scope="internal")
        assert token["scope"] == "internal" and "refresh_token" not in token, token
    keys = KeySet.import_key_set(requests.get(metadata["jwks_uri"], timeout=TIMEOUT).json())
    assert jwt.decode(token["access_token"], keys, algorithms=["ES256"]).claims["sub"] == identifier
    refused = client.get(f"{metadata['issuer']}/v1/account", timeout=TIMEOUT)
    assert refused.status_code in (401, 403), "a service is nobody's device"
    wrong = OAuth2Session(identifier, "not the secret, not at all")
    expect_error("invalid_client", lambda: wrong.fetch_token(metadata["token_endpoint"], grant_type="client_credentials"))
    greedy = OAuth2Session(identifier, secret)
    expect_error("invalid_scope", lambda: greedy.fetch_token(metadata["token_endpoint"], grant_type="client_credentials", scope="admin"))
    step("a service gets its token by client credentials, with Basic and in the form, and only what it may have")


def refusals(metadata, account):
    endpoint = metadata["token_endpoint"]
    for username in (account.username, "nobody-of-this-name"):
        wrong = {"grant_type": "password", "username": username, "password": "wrong, sorry"}
        expect_error("invalid_grant", lambda: session().fetch_token(endpoint, **wrong))
    expect_error("unsupported_grant_type", lambda: session().fetch_token(endpoint, grant_type="urn:example:unknown"))
    expect_error("invalid_request", lambda: session().fetch_token(endpoint, grant_type="password", username=account.username))
    implicit = requests.get(
        metadata["authorization_endpoint"], params={"response_type": "token", "client_id": "apus"}, allow_redirects=False,
        timeout=TIMEOUT)
    assert implicit.status_code == 400 and implicit.json()["error"] == "unsupported_response_type", implicit.text
    step("wrong passwords, unknown grants and the implicit grant are refused with OAuth's own codes")


async def main(http, credentials):
    account = Account(http, f"grace-{uuid.uuid4().hex[:8]}")
    metadata = discover(http)
    verify(metadata, log_in(metadata, account, "laptop").token, account)
    await rotate(metadata, account)
    await revoke(metadata, account)
    service(metadata, credentials)
    refusals(metadata, account)
    print("done", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("http")
    parser.add_argument("--service", required=True)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.http, arguments.service))
