# SPDX-License-Identifier: MIT
"""onboardctl without a server: usage, configuration and their exit codes."""
import os
import subprocess
import tempfile

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

CTL = os.path.join(ROOT, os.environ.get("ONBOARD_BUILD", "build/debug"), "bin/onboardctl")


def ctl(*words, env=None):
    return subprocess.run([CTL, *words], text=True, timeout=30, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | (env or {}))


def check(done, code, *texts):
    assert done.returncode == code, f"exit {done.returncode}, want {code}: {done.stdout}{done.stderr}"
    for text in texts:
        assert text in done.stdout + done.stderr, f"no {text!r} in: {done.stdout}{done.stderr}"


def refused(text, *wanted):
    """A configuration file with this text: one line that names file and line, exit 78."""
    with tempfile.NamedTemporaryFile("wb", suffix=".conf") as f:
        f.write(text.encode() if isinstance(text, str) else text)
        f.flush()
        done = ctl("--config", f.name, "--print-config")
        check(done, 78, f.name, *wanted)
        assert len(done.stderr.splitlines()) == 1 and not done.stdout, done.stderr + done.stdout


def test_help_and_version():
    check(ctl("--help"), 0, "Usage: onboardctl", "Exit status")
    check(ctl("--version"), 0, "onboardctl " + open(f"{ROOT}/VERSION").read().strip())
    check(ctl("db", "--help"), 0, "Usage: onboardctl db", "onboardctl db migrate up")


def test_usage_errors_are_2():
    check(ctl(), 2, "Usage: onboardctl")
    check(ctl("explode"), 2, 'no verb "explode"')
    check(ctl("--frobnicate"), 2, "frobnicate")
    check(ctl("--set", "nonsense", "db"), 2, "SECTION.KEY=VALUE")


def test_every_verb_has_help_with_an_example_and_refuses_what_it_does_not_know():
    verbs = [line.split()[0] for line in ctl("--help").stdout.splitlines() if line.startswith("  ") and line[2].isalpha()]
    assert {"db", "doctor", "pause", "queues", "rebuild", "resume", "top", "topology", "trace"} <= set(verbs), verbs
    for verb in verbs:
        check(ctl(verb, "--help"), 0, f"Usage: onboardctl {verb}", f"onboardctl {verb}")
        check(ctl(verb, "--frobnicate"), 2, f"onboardctl {verb}: ")
    check(ctl("pause"), 2, "pause CONSUMER")
    check(ctl("pause", "nobody"), 2, "nobody", "eventlog")
    check(ctl("resume", "cache", "mailer"), 2, "mailer")
    check(ctl("pause", "cache", "--why"), 2, "--why")
    check(ctl("pause", "cache", "--why", "x" * 501), 2, "500")
    check(ctl("queues", "nobody"), 2, "nobody", "eventlog")
    check(ctl("queues", "--rounds", "0"), 2, "--rounds")
    check(ctl("trace"), 2, "EVENT_ID")
    check(ctl("trace", "12"), 2, "UUID")
    check(ctl("trace", "--user", "-1"), 2, "--user")
    check(ctl("rebuild", "cache", "--from", "x"), 2, "--from")
    check(ctl("rebuild", "events", "--from", "2026-11-20"), 2, "--from")
    check(ctl("rebuild", "cache", "--rate", "fast"), 2, "--rate")
    check(ctl("topology", "mend", "--what"), 2, "--what")
    nowhere = {"ONBOARD_RABBITMQ_URL": "amqp://127.0.0.1:1", "ONBOARD_POSTGRES_URL": "postgresql://127.0.0.1:1"}
    for words in (("queues",), ("pause", "cache"), ("resume", "cache"), ("topology", "mend"), ("rebuild", "events"),
                  ("top", "--once")):
        check(ctl(*words, env=nowhere), 69)


def test_bad_configuration_is_one_line_and_78():
    refused("[log]\nlevle = debug\n", ":2:", "levle")
    refused("[topology]\ncheck_every = soon\n", ":2:", "duration")
    refused("[topology]\ncheck_every = 1ms\n", ":2:", "1s")
    refused("[postgres]\nurl = http://x\n", ":2:", "postgresql://")
    refused("nonsense\n", ":1:")
    refused(b"\xff\xfe\n", ":1:")


def test_a_file_that_cannot_be_read_is_78():
    done = ctl("--config", "/nonexistent/onboard.conf", "--print-config")
    check(done, 78, "/nonexistent/onboard.conf", "No such file")
    with tempfile.TemporaryDirectory() as folder:
        check(ctl("--config", folder, "--print-config"), 78, folder)
    check(ctl("--print-config", env={"ONBOARD_LOG_LEVEL": "loud"}), 78, "ONBOARD_LOG_LEVEL", "loud")


def test_print_config_hides_secrets_and_names_origins():
    done = ctl("--set", "log.level=warn", "--print-config",
               env={"ONBOARD_POSTGRES_URL": "postgresql://o:hunter2hunter2@h:1/d", "ONBOARD_ADMIN_TOKEN": "hunter2"})
    check(done, 0, "level = warn", "# flag", "# environment ONBOARD_POSTGRES_URL", "# default", "postgresql://o:***@h:1/d")
    assert "hunter2" not in done.stdout + done.stderr, done.stdout


NOWHERE = {"ONBOARD_RABBITMQ_URL": "amqp://127.0.0.1:1", "ONBOARD_POSTGRES_URL": "postgresql://127.0.0.1:1",
           "ONBOARD_MONGO_URL": "mongodb://127.0.0.1:1/x", "ONBOARD_REDIS_URL": "redis://127.0.0.1:1/0"}
# doctor writes line by line, the others all at once; help and manuals leave early
WRITERS = [["doctor"], ["--print-config"], ["--help"], ["top", "--help"], ["--describe", "verbs"]]


@pytest.mark.parametrize("words", WRITERS, ids=" ".join)
def test_a_full_disk_is_not_success(words):
    with open("/dev/full", "w") as full:
        done = subprocess.run([CTL, *words], stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, text=True,
                              timeout=60, env=os.environ | NOWHERE)
    done.stdout = ""
    check(done, 1, "cannot write to standard output: No space left on device")


@pytest.mark.parametrize("words", WRITERS, ids=" ".join)
def test_a_reader_that_has_gone_is_no_fault(words):
    """`onboardctl doctor | head -1`: the exit code is that of the work, and nothing is said."""
    whole = ctl(*words, env=NOWHERE)
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run([CTL, *words], stdin=subprocess.DEVNULL, stdout=writes, stderr=subprocess.PIPE, text=True,
                          timeout=60, env=os.environ | NOWHERE)
    os.close(writes)
    assert (done.returncode, done.stderr) == (whole.returncode, whole.stderr)
