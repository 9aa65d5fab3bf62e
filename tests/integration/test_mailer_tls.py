# SPDX-License-Identifier: MIT
"""onboard-mailer and a mail server with TLS, from the start and by STARTTLS: whose certificate is believed,
what is said of one that is not, and that neither login nor mail goes out where TLS is asked for and not had."""
import json
import os
import socket
import subprocess
import tempfile

import mailing
import pytest
import smtp
import tls
from daemon import BUILD, ROOT
from mailing import SECONDS, address, created, dead, mailer, row, state
from pipeline import metric
from wait import wait_until

LOGIN = ("us er", "p@ss:ā")
BOTH = (False, True)  # STARTTLS, from the start


@pytest.fixture(scope="module", autouse=True)
def here(pipe):
    global FOLDER, GOOD, OTHER, OLD, SECRET
    with mailing.place(pipe), tempfile.TemporaryDirectory(prefix="onboard-tls-") as FOLDER:
        GOOD = tls.certificate(FOLDER, "good", "localhost")
        OTHER = tls.certificate(FOLDER, "other", "elsewhere.example")
        OLD = tls.certificate(FOLDER, "old", "localhost", expired=True)
        SECRET = f"{FOLDER}/password"
        with open(SECRET, "w", encoding="utf-8") as secret:
            secret.write(LOGIN[1] + "\n")
        yield


def authorities(name, *pems):
    """A file with these certificates, written as a whole or not at all."""
    path = f"{FOLDER}/{name}"
    with open(f"{path}.new", "w", encoding="utf-8") as out:
        for pem in pems:
            with open(pem, encoding="utf-8") as one:
                out.write(one.read())
    os.replace(f"{path}.new", path)
    return path


def server(pem, implicit=False):
    return smtp.Server(pem and tls.context(pem), LOGIN, implicit)


def settings(of, ca=None, host="localhost", starttls="required"):
    return {"ONBOARD_SMTP_URL": f"smtp{'s' if of.implicit else ''}://us%20er@{host}:{of.port}",
            "ONBOARD_SMTP_PASSWORD_FILE": SECRET, "ONBOARD_LOG_LEVEL": "info", "ONBOARD_SMTP_STARTTLS": starttls} | ({"ONBOARD_SMTP_CA_FILE": ca} if ca else {})


def why(daemon):
    """What /ready says of the mail server."""
    status, ready = daemon.ask_json("/ready")
    return status, json.dumps(ready.get("dependencies", ready).get("smtp", {}))


def said(daemon, *words):
    """It is not ready, and says why in /ready and in the log."""
    wait_until(lambda: (w := why(daemon))[0] == 503 and all(word in w[1] for word in words), SECONDS, f"/ready says {words}")
    wait_until(lambda: any("server away" in line and all(word in line for word in words) for line in daemon.log().splitlines()),
               SECONDS, f"the log says {words}")


def refused(daemon, of, *words, host="localhost"):
    """Nothing was said that others on the way may not hear."""
    said(daemon, f"{host}:{of.port}", *words)
    unheard(of)


def unheard(of):
    with of.lock:
        verbs = {line.split(" ")[0] for line in of.clear}
    assert verbs <= ({"EHLO", "STARTTLS", "QUIT"} if not of.implicit else set()), verbs


def kept(of, one):
    """No mail at any try, none of the event's tries spent, and it is in no dead-letter queue."""
    before = of.connections
    wait_until(lambda: of.connections >= before + 2, SECONDS, "it tries on")
    unheard(of)
    assert not of.mails and of.verbs("AUTH") == 0 and of.verbs("MAIL") == 0, of.seen
    assert (row(one) or ("pending", 0))[:2] == ("pending", 0) and dead() == {}, row(one)


def delivered(of, daemon, one):
    wait_until(lambda: state(one) == "sent", 20, "sent")
    mail, = of.to(address(one))
    assert mail.tls and mail.login == LOGIN[0] and row(one)[1] == 1 and dead() == {}, (mail.tls, mail.login, row(one))
    wait_until(lambda: daemon.ask("/ready")[0] == 200, SECONDS, "ready")
    assert metric(daemon, "onboard_consumer_deliveries_total", outcome="retry") == 0
    unheard(of)


def ended(daemon):
    assert daemon.terminate() == 0
    assert "p@ss" not in daemon.log() and "example.com" not in daemon.log(), daemon.log()[-3000:]


def doctor(env):
    done = subprocess.run([os.path.join(BUILD, "bin/onboardctl"), "doctor", "--json"], stdin=subprocess.DEVNULL, text=True, cwd=ROOT,
                          capture_output=True, timeout=60, check=False, env=os.environ | mailing.PIPE.env | env)
    assert "p@ss" not in done.stdout + done.stderr
    return next(f for f in map(json.loads, done.stdout.splitlines()) if f["subject"] == "smtp")


def test_the_queue_is_there():
    with smtp.Server() as of, mailer(of) as daemon:
        daemon.wait_ready()


def test_mails_and_their_login_go_over_tls():
    named = tls.certificate(FOLDER, "named", "mail.localhost")
    for implicit, pem, ca, more in ((False, GOOD, GOOD, {}),
                                    (False, named, named, {"starttls": "try", "host": "mail.localhost"}),
                                    (False, OLD, None, {"starttls": "try"}),  # on this host, whatever its certificate
                                    (True, GOOD, GOOD, {}),
                                    (True, GOOD, GOOD, {"starttls": "off"})):
        with server(pem, implicit) as of, mailer(**settings(of, ca, **more)) as daemon:
            one = created()
            daemon.wait_ready()
            mailing.PIPE.publish(one)
            delivered(of, daemon, one)
            ended(daemon)


def mended(implicit, pem, ca, mend, *words):
    """Refused from the beginning, with the event waiting; then the certificate is mended, and it goes on by itself."""
    with server(pem, implicit) as of, mailer(**settings(of, ca)) as daemon:
        one = created()
        mailing.PIPE.publish(one)
        refused(daemon, of, *words)
        assert "READY=1" not in daemon.said
        kept(of, one)
        found = doctor(settings(of, ca))
        assert found["state"] == "bad" and all(word in found["text"] for word in words), found
        mend(of)
        delivered(of, daemon, one)
        wait_until(lambda: "READY=1" in daemon.said, SECONDS, "READY=1")
        ended(daemon)


def renewed(of):
    of.tls = tls.context(GOOD)


def test_a_wrong_authority():
    for implicit in BOTH:
        ca = authorities("ca.pem", OTHER)
        mended(implicit, GOOD, ca, lambda _: authorities("ca.pem", OTHER, GOOD), "certificate", "not from an authority of smtp.ca_file")


def test_an_authority_that_the_system_does_not_know():
    for implicit in BOTH:
        with server(GOOD, implicit) as of, mailer(**settings(of)) as daemon:
            refused(daemon, of, "certificate", "not from an authority of the system", "smtp.ca_file")
            ended(daemon)


def test_a_wrong_host_name():
    for implicit in BOTH:
        mended(implicit, OTHER, authorities("ca.pem", OTHER, GOOD), renewed, "certificate", "for another host", "smtp.url")


def test_an_expired_certificate():
    for implicit in BOTH:
        mended(implicit, OLD, authorities("ca.pem", OLD, GOOD), renewed, "certificate", "expired", "renew it")


def test_an_authorities_file_that_is_not_there():
    ca = f"{FOLDER}/later.pem"
    with server(GOOD) as of, mailer(**settings(of, ca)) as daemon:
        one = created()
        mailing.PIPE.publish(one)
        wait_until(lambda: "smtp.ca_file cannot be read" in why(daemon)[1], SECONDS, "it says so")
        kept(of, one)
        authorities("later.pem", GOOD)
        delivered(of, daemon, one)
        ended(daemon)


def test_a_certificate_that_goes_bad_under_a_mailer_at_work():
    ca = authorities("ca.pem", OLD, OTHER, GOOD)
    for implicit in BOTH:
        with server(GOOD, implicit) as of, mailer(**settings(of, ca)) as daemon:
            daemon.wait_ready()
            for pem, words in ((OLD, ("expired", "renew it")), (OTHER, ("for another host", "smtp.url"))):
                before, two = created(), created()
                mailing.PIPE.publish(before)
                delivered(of, daemon, before)
                of.stop()
                of.tls = tls.context(pem)
                of.start()
                with of.lock:
                    of.mails.clear()
                    of.seen.clear()
                mailing.PIPE.publish(two)
                wait_until(lambda: metric(daemon, "onboard_consumer_away") == 1, SECONDS, "away")
                refused(daemon, of, *words)
                kept(of, two)
                renewed(of)
                delivered(of, daemon, two)
            ended(daemon)


def test_a_server_without_starttls_gets_neither_login_nor_mail():
    named = tls.certificate(FOLDER, "named", "mail.localhost")
    numbered = tls.certificate(FOLDER, "numbered", "127.localhost")
    for pem, more, words in ((GOOD, {}, ("offers no STARTTLS", "smtp.starttls = required", "smtps://")),
                             (named, {"starttls": "try", "host": "mail.localhost"}, ("offers no STARTTLS", "login", "smtps://")),
                             (numbered, {"starttls": "try", "host": "127.localhost"}, ("offers no STARTTLS", "login"))):
        with server(None) as of, mailer(**settings(of, pem, **more)) as daemon:
            one = created()
            mailing.PIPE.publish(one)
            refused(daemon, of, *words, host=more.get("host", "localhost"))
            kept(of, one)
            of.tls = tls.context(pem)
            delivered(of, daemon, one)
            ended(daemon)


def test_a_server_that_refuses_starttls_gets_neither_login_nor_mail():
    with server(GOOD) as of, mailer(**settings(of, GOOD)) as daemon:
        of.rules = lambda verb, line: "454 4.7.0 no TLS now" if verb == "STARTTLS" else None
        one = created()
        mailing.PIPE.publish(one)
        refused(daemon, of, "answered STARTTLS with 454")
        kept(of, one)
        of.rules = lambda verb, line: None
        delivered(of, daemon, one)
        ended(daemon)


def test_smtps_to_a_server_that_begins_in_the_clear():
    with server(None) as of:
        env = settings(of, GOOD)
        env["ONBOARD_SMTP_URL"] = env["ONBOARD_SMTP_URL"].replace("smtp:", "smtps:")
        with mailer(**env) as daemon:
            said(daemon, f"localhost:{of.port}", "speaks no TLS from the start", "smtp://", "smtp.starttls")
            assert not any(word in line for line in of.seen for word in ("EHLO", "AUTH", "MAIL"))
            ended(daemon)


def test_a_server_that_falls_silent_over_tls_is_away_in_time():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"smtps://localhost:{silent.getsockname()[1]}"
        with mailer(ONBOARD_SMTP_URL=url, ONBOARD_SMTP_CA_FILE=GOOD) as daemon:
            wait_until(lambda: "no answer in time" in why(daemon)[1], SECONDS, "it says so")
            ended(daemon)
    with server(GOOD) as of, mailer(**settings(of, GOOD)) as daemon:
        of.rules = lambda verb, line: "hang" if verb == "STARTTLS" else None
        one = created()
        mailing.PIPE.publish(one)
        wait_until(lambda: "no answer in time" in why(daemon)[1], SECONDS, "it says so")
        kept(of, one)
        of.stop()
        of.rules = lambda verb, line: None
        of.start()
        delivered(of, daemon, one)
        ended(daemon)


def test_a_login_that_is_wrong_is_nobodys_fault_but_ours():
    for pem in (GOOD, None):
        with smtp.Server(pem and tls.context(pem), (LOGIN[0], "another")) as of, \
                mailer(**settings(of, GOOD, starttls="required" if pem else "off")) as daemon:
            one = created()
            mailing.PIPE.publish(one)
            wait_until(lambda: "the login was refused (535)" in why(daemon)[1], SECONDS, "it says so")
            assert of.verbs("MAIL") == 0 and (row(one) or ("pending", 0))[:2] == ("pending", 0) and dead() == {}
            of.login = LOGIN
            wait_until(lambda: state(one) == "sent", 20, "sent")
            assert of.mails[0].tls == bool(pem) and of.mails[0].login == LOGIN[0]
            ended(daemon)
