# SPDX-License-Identifier: MIT
"""The benchmark's own arithmetic: wrk's report, medians, ratios, the table, a limit program's line."""
import json
import os
import subprocess
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import servers
from lib import limits, procs, table, wrk

REPORT = """\
Running 10s test @ http://127.0.0.1:8000
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     3.92ms    1.20ms  31.02ms   91.44%
    Req/Sec    14.11k     1.33k   16.51k    78.00%
  Latency Distribution
     50%  402.00us
     75%    4.21ms
     90%    1.20s 
     99%    1.50m
  140512 requests in 10.01s, 31.22MB read
Requests/sec:  14037.16
Transfer/sec:      3.12MB
"""
TROUBLE = REPORT.replace("Requests/sec", """\
  Socket errors: connect 0, read 3, write 0, timeout 17
  Non-2xx or 3xx responses: 512
Requests/sec""")


def near(a, b):
    return abs(a - b) < 1e-9 * max(abs(a), abs(b), 1)


def test_a_report_of_wrk_becomes_figures():
    r = wrk.Report(REPORT)
    assert (r.requests, r.bad, r.good) == (140512, 0, 140512)
    assert near(r.seconds, 10.01) and near(r.rate, 140512 / 10.01)
    assert near(r.p(50), 0.402) and near(r.p(75), 4.21) and near(r.p(90), 1200) and near(r.p(99), 90_000)
    assert r.p(95) is None and r.trouble() == ""


def test_bad_answers_and_socket_errors_are_counted_and_no_part_of_the_rate():
    r = wrk.Report(TROUBLE)
    assert (r.bad, r.good) == (512, 140000) and near(r.rate, 140000 / 10.01)
    assert r.errors == {"connect": 0, "read": 3, "write": 0, "timeout": 17}
    assert r.trouble("201") == "512 answers other than 201, 3 read errors, 17 timeout errors"


def test_the_fillers_of_an_end_to_end_load_are_no_errors():
    said = ["Non-2xx or 3xx responses: 512", "Socket errors: connect 0, read 3, write 0, timeout 17"]
    assert wrk.trouble_of_signups(said) == said[1:] and wrk.trouble_of_signups(said[:1]) == []


def test_a_report_without_a_total_is_an_error():
    for text in ("", "unable to connect to 127.0.0.1:1 Connection refused\n"):
        try:
            wrk.Report(text)
        except wrk.WrkError:
            continue
        raise AssertionError(f"accepted: {text!r}")


def test_a_row_takes_the_median_of_its_rounds():
    row = table.Row("rate", ours=[30, 10, 20], peer=[2, 4], limit=None)
    assert (row.ours, row.peer, row.limit) == (20, 3, None)
    assert table.Row("rate", ours=[None, 5, None]).ours == 5
    assert table.Row("rate", ours=[]).ours is None and table.Row("rate").peer is None


def test_the_ratio_says_how_many_times_better_ours_is():
    assert near(table.Row("rate", ours=300, peer=100).ratio, 3)
    assert near(table.Row("latency", ours=2, peer=8, more=False).ratio, 4)
    assert table.Row("nothing to divide by", ours=3, peer=0).ratio is None
    assert table.Row("no peer", ours=3).ratio is None


def test_a_goal_is_met_missed_or_unknown():
    goal = lambda row: row.ratio >= 8
    assert table.Row("a", ours=800, peer=100, met=goal).met is True
    assert table.Row("a", ours=799, peer=100, met=goal).met is False
    assert table.Row("a", ours=800, met=goal).met is None
    assert table.Row("a", peer=100, met=lambda row: True).met is None


def test_figures_have_the_digits_that_matter():
    for value, text in ((None, "-"), (0, "0"), (14037.16, "14,037"), (99.96, "100.0"), (12.345, "12.3"),
                        (3.456, "3.46"), (0.4021, "0.402"), (7.0, "7"), (1234567, "1,234,567")):
        assert table.figure(value) == text, (value, table.figure(value))
    assert table.figure(3.456, "ms") == "3.46 ms"


def test_no_line_of_the_table_is_longer_than_100_columns():
    rows = [table.Row("a name so long that it can't stand in a single column of the table", "thousands of them",
                      ours=123456789.1, peer=987654321.2, limit=999999999.3, goal="no less than a hundred times the peer's",
                      met=lambda row: False, note="word " * 60),
            table.Row("short", "ms", ours=0.402, peer=4.1, limit=0.3, more=False, goal="<= 0.6",
                      met=lambda row: row.ours <= 0.6, note="the second"),
            table.Row("nobody")]
    text = table.render(rows)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100, max(lines, key=len)
    assert lines[0].split() == ["what", "ours", "peer", "ratio", "limit", "goal", "met"]
    short = next(line for line in lines if line.startswith("short"))
    assert short.split() == ["short,", "ms", "[2]", "0.402", "4.10", "10x", "0.300", "<=", "0.6", "yes"], short
    assert "[2] the second" in lines and any(line.endswith(" NO") for line in lines)
    for word in "a name so long that it can't stand in a single column".split():
        assert word in text


def test_a_limit_programs_line_becomes_figures():
    line = "pg connections=1 batch=1 outbox=0                2000 in   0.500 s =     4000 /s, own cpu 0.021 s per 1000\n"
    r = limits.Result("noise\n" + line)
    assert (r.what, r.count, r.seconds, r.cpu_per_1000) == ("pg connections=1 batch=1 outbox=0", 2000, 0.5, 0.021)
    assert near(r.rate, 4000) and near(r.each_ms, 0.25)
    for text in ("", "declared\n", line.replace("2000 in", "0 in")):
        try:
            limits.Result(text)
        except limits.LimitError:
            continue
        raise AssertionError(f"accepted: {text!r}")


def test_each_side_gets_a_place_of_its_own_in_a_url():
    for url, path, want in (("amqp://u:p@127.0.0.1:5672/%2f", "bench_peer", "amqp://u:p@127.0.0.1:5672/bench_peer"),
                            ("redis://default:p@127.0.0.1:6379/0", "3", "redis://default:p@127.0.0.1:6379/3"),
                            ("mongodb://127.0.0.1:27017/onboard", "", "mongodb://127.0.0.1:27017/")):
        assert servers.with_path(url, path) == want


def test_the_words_of_bench_run():
    run = lambda *words: subprocess.run([os.path.join(ROOT, "bench/run"), *words], stdin=subprocess.DEVNULL, text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    listed = run("--list")
    assert listed.returncode == 0 and "signup.busy" in listed.stdout, listed.stdout
    for word in ("nonsense", "signup.nonsense"):
        done = run(word)
        assert done.returncode == 2 and f"nothing is called {word}" in done.stdout, done.stdout


def test_the_result_file_holds_every_round():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "new", "result.json")
        table.write_json(path, {"cores": 2}, [table.Row("rate", ours=[1, 2, 6], peer=[1], met=lambda r: True)])
        with open(path, encoding="utf-8") as f:
            read = json.load(f)
    assert read["cores"] == 2
    row = read["rows"][0]
    assert (row["ours"], row["peer"], row["ratio"], row["met"]) == (2, 1, 2, True)
    assert row["rounds"] == {"ours": [1, 2, 6], "peer": [1], "limit": []}


def test_processor_time_and_memory_of_this_process():
    me = os.getpid()
    assert me in procs.family([me]) and procs.cpu_seconds([me]) > 0
    private, resident = procs.memory_mib([me])
    assert 0 < private < resident
    assert procs.family([2 ** 22 + 1]) == [] and procs.cpu_seconds([2 ** 22 + 1]) == 0
