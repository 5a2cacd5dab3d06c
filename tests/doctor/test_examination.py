"""The doctor against a sandbox: every step is taken with the proxy's own parts, and each illness is found."""

import json
import re
from base64 import b64encode

import pytest
import pytest_twisted

from mailproxy.doctor.document import document
from mailproxy.doctor.run import UnknownSubject
from mailproxy.doctor.show import report_text
from mailproxy.doctor.steps import STEPS
from tests.doctor.ward import CASES, NAME, masked
from tests.support.pages import page, spans

PAGE = page("how-to/doctor.md")
QUOTED = {block.name: block.text for block in PAGE.blocks if block.name in CASES}


def steps(report):
    (check,) = report.checks
    return {step.name: step for step in check.steps}


@pytest.mark.parametrize("name", CASES)
@pytest_twisted.ensureDeferred
async def test_the_page_has_what_the_doctor_says(ward, name):
    CASES[name](ward)
    command = QUOTED[name].partition("\n")[0].removeprefix("$ ")
    assert masked(await ward.said(command)) == masked(QUOTED[name])


def test_the_page_explains_every_case():
    assert QUOTED.keys() == CASES.keys()


@pytest_twisted.ensureDeferred
async def test_no_secret_is_in_any_form_of_the_report(ward):
    ward.in_service(ward.token_properties())
    report = await ward.check()
    assert report.ok
    secrets = [ward.acme.password, ward.acme.client_secret, *ward.world.mailboxes.tokens._good]
    secrets += [*ward.world.services.service_tokens.tokens._good]
    text = document(report) + repr(report)
    assert len(secrets) >= 4
    for secret in secrets:
        assert secret not in text
        assert secret.split(".")[-1] not in text


@pytest_twisted.ensureDeferred
async def test_a_test_mail_is_sent_and_says_what_it_is(ward):
    ward.file(ward.properties())
    report = await ward.check(f"mailproxy check {NAME} --send-to robot@globex.example")
    facts = steps(report)["mail"].facts
    (message,) = ward.world.mailboxes.mailbox("robot@globex.example").messages
    assert facts["message_id"].encode() in message.octets
    assert b"Auto-Submitted: auto-generated\r\n" in message.octets
    assert b"destination example-dest of the tenant acme" in message.octets
    assert (facts["sender"], facts["recipient"]) == ("robot@acme.example", "robot@globex.example")
    assert facts["reply"].startswith("250 2.0.0 Ok")


@pytest_twisted.ensureDeferred
async def test_a_recipient_that_is_refused_is_explained(ward):
    ward.file(ward.properties())
    report = await ward.check(f"mailproxy check {NAME} --send-to nobody@nowhere.invalid --send-from a@b.example")
    trouble = steps(report)["mail"].trouble
    assert "the mail server refused RCPT: 550 5.1.2" in trouble.error
    assert trouble.answer == "smtp-recipient-unknown"
    assert not trouble.temporary
    assert report.checks[0].failed == ("mail",)


@pytest.mark.parametrize("user", ["robot", "robot@acme.example>", "röbot@acme.example", "a b@acme.example"])
@pytest_twisted.ensureDeferred
async def test_a_user_that_is_no_address_is_nobodys_sender(ward, user):
    ward.world.mailboxes.add_account(user, "long enough")
    ward.file(ward.properties(mail__user=user, mail__password="long enough"))
    report = await ward.check(f"mailproxy check {NAME} --send-to robot@globex.example")
    assert steps(report)["mail"].trouble.answer == "no-sender"


@pytest_twisted.ensureDeferred
async def test_what_a_server_quotes_of_the_login_is_not_shown(ward):
    password = "correct horse battery"
    form = b64encode(f"\0robot@acme.example\0{password}".encode())

    def script(visit):
        visit.send(b"220 scripted ESMTP\r\n")
        while (line := visit.read_line()).upper().startswith(b"EHLO"):
            visit.send(b"250-scripted\r\n250 AUTH PLAIN\r\n")
        visit.send(b"535 5.7.8 no: " + line + b" " + password.encode() + b"\r\n")

    files = ward.authority.issue("mail.localhost").write(ward.folder, "mail")
    port = ward.scripted(script, certificate=files[0], key=files[1])
    ward.file(
        ward.properties("smtp", mail__password=password, mail__smtp__ssl__enable="true", mail__smtp__port=str(port))
    )
    report = await ward.check()
    assert steps(report)["login"].trouble.answer == "smtp-auth-535"
    for text in (document(report), report_text(report)):
        assert password not in text
        assert form.decode() not in text


@pytest_twisted.ensureDeferred
async def test_pop3_asks_for_the_maildrop_and_lets_go_of_it(ward):
    ward.protocol = "pop3"
    ward.file(ward.properties("pop3s"))
    report = await ward.check(f"mailproxy check {NAME} --send-to robot@globex.example")
    assert report.ok
    found = steps(report)
    assert found["probe"].facts == {"command": "STAT", "reply": "+OK 0 0"}
    assert found["mail"].why == "POP3 sends no mail"
    assert not ward.world.mailboxes.mailbox(ward.acme.user).held


@pytest_twisted.ensureDeferred
async def test_a_mailbox_that_is_held_passes_by_itself(ward):
    ward.protocol = "pop3"
    ward.file(ward.properties("pop3s"))
    ward.world.mailboxes.mailbox(ward.acme.user).held = True
    trouble = steps(await ward.check())["login"].trouble
    assert (trouble.answer, trouble.temporary) == ("pop3-in-use", True)


@pytest_twisted.ensureDeferred
async def test_a_destination_without_login_is_visited_without_one(ward):
    ward.file(ward.properties(Authentication="NoAuthentication", mail__user=None, mail__password=None))
    report = await ward.check()
    assert report.ok
    found = steps(report)
    assert found["login"].why == "the destination wants none"
    assert found["probe"].status == "ok"


@pytest.mark.parametrize(("protocol", "probe"), [("smtp", "ok"), ("pop3", "skipped")])
@pytest_twisted.ensureDeferred
async def test_without_a_token_nothing_is_sent_and_no_maildrop_looked_into(ward, protocol, probe):
    ward.protocol = protocol
    transport = {"smtp": "smtps", "pop3": "pop3s"}[protocol]
    port = getattr(ward.world.servers, transport)
    place = {f"mail.{transport}.host": "mail.localhost", f"mail.{transport}.port": str(port)}
    ward.file(
        ward.token_properties(clientSecret="not this one")
        | place
        | {"mail.transport.protocol": transport, "mail.smtp.colour": "red"}
    )
    report = await ward.check(f"mailproxy check {NAME} --send-to robot@globex.example")
    found = steps(report)
    assert (found["token"].status, found["login"].status, found["probe"].status) == ("failed", "skipped", probe)
    assert found["mail"].status == "skipped"
    assert not ward.world.mailboxes.mailbox("robot@globex.example").messages
    assert "mail.smtp.colour" in found["destination"].notes[-1]


@pytest.mark.parametrize(
    ("changes", "step", "answer"),
    [
        ({"ProxyType": "OnPremise"}, "route", "destination-on-premise"),
        ({"mail__transport__protocol": "pop3"}, "destination", "destination-other-protocol"),
        ({"mail__password": None}, "destination", "destination-property"),
        ({"mail__smtp__port": "0"}, "destination", "destination-property"),
        ({"mail__smtp__auth__mechanisms": "XOAUTH2"}, "destination", "destination-property"),
        ({"mail__smtp__auth__mechanisms": "CRAM-MD5"}, "login", "login-no-mechanism"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_properties_that_do_not_fit(ward, changes, step, answer):
    ward.file(ward.properties(**changes))
    found = steps(await ward.check())[step]
    assert (found.status, found.trouble.answer) == ("failed", answer)


@pytest_twisted.ensureDeferred
async def test_a_destination_that_is_not_there(ward):
    assert steps(await ward.check())["destination"].trouble.answer == "destination-no-file"


@pytest_twisted.ensureDeferred
async def test_a_destination_that_the_service_does_not_know(ward):
    ward.use_service()
    found = steps(await ward.check())
    assert found["service_token"].status == "ok"
    assert found["destination"].trouble.answer == "destination-not-found"


@pytest_twisted.ensureDeferred
async def test_a_token_that_the_mail_server_refuses(ward):
    ward.file(ward.token_properties(mail__user="robot@globex.example"))
    trouble = steps(await ward.check())["login"].trouble
    assert "token refused: " in trouble.error
    assert trouble.answer == "sasl-oauth-invalid-token"


@pytest_twisted.ensureDeferred
async def test_credentials_do_not_travel_in_plain_text(ward):
    ward.file(ward.properties(mail__smtp__starttls__enable="false", mail__smtp__starttls__required="false"))
    found = steps(await ward.check())
    assert found["login"].trouble.answer == "login-unencrypted"
    assert found["tls"].why == "the connection is not encrypted"


@pytest_twisted.ensureDeferred
async def test_a_certificate_that_ends_soon_is_worth_a_note(ward, monkeypatch):
    monkeypatch.setattr("mailproxy.doctor.visiting.SOON_DAYS", 40)
    ward.file(ward.properties())
    report = await ward.check()
    assert report.ok
    assert steps(report)["tls"].notes == ("a certificate in the chain expires in 29 days",)


# Mail servers that are told of clients


def introduced(ward, setting, script):
    """What the doctor finds at a mail server behind TLS that does what the script says."""
    files = ward.authority.issue("mail.localhost").write(ward.folder, "mail")
    port = ward.scripted(script, certificate=files[0], key=files[1])
    ward.file(ward.properties(mail__smtp__ssl__enable="true", mail__smtp__port=str(port)))
    ward.more = setting
    return ward.check()


def greets(visit, *offers):
    """Greeting and EHLO are behind us."""
    visit.send(b"220 scripted ESMTP\r\n")
    assert visit.read_line().startswith(b"EHLO ")
    offer(visit, *offers)


def offer(visit, *offers):
    visit.send(b"".join(b"250-%s\r\n" % each for each in (b"scripted", *offers)) + b"250 AUTH PLAIN\r\n")


@pytest_twisted.ensureDeferred
async def test_a_header_says_where_the_doctor_is(ward):
    heard = []

    def script(visit):
        heard.append(visit.read_line())
        visit.log_in_smtp()
        visit.read_line()
        visit.send(b"250 ok\r\n")

    port = ward.scripted(script)
    open_to_all = {f"mail.smtp.starttls.{each}": "false" for each in ("enable", "required")}
    ward.file(ward.properties(mail__smtp__port=str(port)) | open_to_all)
    ward.more = 'send_proxy = "v1"\nallow_plaintext_auth = true'
    assert (await ward.check()).ok
    assert re.fullmatch(rf"PROXY TCP4 127\.0\.0\.1 127\.0\.0\.1 \d+ {port}".encode(), heard[0])


@pytest_twisted.ensureDeferred
async def test_xclient_says_where_the_doctor_is(ward):
    heard = []

    def script(visit):
        greets(visit, b"XCLIENT ADDR PORT")
        heard.append(visit.read_line())
        visit.log_in_smtp()
        visit.read_line()
        visit.send(b"250 ok\r\n")

    report = await introduced(ward, 'xclient = "required"', script)
    assert report.ok
    assert steps(report)["capabilities"].facts == {"offers": ["PIPELINING", "8BITMIME", "AUTH PLAIN"]}
    assert re.fullmatch(rb"XCLIENT ADDR=127\.0\.0\.1 PORT=\d+", heard[0])


@pytest_twisted.ensureDeferred
async def test_a_mail_server_that_does_not_offer_xclient(ward):
    found = steps(await introduced(ward, 'xclient = "required"', greets))
    assert found["capabilities"].trouble.answer == "xclient-missing"
    assert found["login"].status == "skipped"


@pytest_twisted.ensureDeferred
async def test_a_mail_server_that_refuses_xclient(ward):
    def script(visit):
        greets(visit, b"XCLIENT ADDR PORT")
        visit.read_line()
        visit.send(b"550 5.7.0 Error: insufficient authorization\r\n")

    found = steps(await introduced(ward, 'xclient = "offered"', script))
    assert found["capabilities"].trouble.answer == "xclient-refused"
    assert found["login"].status == "skipped"


@pytest_twisted.ensureDeferred
async def test_a_mail_server_that_takes_the_header_for_a_command(ward):
    def script(visit):
        visit.read_line()
        visit.send(b"220 scripted ESMTP\r\n500 5.5.2 Error: command not recognized\r\n")
        visit.read_some(1)

    port = ward.scripted(script)
    ward.file(ward.properties(mail__smtp__port=str(port)))
    ward.more = 'send_proxy = "v1"'
    assert steps(await ward.check())["greeting"].trouble.answer == "greeting-twice"


@pytest_twisted.ensureDeferred
async def test_what_is_not_in_the_configuration_cannot_be_checked(ward):
    with pytest.raises(
        UnknownSubject, match="there is no example-dest/globex and no other, but there is example-dest/acme"
    ):
        await ward.check("mailproxy check example-dest example-dest/globex other")


# The reference


@pytest_twisted.ensureDeferred
async def test_the_reference_has_every_step_and_every_field(ward):
    where = page("reference/check.md")
    rows = where.table("Step", "What is done")
    assert [spans(row["Step"])[0] for row in rows] == list(STEPS)
    CASES["wrong-password"](ward)
    whole = json.loads(document(await ward.check()))
    check = whole["checks"][0]
    failed = next(step for step in check["steps"] if step["trouble"])
    for name, found in (("Field", whole), ("Field of a check", check), ("Field of a step", failed)):
        assert [spans(row[name])[0] for row in where.table(name, "Meaning")] == list(found)
    assert [spans(row["Field of a trouble"])[0] for row in where.table("Field of a trouble", "Meaning")] == list(
        failed["trouble"]
    )


def test_the_reference_has_every_fact():
    """What is written down as a fact anywhere stands in the row of its step."""
    documented = {spans(row["Step"])[0]: spans(row["Facts"]) for row in page("reference/check.md").table("Step")}
    for name, case_facts in FACTS.items():
        assert sorted(documented[name]) == sorted(case_facts), name


TOKEN_FACTS = ["service", "kind", "seconds_left", "audience", "scope", "roles", "issuer", "expires"]
FACTS = {
    "service_token": TOKEN_FACTS,
    "destination": ["source", "service", "host", "port", "tls", "login", "user"],
    "route": ["route"],
    "token": TOKEN_FACTS,
    "name": ["addresses"],
    "connect": ["address", "port"],
    "socks": [],
    "greeting": ["says"],
    "starttls": [],
    "tls": ["version", "cipher", "names", "issuer", "valid_from", "valid_until", "chain"],
    "capabilities": ["offers"],
    "login": ["mechanism", "user"],
    "probe": ["command", "reply"],
    "mail": ["sender", "recipient", "message_id", "reply"],
}


@pytest.mark.parametrize("name", CASES)
@pytest_twisted.ensureDeferred
async def test_no_step_has_a_fact_that_is_not_written_down(ward, name):
    CASES[name](ward)
    command = QUOTED[name].partition("\n")[0].removeprefix("$ ")
    for step in (await ward.check(command)).checks[0].steps:
        assert set(step.facts) <= set(FACTS[step.name])
