"""What a token says about itself is shown; the token is not."""

import json
from base64 import urlsafe_b64encode

import pytest

from mailproxy.doctor.claims import MAX_CHARACTERS, MAX_ENTRIES, facts_of_token


def token(claims):
    body = urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"eyJhbGciOiJSUzI1NiJ9.{body}.signature"


def test_audience_scope_roles_issuer_and_end():
    claims = {
        "aud": "https://outlook.office365.com",
        "scp": "SMTP.Send offline_access",
        "roles": ["SMTP.SendAsApp"],
        "iss": "https://sts.example.com/",
        "exp": 1800000000,
        "sub": "nobody's business",
    }
    assert facts_of_token(token(claims), 3599.4) == {
        "kind": "JWT",
        "seconds_left": 3599,
        "audience": ["https://outlook.office365.com"],
        "scope": ["SMTP.Send", "offline_access"],
        "roles": ["SMTP.SendAsApp"],
        "issuer": ["https://sts.example.com/"],
        "expires": "2027-01-15 08:00:00 UTC",
    }


def test_xsuaa_has_lists():
    found = facts_of_token(token({"aud": ["a", "b"], "scope": ["uaa.resource"], "authorities": ["x"]}), 1)
    assert (found["audience"], found["scope"], found["roles"]) == (["a", "b"], ["uaa.resource"], ["x"])


@pytest.mark.parametrize(
    "text",
    ["opaque", "a.b.c", "..", "a.####.c", token([1]), token("x"), "a." + "W1tb" * 5000 + ".c", "a.ö.c"],
)
def test_what_is_no_jwt_is_opaque(text):
    assert facts_of_token(text, 60) == {"kind": "opaque", "seconds_left": 60}


@pytest.mark.parametrize("ends", [True, "soon", -1, 0, 2**60, 1e300, None])
def test_an_end_that_is_none_is_left_out(ends):
    assert "expires" not in facts_of_token(token({"exp": ends}), 1)


def test_what_is_long_or_unprintable_is_cut_and_escaped():
    found = facts_of_token(token({"aud": ["x" * 1000, "\x1b[31m", 7], "scope": " ".join("ab" for _ in range(1000))}), 1)
    assert len(found["audience"][0]) <= MAX_CHARACTERS + 3
    assert found["audience"][1] == "\\x1b[31m"
    assert len(found["audience"]) == 2
    assert len(found["scope"]) == MAX_ENTRIES
