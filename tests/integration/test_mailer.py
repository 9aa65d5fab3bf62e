# SPDX-License-Identifier: MIT
"""onboard-mailer on real servers: one mail for each user, its bytes, and what it does when the mail
server refuses, dawdles, breaks off or is away. TLS and login: test_mailer_tls.py."""
import email
import email.policy
import email.utils
import glob
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import uuid

import mailing
import pytest
import smtp
from daemon import BUILD, ROOT
from mailing import QUEUE, SECONDS, acked, address, created, dead, ended, mailer, numbers, row, rows, state
from pipeline import metric, user_event
from wait import wait_until


@pytest.fixture(scope="module", autouse=True)
def here(pipe):
    with mailing.place(pipe):
        yield


def ctl(*words, **env):
    said = subprocess.run([os.path.join(BUILD, "bin/onboardctl"), *words], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=60, check=False, env=os.environ | mailing.PIPE.env | env, cwd=ROOT)
    return said.returncode, said.stdout, said.stderr


# ---- what is in a mail ----

def test_a_mail_in_the_sink():
    folder = os.environ["ONBOARD_MAIL_DIR"]
    before = set(glob.glob(f"{folder}/*.eml"))
    one = created("Anna.K", name="Jānis <script>alert(1)</script> \"Ł\"\r\nBcc: evil@example.com", country="LV", city="Riga")
    with mailer() as daemon:
        daemon.wait_ready()
        mailing.PIPE.publish(one)
        wait_until(lambda: state(one) == "sent", SECONDS, "sent")
        acked(daemon, 1)
        ended(daemon)
    path, = set(glob.glob(f"{folder}/*.eml")) - before
    with open(path, "rb") as f:
        raw = f.read()
    assert all(len(line) <= 998 for line in raw.split(b"\r\n")) and raw.count(b"\n") == raw.count(b"\r\n") and raw.isascii()
    m = email.message_from_bytes(raw, policy=email.policy.default)
    assert m["X-Envelope-From"] == "<no-reply@onboard.invalid>" and m["X-Envelope-To"] == "<anna.k@example.com>"
    assert m["Bcc"] is None and not m.defects, m.items()
    assert m["From"].addresses[0].display_name == "Onboard" and m["From"].addresses[0].addr_spec == "no-reply@onboard.invalid"
    assert [a.addr_spec for a in m["To"].addresses] == ["anna.k@example.com"], m["To"]
    assert m["To"].addresses[0].display_name.startswith("Jānis <script>"), m["To"]
    assert m["Subject"].startswith("Welcome, Jānis <script>alert(1)</script> \"Ł\"") and "\n" not in m["Subject"], m["Subject"]
    assert m["Message-ID"] == f"<welcome.{one['payload']['user_id']}.{one['id']}@onboard.invalid>"
    assert row(one)[4] == m["Message-ID"][1:-1]
    assert abs(email.utils.parsedate_to_datetime(m["Date"]).timestamp() - time.time()) < 60
    assert m["MIME-Version"] == "1.0" and m.get_content_type() == "multipart/alternative"
    assert m["List-Unsubscribe"] == "<mailto:no-reply@onboard.invalid?subject=unsubscribe>" and m["List-Unsubscribe-Post"] is None
    text, html = m.get_payload()
    assert (text.get_content_type(), html.get_content_type()) == ("text/plain", "text/html")
    assert {p.get_content_charset() for p in (text, html)} == {"utf-8"}
    assert "Jānis <script>" in text.get_content() and "Anna.K" in text.get_content()
    assert "<script>" not in html.get_content() and "Jānis &lt;script&gt;alert(1)&lt;/script&gt; &quot;Ł&quot;" in html.get_content()


def test_own_templates_sender_and_one_click():
    with tempfile.TemporaryDirectory(prefix="onboard-test-") as folder, smtp.Server() as server:
        for name, text in (("subject", "Laipni lūdzam, {{ name }}!\n"), ("txt", "..\n.{{username}}\n" + "ā" * 2000 + "\nend "),
                           ("html", "<a href='{{unsubscribe}}'>{{country}}{{city}}</a>")):
            with open(f"{folder}/welcome.{name}", "w", encoding="utf-8") as f:
                f.write(text)
        one = created()
        with mailer(server, ONBOARD_MAIL_TEMPLATES=folder, ONBOARD_MAIL_FROM="Post@Bücher.example", ONBOARD_MAIL_NAME="Bücher, \"GmbH\"",
                    ONBOARD_MAIL_UNSUBSCRIBE="https://u.example/u?id={{user_id}}&x=1") as daemon:
            daemon.wait_ready()
            mailing.PIPE.publish(one)
            wait_until(lambda: server.to(address(one)), SECONDS, "a mail")
            mail, = server.to(address(one))
            m, user = mail.message, one["payload"]["user_id"]
            assert mail.sender == "post@xn--bcher-kva.example", mail.sender
            assert m["From"].addresses[0].display_name == "Bücher, \"GmbH\"", m["From"]
            assert m["Subject"] == f"Laipni lūdzam, {one['payload']['username']}!"
            assert m["List-Unsubscribe"] == f"<https://u.example/u?id={user}&x=1>"
            assert m["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
            text, html = m.get_payload()
            assert text.get_content().replace("\r", "") == f"..\n.{one['payload']['username']}\n" + "ā" * 2000 + "\nend ", text.get_content()
            assert f"'https://u.example/u?id={user}&amp;x=1'" in html.get_content()
            # SIGHUP: a template that is wrong changes nothing, a right one is taken
            with open(f"{folder}/welcome.subject", "w", encoding="utf-8") as f:
                f.write("{{nobody}}\n")
            daemon.process.send_signal(signal.SIGHUP)
            wait_until(lambda: "nobody" in daemon.log(), SECONDS, "it says so")
            two, three = created(), created()
            mailing.PIPE.publish(two)
            wait_until(lambda: server.to(address(two)), SECONDS, "a mail")
            assert server.to(address(two))[0].message["Subject"].startswith("Laipni")
            with open(f"{folder}/welcome.subject", "w", encoding="utf-8") as f:
                f.write("Now {{username}}\n")
            daemon.process.send_signal(signal.SIGHUP)
            wait_until(lambda: '"configuration reloaded"' in daemon.log(), SECONDS, "reloaded")
            mailing.PIPE.publish(three)
            wait_until(lambda: server.to(address(three)), SECONDS, "a mail")
            assert server.to(address(three))[0].message["Subject"] == f"Now {three['payload']['username']}"
            ended(daemon)


def test_a_mailer_that_is_not_installed_has_its_templates():
    """A copy of the program alone, far from config/templates and from any share/onboard."""
    if os.path.exists("/etc/onboard/templates"):
        pytest.skip("/etc/onboard/templates exists here")
    with tempfile.TemporaryDirectory(prefix="onboard-test-") as folder:
        shutil.copy(os.path.join(BUILD, "bin/onboard-mailer"), folder)
        got = subprocess.run([f"{folder}/onboard-mailer", "--check-config"], stdin=subprocess.DEVNULL, capture_output=True,
                             text=True, timeout=20, check=False, env=os.environ | mailing.PIPE.env, cwd=folder)
        assert got.returncode == 0, got


def test_a_reload_in_the_middle_of_a_batch():
    """Its other mails are written as before: freed memory is overwritten here."""
    warm, one, two = created(), created(), created()
    go = {address(warm): threading.Event(), address(one): threading.Event()}

    def hold(verb, line):
        for who, event in go.items():
            if verb == "RCPT" and who in line:
                event.wait(4.5)  # smtp.timeout is 5 s

    with smtp.Server() as server, mailer(server, ONBOARD_MAIL_UNSUBSCRIBE="https://u.example/?id={{user_id}}",
                                         MALLOC_PERTURB_="165") as daemon:
        daemon.wait_ready()
        server.rules = hold
        mailing.PIPE.publish(warm, one, two)
        # while the first mail waits for its answer, the other two become one batch
        wait_until(lambda: metric(daemon, "onboard_consumer_held") == 3, SECONDS, "all three are held")
        go[address(warm)].set()
        wait_until(lambda: any(address(one) in line for line in server.seen), SECONDS, "the first of the two is under way")
        daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda: '"configuration reloaded"' in daemon.log(), SECONDS, "reloaded")
        go[address(one)].set()
        acked(daemon, 3)
        mail, = server.to(address(two))
        assert mail.message["List-Unsubscribe"] == f"<https://u.example/?id={two['payload']['user_id']}>", mail.data[:600]
        ended(daemon)


def test_templates_and_senders_that_are_wrong_are_configuration_errors():
    with tempfile.TemporaryDirectory(prefix="onboard-test-") as folder:
        def said(**env):
            out = set()
            for more in ([], ["--check-config"]):
                got = subprocess.run([os.path.join(BUILD, "bin/onboard-mailer"), *more], stdin=subprocess.DEVNULL,
                                     capture_output=True, text=True, timeout=20, check=False,
                                     env=os.environ | mailing.PIPE.env | {"ONBOARD_MAIL_TEMPLATES": folder} | env)
                lines = [line for line in got.stderr.splitlines() if "mongoc" not in line]  # it may warn when it is loaded
                assert got.returncode == 78 and len(lines) == 1 and not got.stdout, (got.returncode, got.stdout, got.stderr)
                out |= set(lines)
            line, = out
            return line
        assert f"{folder}/welcome.subject" in said()
        for name in ("subject", "txt", "html"):
            shutil.copy(f"{ROOT}/config/templates/welcome.{name}", folder)
        for key, value, word in (("FROM", "x", "mail.from"), ("FROM", "a@b.lv\rX: y", "mail.from"), ("UNSUBSCRIBE", "ftp://x", "mail.unsubscribe"),
                                 ("UNSUBSCRIBE", "https://x/{{name}}", "mail.unsubscribe")):
            assert word in said(**{f"ONBOARD_MAIL_{key}": value})
        for text, word in (("a\n{{nme}}\n", "welcome.txt: line 2: no placeholder is called \"nme\""), ("{{name\n}}", "without"), ("\x01", "control")):
            with open(f"{folder}/welcome.txt", "w", encoding="utf-8") as f:
                f.write(text)
            assert word in said(), (text, said())
        os.unlink(f"{folder}/welcome.txt")
        os.mkdir(f"{folder}/welcome.txt")
        assert "a directory" in said()


# ---- one mail for each ----

def test_twenty_copies_are_one_mail_and_two_mailers_send_one():
    with smtp.Server() as server, mailer(server) as first, mailer(server) as second:
        first.wait_ready()
        second.wait_ready()
        one = created()
        mailing.PIPE.publish(one, times=20)
        many = [created() for _ in range(100)]
        again = [dict(e, id=str(uuid.uuid4())) for e in many]  # another event of the same user
        threads = [threading.Thread(target=mailing.PIPE.publish, args=part) for part in (many, again, many)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        wait_until(lambda: sum(metric(d, "onboard_consumer_deliveries_total", outcome="done") for d in (first, second)) == 320,
                   30, "all settled")
        for e in [one, *many]:
            assert len(server.to(address(e))) == 1 and state(e) == "sent", (len(server.to(address(e))), row(e))
        shares = [metric(d, "onboard_mails_total", result="sent") for d in (first, second)]
        assert sum(shares) == 101 and min(shares) > 0, shares
        assert server.connections <= 6, server.connections  # kept from mail to mail
        ended(first)
        ended(second)
    assert mailing.PIPE.depth("user.dlq") == 0


def test_test_events_are_rendered_and_not_sent():
    with smtp.Server() as server, mailer(server) as daemon:
        daemon.wait_ready()
        one = created()
        mailing.PIPE.publish(one, headers={"x-test": 1})
        wait_until(lambda: metric(daemon, "onboard_mails_total", result="test") == 1, SECONDS, "rendered")
        assert not server.mails and state(one) is None
        mailing.PIPE.publish(one)  # the user is none the worse for it
        wait_until(lambda: state(one) == "sent", SECONDS, "sent")
        ended(daemon)


def test_addresses_that_are_none_are_rejected():
    bad = ["a@b.lv\r\nRCPT TO:<evil@example.org>", "\"a b\"@example.org", "jānis@example.org", "<a@example.org>", "a@example.org\n", "a b@example.org"]
    events = [created(email=a) for a in bad]
    good = created(email="O'Brien+x@Exämple.org")
    with smtp.Server() as server, mailer(server) as daemon:
        daemon.wait_ready()
        mailing.PIPE.publish(*events, good)
        acked(daemon, len(events) + 1)
        got = dead()
        assert set(got) == {e["id"] for e in events} and {k for k, _ in got.values()} == {"permanent"}, got
        assert all("email" in why for _, why in got.values()), got
        assert [m.to for m in server.mails] == ["o'brien+x@xn--exmple-cua.org"], [m.to for m in server.mails]
        assert daemon.terminate() == 0
        assert "example.org" not in daemon.log() and "evil" not in daemon.log()


def test_a_user_who_has_gone_gets_no_mail():
    user = next(numbers)
    gone = user_event("created", user)
    gone["id"] = rows("SELECT '018f0000-0000-7000-8000-00000000' || lpad(%s::text, 4, '0')", os.getpid() % 10000)[0][0]
    rows("INSERT INTO outbox (day, event_id, type, user_id, body) VALUES ('2024-04-21', %s, 'user.created', %s, '{}')", gone["id"], user)
    day = rows("SELECT to_char(to_timestamp(x'018f00000000'::bigint / 1000.0) AT TIME ZONE 'UTC', 'YYYY-MM-DD')")[0][0]
    rows("UPDATE outbox SET day = %s WHERE event_id = %s", day, gone["id"])
    with smtp.Server() as server, mailer(server) as daemon:
        daemon.wait_ready()
        mailing.PIPE.publish(gone)
        wait_until(lambda: metric(daemon, "onboard_mails_total", result="gone") == 1, SECONDS, "left out")
        assert not server.mails and state(gone) is None
        ended(daemon)


# ---- a server that answers badly ----

def test_4xx_is_tried_again_and_then_fails():
    with smtp.Server() as server, mailer(server) as daemon:
        daemon.wait_ready()
        once, never = created(), created()
        tries = []
        server.rules = lambda verb, line: (tries.append(line) or "451 4.3.0 <x@example.com> later") if verb == "RCPT" and (
            address(never) in line or (address(once) in line and not any(address(once) in t for t in tries))) else None
        mailing.PIPE.publish(once, never)
        wait_until(lambda: state(once) == "sent", SECONDS, "sent at the second try")
        assert row(once)[1] == 2 and len(server.to(address(once))) == 1, row(once)
        assert server.to(address(once))[0].message["Message-ID"] == f"<{row(once)[4]}>"
        wait_until(lambda: mailing.PIPE.depth("user.dlq") == 1, 20, "in the DLQ")
        assert row(never)[:4] == ("failed", 4, 451, "the server answered 451 4.3.0 to the recipient"), row(never)
        assert dead() == {never["id"]: ("exhausted", "the server answered 451 4.3.0 to the recipient")}
        assert sum(address(never) in t for t in tries) == 4
        # handed in anew, as by a replay: the first try's Message-ID
        was = row(never)[4]
        server.rules = lambda verb, line: None
        mailing.PIPE.publish(never)
        wait_until(lambda: state(never) == "sent", SECONDS, "sent after all")
        assert server.to(address(never))[0].message["Message-ID"] == f"<{was}>"
        ended(daemon)


def test_5xx_is_not_tried_again():
    with smtp.Server() as server, mailer(server) as daemon:
        daemon.wait_ready()
        for verb, about in (("MAIL", "sender"), ("RCPT", "recipient"), ("DATA", "data"), ("BODY", "mail")):
            one = created()
            server.answers[verb] = ["554 5.7.1 go away <x@example.com>"]
            mailing.PIPE.publish(one)
            wait_until(lambda: mailing.PIPE.depth("user.dlq") == 1, SECONDS, "in the DLQ")
            assert dead() == {one["id"]: ("permanent", f"the server answered 554 5.7.1 to the {about}")}
            assert row(one)[:3] == ("failed", 1, 554) and not server.to(address(one)), row(one)
        two = created()
        mailing.PIPE.publish(two)
        wait_until(lambda: state(two) == "sent", SECONDS, "the next one")
        ended(daemon)


def test_no_answer_after_all_was_sent_is_unknown():
    with smtp.Server() as server, mailer(server, ONBOARD_SMTP_TIMEOUT="1s") as daemon:
        daemon.wait_ready()
        for how in ("close", "hang"):
            one = created()
            server.answers["BODY"] = [how]
            mailing.PIPE.publish(one, times=3)
            wait_until(lambda: state(one) == "unknown", SECONDS, "unknown")
            mailing.PIPE.publish(one)
            wait_until(lambda: mailing.PIPE.depth(QUEUE) == 0 and metric(daemon, "onboard_consumer_held") == 0, SECONDS, "all settled")
            assert len(server.to(address(one))) == 1 and state(one) == "unknown"
        wait_until(lambda: daemon.ask("/ready")[0] == 200, SECONDS, "goes on")
        assert "may have arrived" in daemon.log() and dead() == {}
        ended(daemon)


def test_broken_off_before_all_was_sent_is_sent_once():
    with smtp.Server() as server, mailer(server, ONBOARD_SMTP_TIMEOUT="1s") as daemon:
        daemon.wait_ready()
        for verb, how in (("MAIL", "close"), ("MAIL", "hang"), ("RCPT", "close"), ("RCPT", "hang"), ("DATA", "close"), ("EHLO", "421 4.3.2 not now")):
            one = created()
            server.stop()
            server.start()
            server.answers[verb] = [how]
            mailing.PIPE.publish(one)
            wait_until(lambda: state(one) == "sent", SECONDS, f"sent after {how} at {verb}")
            assert len(server.to(address(one))) == 1
        server.answers["LINE"] = ["close"]  # in the middle of its data
        one = created()
        mailing.PIPE.publish(one)
        wait_until(lambda: state(one) in ("sent", "unknown"), SECONDS, "settled")
        assert len(server.to(address(one))) == (state(one) == "sent")
        assert dead() == {}
        ended(daemon)


def test_a_server_that_is_away_costs_no_retry():
    server = smtp.Server()
    server.stop()
    one = created()
    with mailer(server, ONBOARD_RABBITMQ_HEARTBEAT="1s") as daemon:
        wait_until(lambda: '"smtp"' in daemon.log(), SECONDS, "it says so")
        mailing.PIPE.publish(one)
        assert "READY=1" not in daemon.said
        server.start()
        wait_until(lambda: state(one) == "sent", 15, "sent")
        server.stop()
        two = created()
        mailing.PIPE.publish(two)
        wait_until(lambda: metric(daemon, "onboard_consumer_away") == 1, SECONDS, "away")
        daemon.wait_status("/ready", 503, SECONDS)
        status, health = daemon.ask_json("/health")
        assert status == 200 and "smtp" in json.dumps(health), health
        server.start()
        wait_until(lambda: state(two) == "sent", 15, "sent")
        assert row(two)[1] == 1 and dead() == {}, row(two)
        assert metric(daemon, "onboard_consumer_deliveries_total", outcome="retry") == 0
        # one that takes connections and says nothing
        server.stop()
        server.rules = lambda verb, line: "hang" if verb == "GREETING" else None
        server.start()
        three = created()
        mailing.PIPE.publish(three)
        wait_until(lambda: metric(daemon, "onboard_consumer_away") == 1, SECONDS, "away")
        server.rules = lambda verb, line: None
        wait_until(lambda: state(three) == "sent", 20, "sent")
        ended(daemon)
    server.stop()


# ---- the operator ----

def test_mail_list_resend_settle_and_doctor():
    with smtp.Server() as server, mailer(server) as daemon:
        daemon.wait_ready()
        user = rows("INSERT INTO users (username, email, name) VALUES ('Zoe-1', 'zoe@example.com', 'Zoë') RETURNING id")[0][0]
        foreign, refused = created(), created()
        own = user_event("created", user, "Zoe-1", email="zoe@example.com")
        server.answers["BODY"] = ["close"]
        mailing.PIPE.publish(own)
        wait_until(lambda: state(own) == "unknown", SECONDS, "unknown")
        wait_until(lambda: daemon.ask("/ready")[0] == 200, SECONDS, "goes on")
        server.answers["BODY"] = ["close"]
        mailing.PIPE.publish(foreign)
        wait_until(lambda: state(foreign) == "unknown", SECONDS, "unknown")
        wait_until(lambda: daemon.ask("/ready")[0] == 200, SECONDS, "goes on")
        server.answers["RCPT"] = ["550 5.1.1 no"]
        mailing.PIPE.publish(refused)
        wait_until(lambda: state(refused) == "failed", SECONDS, "failed")
        dead()
        code, out, _ = ctl("mail", "list", "--state", "unknown", "--json")
        got = {r["user_id"]: r for r in map(json.loads, out.splitlines())}
        assert code == 0 and {own["payload"]["user_id"], foreign["payload"]["user_id"]} <= set(got), out
        r = got[user]
        assert r["id"] == f"{user}:welcome" and r["event_id"] == own["id"] and r["attempts"] == 1 and r["smtp_code"] == 354, r
        code, out, _ = ctl("mail", "list")
        assert code == 0 and f"{user}:welcome" in out and "550" in out and "example.com" not in out, out
        found = [json.loads(line) for line in ctl("doctor", "--json", ONBOARD_SMTP_URL=server.url)[1].splitlines()]
        said = {f["subject"]: f for f in found}
        assert said["smtp"]["state"] == "ok" and said["mails"]["state"] == "warn" and "mail list" in said["mails"]["fix"], found
        # sent again: a person has said so
        assert ctl("mail", "resend", r["id"])[0] == 0
        wait_until(lambda: state(own) == "sent", SECONDS, "sent")
        first, second = server.to("zoe@example.com")
        assert first.message["Message-ID"] == second.message["Message-ID"] and "Zoë" in second.message["Subject"]
        code, _, err = ctl("mail", "resend", f"{foreign['payload']['user_id']}")
        assert code == 1 and "publish its user.created again" in err, err
        mailing.PIPE.publish(foreign)
        wait_until(lambda: state(foreign) == "sent", SECONDS, "sent")
        assert ctl("mail", "settle", f"{refused['payload']['user_id']}:welcome", "sent")[0] == 0 and state(refused) == "sent"
        assert ctl("mail", "resend", f"{user}")[0] == 1  # it was sent
        assert ctl("mail", "settle", "77:welcome", "sent")[0] == 3 and ctl("mail", "settle", "77:welcome", "lost")[0] == 2
        assert ctl("mail", "resend", "x")[0] == 2 and ctl("mail", "list", "--state", "x")[0] == 2 and ctl("mail")[0] == 2
        assert ctl("mail", "list", "--state", "pending")[0] == 3
        ended(daemon)
    code, out, _ = ctl("doctor", ONBOARD_SMTP_URL=server.url)
    assert code == 69 and "smtp.url" in out, out


# ---- killed, ended, at once ----

def test_killed_between_answer_and_log_is_unknown():
    one, two = created(), created()
    with smtp.Server() as server:
        with mailer(server, ONBOARD_FAULTS="mailer_answered=kill@1") as daemon:
            daemon.wait_ready()
            mailing.PIPE.publish(one)
            assert daemon.process.wait(SECONDS) == -signal.SIGKILL
        assert len(server.to(address(one))) == 1 and state(one) == "sending"
        with mailer(server) as daemon:
            daemon.wait_ready()
            wait_until(lambda: state(one) == "unknown", SECONDS, "unknown")
            acked(daemon, 1)
            mailing.PIPE.publish(one, two)
            wait_until(lambda: state(two) == "sent", SECONDS, "goes on")
            acked(daemon, 3)
            assert len(server.to(address(one))) == 1 and state(one) == "unknown" and dead() == {}
            ended(daemon)


def test_an_answer_that_the_log_missed_is_kept():
    with smtp.Server() as server, mailer(server, ONBOARD_FAULTS="mailer_answered=fail@1") as daemon:
        daemon.wait_ready()
        one = created()
        mailing.PIPE.publish(one)
        wait_until(lambda: state(one) == "sent", SECONDS, "sent")
        acked(daemon, 1)
        assert len(server.to(address(one))) == 1
        ended(daemon)


def test_another_mailer_in_the_middle_of_it_is_waited_for():
    """A copy that another mailer gets while the first waits for the answer is neither unknown nor sent."""
    with smtp.Server() as server, mailer(server) as first, mailer(server) as second:
        first.wait_ready()
        second.wait_ready()
        server.delay_s = 1.5
        one = created()
        mailing.PIPE.publish(one, times=8)
        seen = set()
        wait_until(lambda: seen.add(state(one)) or sum(metric(d, "onboard_consumer_deliveries_total", outcome="done") for d in (first, second)) == 8,
                   20, "all settled")
        assert len(server.to(address(one))) == 1 and state(one) == "sent" and "unknown" not in seen, seen
        server.delay_s = 0
        ended(first)
        ended(second)


def test_the_rate():
    with smtp.Server() as server, mailer(server, ONBOARD_MAIL_RATE="5") as daemon:
        daemon.wait_ready()
        began = time.monotonic()
        many = [created() for _ in range(20)]
        mailing.PIPE.publish(*many)
        wait_until(lambda: len(server.mails) == 20, 20, "20 mails")
        assert time.monotonic() - began > 2.5, "20 mails, of which 5 may go at once"
        mailing.PIPE.publish(*[created() for _ in range(60)])
        wait_until(lambda: len(server.mails) > 22, SECONDS, "it works")
        assert daemon.terminate() == 0
    mailing.PIPE.purge()
    assert not rows("SELECT 1 FROM mail_log WHERE state = 'sending'")


def test_a_table_that_has_grown_is_not_read_whole():
    """PostgreSQL keeps a plan after five runs, also one of when there were no users, and no statistics come to tell it."""
    first, many = 1000000, 50000
    rows("ALTER TABLE users SET (autovacuum_enabled = off)")
    with smtp.Server() as server, mailer(server, ONBOARD_MAIL_RATE="100") as daemon:  # so that they are claimed in groups
        daemon.wait_ready()
        mailing.PIPE.publish(*(created() for _ in range(100)))
        wait_until(lambda: len(server.mails) == 100, SECONDS, "100 mails")
        rows("INSERT INTO users (id, username, email) SELECT n, 'grown' || n, n || '@grown.example' FROM generate_series(%s, %s) n",
             first, first + many - 1)
        mailing.PIPE.publish(*(created() for _ in range(50)))
        wait_until(lambda: len(server.mails) == 150, SECONDS, "150 mails")
        acked(daemon, 150)
        ended(daemon)  # and with it its connection, which then hands in what it counted
    read, = rows("SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'users'")[0]
    rows("DELETE FROM users WHERE id >= %s", first)
    rows("ALTER TABLE users RESET (autovacuum_enabled)")
    assert read < many, f"{read} rows read one after the other"
