# SPDX-License-Identifier: Apache-2.0
"""kvctl against a fake cluster: every command, its output, its exit statuses."""

import json
import os
import pty
import re
import resource
import socket
import subprocess
import time
import unittest

from fake_node import FakeCluster, FakeObject, hash_of
from kvring.schema import messages as m
from tool_test import ToolTest


def reply(body):
    return m.Response(code=m.OK, body=body.SerializeToString())


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class KeyTest(ToolTest):
    def test_put_and_get(self):
        out, _ = self.run_tool("put", "greeting", "hello there")
        self.assertIn(b"done: on stable storage at 2 nodes", out)
        self.assertEqual(self.run_tool("get", "greeting")[0], b"hello there")

    def test_values_are_binary_from_stdin_and_file(self):
        value = bytes(range(256)) * 300
        self.run_tool("put", "a", "-", stdin=value)
        self.assertEqual(self.run_tool("get", "a")[0], value)
        self.run_tool("put", "-f", self.path("value", value[::-1]), "b")
        self.assertEqual(self.run_tool("get", "b")[0], value[::-1])
        self.run_tool("put", "empty", "-")
        self.assertEqual(self.run_tool("get", "empty")[0], b"")

    def test_a_value_of_8_mib_goes_through(self):
        value = os.urandom(1 << 20) * 8
        self.run_tool("put", "large", "-", stdin=value)
        self.assertEqual(self.run_tool("get", "large")[0], value)

    def test_keys_may_be_binary(self):
        self.run_tool("put", "--base64-key", "AP8", "v")
        self.assertIn((b"default", b"\x00\xff"), self.cluster.objects)
        self.assertEqual(self.run_tool("get", "-k", "AP8")[0], b"v")

    def test_a_put_replaces_what_is_there(self):
        self.run_tool("put", "k", "old")
        self.run_tool("put", "k", "new")
        self.assertEqual(self.run_tool("get", "k")[0], b"new")

    def test_blind_puts_stand_beside_and_a_context_resolves_them(self):
        self.run_tool("put", "--blind", "cart", "milk")
        self.run_tool("put", "--blind", "cart", "eggs")
        self.assertEqual(self.methods(), ["Put", "Put"])
        out, err = self.run_tool("get", "cart")
        text = out.decode()
        self.assertIn("--- value 1 of 2, 4 bytes, written 2023-11-14 22:13:20.000 UTC\nmilk\n", text)
        self.assertIn("--- value 2 of 2", text)
        self.assertIn("kvctl put --context", err)
        context = text.split("--- context ")[1].strip()
        self.run_tool("put", "cart", "milk, eggs", "--context", context)
        self.assertEqual(self.run_tool("get", "cart")[0], b"milk, eggs")

    def test_get_json_has_all_siblings_and_the_context(self):
        self.run_tool("put", "--blind", "k", "text")
        self.run_tool("put", "--blind", "k", "-", stdin=b"\xff\xfe")
        found = self.run_json("get", "k")
        self.assertEqual(found["outcome"], "DONE")
        self.assertEqual([s.get("value", s.get("value_b64")) for s in found["siblings"]], ["text", "__4"])
        self.run_tool("put", "k", "one", "--context", found["context"])
        self.assertEqual(len(self.run_json("get", "k")["siblings"]), 1)

    def test_context_files_and_show_context(self):
        self.run_tool("put", "k", "v")
        _, err = self.run_tool("get", "k", "--context-out", self.path("ctx"), "--show-context")
        context = self.read("ctx").decode().strip()
        self.assertIn("context: " + context, err)
        self.run_tool("put", "k", "w", "--context", context, "--context-out", self.path("ctx2"))
        self.assertNotEqual(self.read("ctx2"), self.read("ctx"))

    def test_del_and_not_found(self):
        self.run_tool("put", "k", "v")
        self.run_tool("del", "k")
        out, err = self.run_tool("get", "k", expect=1)
        self.assertEqual(out, b"")
        self.assertIn("not found: 'k'", err)
        self.run_tool("del", "k", expect=1)
        self.assertEqual(self.run_json("get", "k", expect=1)["outcome"], "ABSENT")

    def test_del_spares_what_its_context_does_not_cover(self):
        self.run_tool("put", "k", "old")
        context = self.run_json("get", "k")["context"]
        self.run_tool("put", "--blind", "k", "new")
        self.run_tool("del", "k", "--context", context)
        self.assertEqual(self.run_tool("get", "k")[0], b"new")

    def test_buckets_quorums_and_ttl_are_handed_on(self):
        seen = []
        self.cluster.hook = lambda node, method, body: seen.append((method, body))
        self.run_tool("put", "-b", "carts", "--w", "3", "--ttl", "1m", "--blind", "k", "v")
        put = m.PutRequest.FromString(seen[-1][1])
        self.assertEqual((put.bucket, put.w), (b"carts", 3))
        self.assertGreater(put.expires_ms, 1700000000000)
        self.run_tool("get", "-b", "carts", "--r", "1", "k")
        get = m.GetRequest.FromString(seen[-1][1])
        self.assertEqual((get.bucket, get.r), (b"carts", 1))

    def test_levels_are_names(self):
        seen = []
        self.cluster.hook = lambda node, method, body: seen.append((method, body))
        self.run_tool("put", "--w", "EACH_QUORUM", "k", "v")  # what it replaces is read at the same level
        self.assertEqual((m.GetRequest.FromString(seen[0][1]).level, m.PutRequest.FromString(seen[1][1]).level), (m.LEVEL_EACH_QUORUM,) * 2)
        self.run_tool("put", "--w", "all", "--r", "1", "k", "v")
        get, put = m.GetRequest.FromString(seen[2][1]), m.PutRequest.FromString(seen[3][1])
        self.assertEqual((get.r, get.level, put.w, put.level), (1, 0, 0, m.LEVEL_ALL))
        self.run_tool("get", "--r", "local-one", "k")
        self.assertEqual(m.GetRequest.FromString(seen[-1][1]).level, m.LEVEL_LOCAL_ONE)
        self.assertIn("not 'most'", self.run_tool("get", "k", "--r", "most", expect=2)[1])

    def test_what_the_cluster_calls_invalid_is_2_and_is_not_to_be_tried_again(self):
        for command in (("put", "--blind", "k" * 5000, "v"), ("put", "k" * 5000, "v"), ("del", "k" * 5000), ("get", "k" * 5000)):
            self.assertIn("5000 bytes", self.run_tool(*command, expect=2)[1])
        for command in (("get", "--r", "4", "k"), ("put", "--r", "4", "k", "v"), ("put", "--w", "4", "k", "v"), ("del", "--r", "4", "k")):
            _, err = self.run_tool(*command, expect=2)
            self.assertIn("more than the 3 replicas", err)
            self.assertNotIn("Try again", err)
        context = "AAAAAAAAAAAAAAAA"
        self.assertIn("checksum", self.run_tool("put", "k", "v", "--context", context, expect=2)[1])
        answer = self.run_json("put", "--blind", "k" * 5000, "v", expect=2)
        self.assertEqual((answer["outcome"], answer["code"]), ("REFUSED", "INVALID_ARGUMENT"))
        self.assertEqual(self.cluster.applied, [])

    def test_refused_is_3_and_says_why(self):
        refused = m.PutResponse(outcome=m.REFUSED, code=m.FAILED_PRECONDITION, message="100 siblings are there: merge them")
        self.cluster.hook = lambda node, method, body: reply(refused) if method.endswith("/Put") else None
        self.assertIn("merge them", self.run_tool("put", "k", "v", expect=3)[1])

    def test_nodes_in_no_cluster_are_5(self):
        self.cluster.cluster_id = 0
        self.assertIn("in no cluster", self.run_tool("put", "k", "v", expect=5)[1])

    def test_in_doubt_is_4_and_the_operation_id_repeats_it(self):
        doubt = m.PutResponse(outcome=m.IN_DOUBT, code=m.DEADLINE_EXCEEDED, acks_owners=1, needed=2, message="1 of 2 acknowledged (n2: no answer in time)")
        self.cluster.hook = lambda node, method, body: reply(doubt) if method.endswith("/Put") else None
        _, err = self.run_tool("put", "--blind", "k", "v", expect=4)
        self.assertIn("in doubt: 1 of 2 acknowledged (n2: no answer in time).", err)
        self.assertEqual(err.count("1 of 2"), 1)
        operation_id = err.split("--operation-id ")[1].split(":")[0]
        self.cluster.hook = None
        self.run_tool("put", "--blind", "k", "v", "--operation-id", operation_id)
        self.run_tool("put", "--blind", "k", "v", "--operation-id", operation_id)
        self.assertEqual([i.hex() for i in self.cluster.applied], [operation_id, operation_id])
        self.assertEqual(self.run_tool("get", "k")[0], b"v")

    def test_a_put_without_answer_is_4(self):
        self.cluster.hook = lambda node, method, body: "drop" if method.endswith("/Put") else None
        _, err = self.run_tool("put", "--blind", "--timeout", "300ms", "k", "v", expect=4)
        self.assertIn("cannot apply twice", err)
        operation_id = err.split("--operation-id ")[1].split(":")[0]
        self.cluster.hook = None
        self.run_tool("put", "--blind", "k", "v", "--operation-id", operation_id)

    def test_a_write_in_doubt_is_repeated_exactly(self):
        """It replaces what it replaced the first time, not what somebody wrote since."""
        self.run_tool("put", "k", "old")
        doubt = m.PutResponse(outcome=m.IN_DOUBT, code=m.DEADLINE_EXCEEDED, needed=2, message="0 of 2 acknowledged")
        self.cluster.hook = lambda node, method, body: reply(doubt) if method.endswith(("/Put", "/Delete")) else None
        for command in (("put", "k", "v"), ("del", "k")):
            self.cluster.hook, hook = None, self.cluster.hook
            self.run_tool("put", "k", "old")
            self.cluster.hook = hook
            _, err = self.run_tool(*command, expect=4)
            again = err.split("Repeat it with ")[1].split(":")[0].split()
            self.assertEqual([again[0], again[2]], ["--context", "--operation-id"])
            self.cluster.hook = None
            self.run_tool("put", "k", "by somebody else")
            self.run_tool(*command, *again)
            self.assertIn("by somebody else", [s["value"] for s in self.run_json("get", "k")["siblings"]])
            self.cluster.hook = hook

    def test_the_read_before_a_write_asks_no_more_than_the_write(self):
        """Only one replica is left: r=2 and w=2 cannot be had."""
        self.run_tool("put", "k", "old")
        seen = []

        def one_left(node, method, body):
            name = method.split("/")[1]
            request = (m.GetRequest if name == "Get" else m.PutRequest).FromString(body)
            wanted = request.r if name == "Get" else request.w
            seen.append((name, wanted))
            if wanted == 1:
                return None
            answer = (m.GetResponse if name == "Get" else m.PutResponse)(
                outcome=m.REFUSED, code=m.UNAVAILABLE, needed=2, message="1 of 2 replicas answered")
            return reply(answer)

        self.cluster.hook = one_left
        self.assertIn("--r COUNT asks fewer", self.run_tool("put", "k", "v", expect=3)[1])
        self.run_tool("put", "--w", "1", "k", "new")
        self.run_tool("put", "--w", "1", "--r", "1", "k", "newer")
        self.assertEqual(seen, [("Get", 0), ("Get", 1), ("Put", 1), ("Get", 1), ("Put", 1)])
        self.assertIn("--r COUNT asks fewer", self.run_tool("del", "k", expect=3)[1])
        seen.clear()
        self.run_tool("del", "--w", "1", "--r", "1", "k")
        self.assertEqual(seen, [("Get", 1), ("Delete", 1)])

    def test_a_blind_del_does_not_read(self):
        self.run_tool("put", "k", "v")
        self.cluster.requests.clear()
        self.run_tool("del", "--blind", "k")
        self.assertEqual(self.methods(), ["Delete"])
        self.assertEqual(self.run_tool("get", "k")[0], b"v")
        self.assertIn(b"deletes nothing", b" ".join(self.run_tool("del", "--help")[0].split()))

    def test_durations_have_units_up_to_days(self):
        for text, seconds in (("30s", 30), ("30", 30), ("10m", 600), ("1h", 3600), ("1.5h", 5400), ("60d", 60 * 86400)):
            seen = []
            self.cluster.hook = lambda node, method, body: seen.append(m.PutRequest.FromString(body).expires_ms)
            before = time.time()
            self.run_tool("put", "--blind", "--ttl", text, "k", "v")
            self.assertLess(abs(seen[0] / 1000 - before - seconds), 5)
        for text in ("1w", "h", "-1h", "0", "1 h", "1hh", ""):
            _, err = self.run_tool("put", "--blind", "--ttl", text, "k", "v", expect=2)
            self.assertIn("1h or 7d", err)

    def test_a_long_message_is_shown_whole(self):
        message = "the disk of this node is full, " * 20 + "and that was the end of it"
        for answer in (m.Response(code=m.FAILED_PRECONDITION, message=message),
                       reply(m.PutResponse(outcome=m.REFUSED, code=m.FAILED_PRECONDITION, message=message))):
            self.cluster.hook = lambda node, method, body: answer
            self.assertIn(message, self.run_tool("put", "--blind", "k", "v", expect=3)[1])
        self.cluster.hook = lambda node, method, body: m.Response(code=m.FAILED_PRECONDITION, message="x" * 2000)
        self.assertIn("xxx...", self.run_tool("put", "--blind", "k", "v", expect=3)[1])

    def test_a_host_that_does_not_resolve_reads_unlike_a_wrong_port(self):
        port = free_port()
        for command in (("get", "k"), ("import", self.path("in", "")), ("cluster", "init")):
            wrong = ("no-such-host.invalid:7100", "127.0.0.1:%d" % port)
            for address, text in zip(wrong, ("no-such-host.invalid:7100: the host name does not resolve", "is the node running there")):
                arguments = (*command, address) if command[0] == "cluster" else command
                _, err = self.run_tool(*arguments, "-t", "200ms", endpoints=address, expect=5)
                self.assertIn(text, err)
        _, err = self.run_tool("get", "k", "-t", "200ms", endpoints=",".join(wrong), expect=5)
        self.assertRegex(err, r"none of the 2 nodes.*no-such-host.invalid:7100: the host.*; 127.0.0.1:%d: not connected" % port)

    def test_nobody_there_is_5(self):
        nowhere = "127.0.0.1:%d" % free_port()
        _, err = self.run_tool("--timeout", "300ms", "get", "k", endpoints=nowhere, expect=5)
        self.assertIn(nowhere, err)
        error = self.run_json("-t", "300ms", "put", "k", "v", endpoints=nowhere, expect=5)
        self.assertEqual(error["exit_status"], 5)
        self.assertEqual(error["code"], "UNAVAILABLE")

    def test_an_answer_that_makes_no_sense_is_5(self):
        self.cluster.hook = lambda node, method, body: m.Response(code=m.OK, body=b"\xff" * 40)
        self.assertIn("client port of a kvring node", self.run_tool("get", "k", expect=5)[1])
        self.assertIn("does not decode", self.run_tool("import", self.path("in", '{"key":"k","value":"v"}\n'), expect=5)[1])

    def test_no_answer_in_time_says_what_waits_longer(self):
        self.cluster.hook = lambda node, method, body: "drop"
        self.assertIn("--timeout DURATION waits longer", self.run_tool("get", "-t", "200ms", "k", expect=5)[1])

    def test_the_next_endpoint_is_taken(self):
        self.run_tool("put", "k", "v")
        self.cluster.nodes[0].close()
        self.assertEqual(self.run_tool("get", "k")[0], b"v")


class OutputTest(ToolTest):
    """A result that nobody gets is no success: 6, also when the command itself was done."""

    def run_into(self, stdout, *arguments, **options):
        environment = dict(os.environ, KVRING_ENDPOINTS=self.cluster.endpoints)
        done = subprocess.run([os.environ["KVCTL"], *arguments], stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE,
                              env=environment, timeout=60, **options)
        return done.returncode, done.stderr.decode()

    def commands(self):
        keys = self.path("in", '{"key": "k", "value": "v"}\n')
        return (("put", "k", "v"), ("get", "k"), ("-o", "json", "get", "nothing"), ("status",), ("ring", "--all"), ("import", keys),
                ("export", "-f", "jsonl", keys), ("compare", keys), ("--help",))

    def test_a_full_stdout(self):
        with open("/dev/full", "wb") as full:
            for command in self.commands():
                status, err = self.run_into(full, *command)
                self.assertEqual(status, 0 if command == ("--help",) else 6, (command, err))
                if status:
                    self.assertEqual(err.count("No space left on device"), 1, err)
        self.assertEqual(self.run_tool("get", "k")[0], b"v")

    def test_a_closed_stdout_is_no_file_of_ours(self):
        for command in self.commands()[:-1]:
            status, err = self.run_into(None, *command, preexec_fn=lambda: os.close(1))
            self.assertEqual(status, 6, (command, err))
            self.assertIn("Bad file descriptor", err)
        self.assertEqual(self.run_tool("get", "k")[0], b"v")

    def test_all_three_closed(self):
        status, _ = self.run_into(None, "put", "k", "v", preexec_fn=lambda: os.closerange(0, 3))
        self.assertEqual(status, 6)
        self.assertEqual(self.run_tool("get", "k")[0], b"v")

    def test_a_closed_stdin_cannot_be_read(self):
        done = self.start_tool("put", "k", "-", stdin=None, preexec_fn=lambda: os.close(0))
        self.assertIn(b"cannot read stdin: Bad file descriptor", done.communicate(timeout=60)[1])
        self.assertEqual(done.returncode, 2)

    def test_a_limit_of_file_sizes_is_told(self):
        self.run_tool("put", "k", "-", stdin=b"x" * 100000)
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
        with open(self.path("out"), "wb") as out:
            status, err = self.run_into(out, "get", "k", preexec_fn=limit)
        self.assertEqual(status, 6)
        self.assertIn("kvctl: the result could not be written to stdout", err)

    def test_a_key_in_a_message_does_nothing_to_a_terminal(self):
        for key in ("\x1b[31mred", "a\nb", "\x9b31m"):
            _, err = self.run_tool("get", key, expect=1)
            self.assertIn("not found: base64:", err)
            self.assertNotIn(key, err)
        _, err = self.run_tool("export", "-", stdin=b"\x1b[31mred\n", expect=1)
        self.assertIn("stdin:1: base64:G1szMW1yZWQ: not found", err)
        self.assertIn("not found: 'gr\u00fcn'", self.run_tool("get", "gr\u00fcn", expect=1)[1])

    def test_context_and_output_files(self):
        self.run_tool("put", "k", "v")
        self.assertIn("No space left", self.run_tool("put", "--context-out", "/dev/full", "k", "w", expect=6)[1])
        self.assertEqual(self.run_tool("get", "k")[0], b"w")
        self.assertIn("No space left", self.run_tool("export", "--out", "/dev/full", "-", stdin=b"k\n", expect=6)[1])
        self.run_tool("export", "--out", "/dev/null", "-", stdin=b"k\n")


class ShortageTest(ToolTest):
    def test_without_memory_for_threads_it_says_so(self):
        """A sanitizer's own memory is more than any of these limits."""
        with open(os.environ[self.variable], "rb") as program:
            if re.search(rb"lib[at]san", program.read()):
                self.skipTest("built with a sanitizer")
        for megabytes in range(30, 101, 10):

            def limit(size=megabytes << 20):
                resource.setrlimit(resource.RLIMIT_AS, (size, size))

            process = self.start_tool("get", "greeting", preexec_fn=limit)
            _, err = process.communicate(timeout=60)
            self.assertIn(process.returncode, (0, 1, 5), "%d MB: %s" % (megabytes, err))  # 1: it found no such key
            if process.returncode == 5:
                self.assertRegex(err.decode(), "cannot start .*thread.*allow this process more|out of memory")


class UsageTest(ToolTest):
    def expect_usage(self, *arguments, text, **options):
        _, err = self.run_tool(*arguments, expect=2, **options)
        self.assertIn(text, err)

    def test_did_you_mean(self):
        self.expect_usage("staus", text="Did you mean 'status'?")
        self.expect_usage("cluster", text="Did you mean 'cluster init'?")
        self.expect_usage("cluster", "inti", text="there is no command 'cluster inti'. Did you mean 'cluster init'?")
        self.expect_usage("cluster", "jion", text="there is no command 'cluster jion'. Did you mean 'cluster join'?")
        self.expect_usage("join", "n4", text="there is no command 'join'. Did you mean 'cluster join'?")
        self.expect_usage("frobnicate", text="`kvctl --help` lists them")
        for word, meant in (("set", "put"), ("delete", "del"), ("rm", "del"), ("nodes", "members"), ("scan", "export")):
            self.expect_usage(word, text="Did you mean '%s'?" % meant)

    def test_help_of_a_command(self):
        self.assertEqual(self.run_tool("help", "put")[0], self.run_tool("put", "--help")[0])
        self.assertEqual(self.run_tool("help", "cluster", "init")[0], self.run_tool("cluster", "init", "--help")[0])
        self.expect_usage("help", "frobnicate", text="there is no command 'frobnicate'")

    def test_wrong_arguments(self):
        self.expect_usage("put", text="which KEY?")
        self.expect_usage("put", "k", text="which value?")
        self.expect_usage("put", "k", "v", "w", text="one argument too many: 'w'")
        self.expect_usage("put", "-f", "/etc/passwd", "k", "v", text="give the value once")
        self.expect_usage("put", "-f", "/nowhere", "k", text="cannot read /nowhere")
        self.expect_usage("put", "k", "v", "--context", "a*b", text="breaks at character 2")
        self.expect_usage("put", "k", "v", "--operation-id", "12", text="32 hexadecimal digits")
        self.expect_usage("put", "k", "v", "--w", "0", text="from 1 to 128, or one, two, quorum")
        self.expect_usage("put", "", "v", text="the key is empty")
        self.expect_usage("get", "", text="the key is empty")
        self.expect_usage("del", "", text="the key is empty")
        self.expect_usage("ring", "", text="the key is empty")
        self.expect_usage("-e", "127.0.0.1:1 127.0.0.1:2", "get", "k", text="put a comma")
        self.expect_usage("get", "k", "--timeout", "soon", text="500ms, 5s or 2m")
        self.expect_usage("-o", "xml", "get", "k", text="text or json")
        self.expect_usage("cluster", "init", text="which nodes?")
        self.expect_usage("cluster", "init", "localhost", text="HOST:PORT")
        self.expect_usage("cluster", "init", "a:1", "-q", "100", text="power of two")
        self.expect_usage("status", "now", text="takes no argument")
        self.expect_usage("import", text="which FILE?")
        self.expect_usage("compare", "-", text="needs a FILE")
        self.assertEqual(self.cluster.requests, [])

    def test_no_endpoint(self):
        self.expect_usage("status", endpoints="", text="KVRING_ENDPOINTS")

    def test_help_has_commands_and_exit_statuses(self):
        out, _ = self.run_tool("--help")
        for text in (b"cluster init", b"import", b"4  in doubt"):
            self.assertIn(text, out)
        self.assertIn(b"Examples:", self.run_tool("put", "-h")[0])
        self.assertIn(b"no scan over all keys", self.run_tool("export", "--help")[0])
        self.assertIn(b"kvctl 0", self.run_tool("--version")[0])
        self.run_tool(expect=2)


class ClusterTest(ToolTest):
    def test_status(self):
        out, _ = self.run_tool("status")
        text = out.decode()
        self.assertRegex(text, r"cluster 0123456789abcdef, epoch 1, 16 partitions x 3 replicas; as n[123] sees it")
        self.assertEqual([line.split()[0] for line in text.splitlines()[2:]], ["NODE", "n1", "n2", "n3"])
        self.assertIn("1h 02m", text)
        status = self.run_json("status")
        self.assertEqual([member["name"] for member in status["members"]], ["n1", "n2", "n3"])
        self.assertIn(status["answered_by"], [member["node_id"] for member in status["members"]])

    def test_members(self):
        out, _ = self.run_tool("members")
        self.assertEqual(out.decode().splitlines()[2].split(), ["NODE", "STATE", "SINCE", "HEARD", "LINK", "UNHEARD", "BY"])
        self.assertIn("n1    up     1m 01s", out.decode())
        self.cluster.unheard = {0: [102], 1: [102]}
        out, _ = self.run_tool("members")
        self.assertRegex(out.decode(), r"\nn3 .* n1, n2\n")
        self.assertEqual([line.split() for line in out.decode().splitlines()[-3:]],
                         [["1", "n1", "-", ".", "x"], ["2", "n2", ".", "-", "x"], ["3", "n3", ".", ".", "-"]])
        members = self.run_json("members")["members"]
        self.assertEqual([member["unheard_by"] for member in members], [[], [], ["n1", "n2"]])
        self.assertEqual(members[0]["state_ms"], 61000)

    def test_wait_up(self):
        self.cluster.nodes[2].describes_until_known = 5
        self.run_tool("status", "--wait-up", "3", "--timeout", "20s")
        self.assertGreater(self.methods().count("Status"), 3)
        self.assertIn("3 of 4 members are up", self.run_tool("status", "--wait-up", "4", "-t", "200ms", expect=5)[1])

    def test_ring(self):
        text = self.run_tool("ring")[0].decode()
        self.assertIn("epoch 1, 16 partitions x 3 replicas", text)
        self.assertIn("100.0 %", text)
        self.assertIn("! 2 racks hold 3 replicas", text)
        ring = self.run_json("ring", "--all")
        self.assertEqual(ring["owners"][15], ["n1", "n2", "n3"])
        self.assertEqual(ring["members"][0]["fair_share"], 16)

    def test_ring_of_a_key(self):
        text = self.run_tool("ring", "greeting")[0].decode()
        self.assertRegex(text, r"partition +\d+ of 16, epoch 1\nowners +n1 n2 n3\nstand-ins +none")
        self.assertEqual(self.run_json("ring", "greeting")["preference"], ["n1", "n2", "n3"])


class RackTest(ToolTest):
    def test_a_rack_is_handed_on(self):
        out, _ = self.run_tool("cluster", "rack", "n2", "cellar")
        self.assertRegex(out, b"^n2 stands in rack 'cellar', epoch [0-9]+\n$")
        self.assertEqual((self.cluster.rack_request.node, self.cluster.rack_request.rack), ("n2", "cellar"))
        self.assertEqual(self.run_json("cluster", "rack", "n2", "")["rack"], "")
        self.assertEqual(self.cluster.rack_request.rack, "")

    def test_what_is_wrong_is_told(self):
        self.assertIn("which node stands in which rack?", self.run_tool("cluster", "rack", expect=2)[1])
        self.assertIn("which node stands in which rack?", self.run_tool("cluster", "rack", "n2", expect=2)[1])
        self.assertIn("not 'more' besides", self.run_tool("cluster", "rack", "n2", "r", "more", expect=2)[1])
        self.cluster.hook = lambda node, method, body: m.Response(code=m.INVALID_ARGUMENT, message="no member is named 'n9'")
        self.assertIn("no member is named 'n9'", self.run_tool("cluster", "rack", "n9", "r", expect=2)[1])
        self.cluster.hook = lambda node, method, body: m.Response(code=m.DEADLINE_EXCEEDED, message="it may still come about")
        self.assertIn("it may still come about", self.run_tool("cluster", "rack", "n2", "r", expect=4)[1])


class ChangeTest(ToolTest):
    """Staging changes of the ring, planning and making them."""

    def staged(self):
        return self.run_json("cluster", "changes")["changes"]

    def in_terminal(self, *arguments, answer):
        """Runs with a terminal as stdin, on which `answer` is typed."""
        try:
            ours, theirs = pty.openpty()
        except OSError as error:
            self.skipTest("there are no terminals here: %s" % error)
        try:
            process = self.start_tool(*arguments, stdin=theirs)
            os.write(ours, answer)
            out, err = process.communicate(timeout=100)
        finally:
            os.close(ours)
            os.close(theirs)
        return process.returncode, out.decode(), err.decode()

    def test_each_kind_is_staged_and_handed_on(self):
        self.run_tool("cluster", "join", "n4", "n5", "--weight", "50")
        self.run_tool("cluster", "leave", "n1")
        self.run_tool("cluster", "replace", "n2", "--by", "n6")
        out, _ = self.run_tool("cluster", "weight", "n3", "150")
        self.assertEqual(out.decode().splitlines(), [
            "n4 joins with weight 50", "n5 joins with weight 50", "n1 leaves", "n2 is replaced by n6", "n3 changes its weight to 150",
            "5 changes are staged. `kvctl cluster plan` shows what they would do."])
        self.assertEqual(self.staged(), [
            {"change": "join", "node": "n4", "weight": 50}, {"change": "join", "node": "n5", "weight": 50}, {"change": "leave", "node": "n1"},
            {"change": "replace", "node": "n2", "by": "n6"}, {"change": "weight", "node": "n3", "weight": 150}])
        self.run_tool("cluster", "plan")
        sent = [(change.kind, change.node, change.replacement, change.weight) for change in self.cluster.plan_request.changes]
        self.assertEqual(sent, [(m.JOIN, "n4", "", 50), (m.JOIN, "n5", "", 50), (m.LEAVE, "n1", "", 0), (m.REPLACE, "n2", "n6", 0),
                                (m.REWEIGHT, "n3", "", 150)])

    def test_the_last_change_of_a_node_counts(self):
        self.run_tool("cluster", "join", "n4")
        self.run_tool("cluster", "leave", "n1")
        self.run_tool("cluster", "drain", "n1")
        self.assertEqual(self.staged(), [{"change": "join", "node": "n4"}, {"change": "drain", "node": "n1"}])
        self.run_tool("cluster", "replace", "n2", "--by", "n4")
        self.run_tool("cluster", "remove", "n1")
        self.assertEqual(self.staged(), [{"change": "replace", "node": "n2", "by": "n4"}, {"change": "remove", "node": "n1"}])
        self.assertIn(b"Nothing is staged.", self.run_tool("cluster", "clear")[0])
        self.assertEqual(self.staged(), [])
        self.run_tool("cluster", "clear")

    def test_two_at_once_are_both_kept(self):
        running = [self.start_tool("cluster", "join", "n%d" % (10 + i)) for i in range(8)]
        for process in running:
            process.communicate(timeout=100)
        self.assertEqual({change["node"] for change in self.staged()}, {"n%d" % (10 + i) for i in range(8)})

    def test_what_is_wrong_is_told_when_it_is_staged(self):
        for wrong, text in (
            (("join",), "which node? Give its name"),
            (("join", "10.0.0.4:7000"), "not an address as '10.0.0.4:7000'"),
            (("join", "n4", "--weight", "0"), "--weight is a number from 1 to 10000, not '0'"),
            (("join", "n1"), "n1 is a member already. To change its share: `kvctl cluster weight n1 WEIGHT`"),
            (("leave", "n9"), "no member is named 'n9'"),
            (("leave", "nn1"), "Did you mean 'n1'?"),
            (("replace", "n1"), "which node takes its place? Give --by NODE"),
            (("replace", "n1", "--by", "n1"), "a node cannot take its own place"),
            (("replace", "n1", "n2", "--by", "n4"), "one argument too many: 'n2'"),
            (("weight", "n1"), "which weight? Give NODE and WEIGHT"),
            (("weight", "n1", "heavy"), "WEIGHT is a number from 1 to 10000, not 'heavy'"),
            (("plan",), "nothing is staged"),
            (("commit", "--yes"), "nothing is staged"),
            (("plan", "n4"), "`kvctl cluster join NODE` stages a change"),
            (("wait", "n4"), "takes no argument"),
            (("abort", "n4"), "takes no argument"),
        ):
            self.assertIn(text, self.run_tool("cluster", *wrong, expect=2)[1], wrong)
        self.assertEqual(self.staged(), [])

    def test_a_node_in_no_cluster_may_be_named_too(self):
        first = self.cluster.nodes[0]
        for node in self.cluster.nodes[1:]:
            node.close()  # so that the first one is asked
        self.cluster.hook = lambda node, method, body: reply(m.StatusResponse(answered_by=100)) if node is first and method.endswith("Status") else None
        self.assertIn("this node is in no cluster yet: ask a member", self.run_tool("cluster", "join", "n4", expect=3)[1])
        for node in self.cluster.nodes[1:]:
            node.open()
        for _ in range(10):
            self.run_tool("cluster", "join", "n4")
            self.assertEqual(self.run_tool("cluster", "wait")[0], b"stable, epoch 1, 3 members\n")

    def test_a_standby_may_join_again(self):
        self.cluster.member_states = {2: "standby"}
        self.run_tool("cluster", "join", "n3")
        self.assertEqual(self.staged(), [{"change": "join", "node": "n3"}])

    def test_a_file_that_is_no_list_is_told_and_cleared(self):
        self.run_tool("cluster", "join", "n4")
        path = self.path("state/kvctl/%016x.json" % self.cluster.cluster_id)
        for content in ("", "{", "[]", '{"kvctl_changes": 2}',
                        '{"kvctl_changes": 1, "cluster_id": "0123456789abcdef", "changes": [{"change": "fly", "node": "n1"}]}',
                        '{"kvctl_changes": 1, "cluster_id": "0123456789abcdef", "changes": [{"change": "join", "node": "n4"}, 7]}',
                        '{"kvctl_changes": 1, "cluster_id": "00000000000000ff", "changes": []}'):
            with open(path, "w") as file:
                file.write(content)
            self.assertIn("is no list of staged changes", self.run_tool("cluster", "plan", expect=2)[1], content)
            self.run_tool("cluster", "join", "n4", expect=6)
        self.run_tool("cluster", "clear")
        self.run_tool("cluster", "join", "n4")

    def test_without_a_place_for_the_file(self):
        environment = dict(os.environ, KVRING_ENDPOINTS=self.cluster.endpoints)
        environment.pop("HOME", None)
        environment.pop("XDG_STATE_HOME", None)
        run = [os.environ["KVCTL"], "cluster", "join", "n4"]
        done = subprocess.run(run, env=environment, capture_output=True, text=True)
        self.assertEqual(done.returncode, 6)
        self.assertIn("set XDG_STATE_HOME or HOME", done.stderr)
        done = subprocess.run(run, env=dict(environment, HOME=self.path("home"), XDG_STATE_HOME="not/absolute"), capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(b'"n4"', self.read("home/.local/state/kvctl/%016x.json" % self.cluster.cluster_id))

    def test_plan(self):
        self.run_tool("cluster", "join", "n4")
        self.run_tool("cluster", "leave", "n1")
        text = self.run_tool("cluster", "plan")[0].decode()
        self.assertTrue(text.startswith("n4 joins, n1 leaves\n\n"), text)
        rows = [line.split() for line in text.splitlines()]
        self.assertIn("n1 dc1/r active -> leaving 100 16 -> 0 5 -> 4".split(), rows)
        self.assertIn("n4 dc1/- no member -> active 0 -> 100 0 -> 12 0 -> 4".split(), rows)
        self.assertIn("n1 n4 12 3.0 MiB 1m 30s".split(), rows)
        self.assertIn("12 places in partitions move, the least possible is 12; 3.0 MiB, about 1m 30s", text)
        self.assertTrue(text.endswith("\n`kvctl cluster commit` makes it so.\n"), text)
        plan = self.run_json("cluster", "plan")
        self.assertEqual(plan["changes"], self.staged())
        self.assertEqual(plan["links"], [{"from": "n1", "to": "n4", "partitions": 12, "bytes": 3 << 20, "estimated_ms": 90000}])
        self.assertEqual(plan["members"][3]["state_before"], "")
        self.assertNotIn("CommitChange", self.methods())

    def test_commit_sends_the_plan_that_was_shown(self):
        self.run_tool("cluster", "join", "n4")
        out, _ = self.run_tool("cluster", "commit", "--yes")
        self.assertIn("begun: epoch 2.", out.decode())
        request = self.cluster.plan_request
        self.assertEqual((request.parent_hash, request.plan_hash, request.allow_violations), (0x1001, hash_of(request.changes), False))
        self.assertEqual(self.staged(), [])

    def test_commit_asks(self):
        self.run_tool("cluster", "join", "n4")
        self.assertIn("there is nobody to ask", self.run_tool("cluster", "commit", expect=2)[1])
        self.assertIn("there is nobody to ask", self.run_tool("cluster", "commit", "-o", "json", expect=2)[1])
        status, out, err = self.in_terminal("cluster", "commit", answer=b"n\n")
        self.assertEqual(status, 3, err)
        self.assertIn("n4 joins", out)
        self.assertIn("Make these changes? [y/N]", err)
        self.assertIn("not confirmed: nothing was changed", err)
        self.assertNotIn("CommitChange", self.methods())
        status, out, err = self.in_terminal("cluster", "commit", answer=b"y\n")
        self.assertEqual(status, 0, err)
        self.assertIn("begun: epoch 2.", out)

    def test_a_stale_plan_is_refused(self):
        self.run_tool("cluster", "join", "n4")
        self.run_tool("cluster", "plan")
        self.cluster.epoch += 1
        self.assertIn("the ring changed since the plan was shown: plan again", self.run_tool("cluster", "commit", "--yes", expect=3)[1])
        status, _, err = self.in_terminal("cluster", "commit", answer=b"n\n")
        self.assertIn("the plan above is new", err)
        self.run_tool("cluster", "plan")

        def change_before_commit(node, method, body):
            self.cluster.epoch += method.endswith("CommitChange")
        self.cluster.hook = change_before_commit
        self.assertIn("the ring changed since the plan: plan again", self.run_tool("cluster", "commit", "--yes", expect=3)[1])
        self.assertEqual(self.staged(), [{"change": "join", "node": "n4"}])

    def test_violations_need_allow(self):
        self.run_tool("cluster", "join", "n4")
        self.cluster.violations = ["2 racks hold 3 replicas"]
        out, _ = self.run_tool("cluster", "plan")
        self.assertIn("! 2 racks hold 3 replicas\n", out.decode())
        self.assertIn("2 racks hold 3 replicas", self.run_tool("cluster", "commit", "--yes", expect=3)[1])
        self.assertFalse(self.cluster.plan_request.allow_violations)
        self.assertEqual(self.run_json("cluster", "commit", "--yes", "--allow")["epoch"], 2)
        self.assertTrue(self.cluster.plan_request.allow_violations)

    def test_what_the_cluster_refuses_stays_staged(self):
        self.run_tool("cluster", "join", "n4")
        self.cluster.hook = lambda node, method, body: m.Response(code=m.FAILED_PRECONDITION, message="n4 is not heard") if "Change" in method else None
        self.assertIn("n4 is not heard", self.run_tool("cluster", "plan", expect=3)[1])
        self.assertEqual(self.run_json("cluster", "commit", "--yes", expect=3)["code"], "FAILED_PRECONDITION")
        self.assertEqual(self.staged(), [{"change": "join", "node": "n4"}])

    def test_a_commit_without_answer_is_in_doubt_and_stays_staged(self):
        self.run_tool("cluster", "join", "n4")
        self.cluster.hook = lambda node, method, body: "drop" if "CommitChange" in method else None
        self.assertIn("It may or may not have taken effect", self.run_tool("cluster", "commit", "--yes", "-t", "500ms", expect=4)[1])
        self.assertEqual(self.staged(), [{"change": "join", "node": "n4"}])

    def test_wait_shows_how_far_it_is(self):
        self.cluster.incoming = {0: (9, 12, 1 << 20), 1: (0, 8, 2 << 20)}
        self.cluster.transitions = ["copying"] * 40 + ["switching"] * 2
        out, err = self.run_tool("cluster", "wait", "--timeout", "60s")
        self.assertEqual(out, b"stable, epoch 1, 3 members\n")
        self.assertRegex(err, r"ring  55 %  copying  epoch 1  9 of 20 partitions to come  3.0 MiB copied  [0-9.ms ]+ left\n")
        self.assertRegex(err, r"ring 100 %  stable  epoch 1\n$")
        self.assertEqual(self.run_json("cluster", "wait"), {"epoch": 1, "transition": "stable", "members": 3})
        self.assertEqual(self.run_tool("cluster", "wait")[1], "")  # nothing to tell

    def test_wait_ends_with_its_time_and_not_before_leavers_are_gone(self):
        self.cluster.member_states = {2: "leaving"}
        _, err = self.run_tool("cluster", "wait", "--timeout", "300ms", expect=5)
        self.assertIn("the change is not over after 300 ms, and goes on", err)
        self.cluster.member_states = {}
        self.cluster.nodes[0].epoch = 2  # has heard of more than the others
        self.run_tool("cluster", "wait", "--timeout", "300ms", expect=5)
        self.cluster.epoch, self.cluster.nodes[0].epoch = 3, 2  # has not heard of it yet
        self.run_tool("cluster", "wait", "--timeout", "300ms", expect=5)
        self.cluster.nodes[0].epoch = None
        self.run_tool("cluster", "wait", "--timeout", "300ms")

    def test_wait_outlives_a_node_without_answers(self):
        self.cluster.transitions = ["copying"] * 10
        waiting = self.start_tool("cluster", "wait", "--timeout", "60s")
        while len(self.cluster.transitions) > 5:
            time.sleep(0.01)
        self.cluster.nodes[0].close()
        out, err = waiting.communicate(timeout=100)
        self.assertEqual((waiting.returncode, out), (0, b"stable, epoch 1, 3 members\n"), err)

    def test_commit_waits_and_tells_of_an_abort(self):
        self.run_tool("cluster", "join", "n4")
        self.cluster.transitions = ["stable", "copying", "switching"]  # the first answers the question for the cluster
        out, _ = self.run_tool("cluster", "commit", "--yes", "--wait")
        self.assertTrue(out.decode().endswith("done: epoch 2\n"), out)
        self.assertEqual(self.cluster.transitions, [])
        self.run_tool("cluster", "leave", "n3")
        self.cluster.member_states = {1: "standby"}
        self.assertIn("the change was taken back", self.run_tool("cluster", "commit", "--yes", "--wait", expect=3)[1])

    def test_abort(self):
        self.assertEqual(self.run_tool("cluster", "abort")[0], b"taken back: the owners are those from before, epoch 2\n")
        self.assertEqual(self.cluster.abort_request.epoch, 0)
        self.assertEqual(self.run_json("cluster", "abort", "--epoch", "7"), {"epoch": 3})
        self.assertEqual(self.cluster.abort_request.epoch, 7)
        self.cluster.hook = lambda node, method, body: m.Response(code=m.FAILED_PRECONDITION, message="reads go to the new owners already")
        self.assertIn("reads go to the new owners already", self.run_tool("cluster", "abort", expect=3)[1])

    def test_a_ring_is_forced(self):
        self.assertEqual(self.run_tool("ring", "force", "n2", "n3", "--yes")[0],
                         b"forced: epoch 3. `kvctl cluster wait` follows what is copied between the others.\n")
        self.assertEqual(list(self.cluster.force_request.lost), ["n2", "n3"])
        self.assertEqual(self.cluster.force_request.ring_hash, self.cluster.status(self.cluster.nodes[0]).ring_hash)
        self.assertEqual(self.run_json("ring", "force", "n2", "--yes"), {"epoch": 5})
        self.assertIn("which members are lost", self.run_tool("ring", "force", "--yes", expect=2)[1])
        self.assertIn("there is nobody to ask", self.run_tool("ring", "force", "n2", expect=2)[1])
        self.assertIn("What only the lost members hold", self.run_tool("ring", "force", "--help")[0].decode())
        self.cluster.hook = lambda node, method, body: (
            m.Response(code=m.FAILED_PRECONDITION, message="n2 is up: it is not lost") if method.endswith("ForceRing") else None)
        self.assertIn("n2 is up: it is not lost", self.run_tool("ring", "force", "n2", "--yes", expect=3)[1])

    def test_status_shows_the_change(self):
        self.cluster.transitions = ["copying", "copying", "switching", "stable"]
        self.cluster.incoming = {0: (9, 12, 1 << 20)}
        self.cluster.member_states = {1: "leaving", 2: "standby"}
        text = self.run_tool("status")[0].decode()
        self.assertIn("\ncopying: 9 of 12 partitions to come, 1.0 MiB copied\n  n1: 9 of 12 partitions to come, 1.0 MiB copied\n", text)
        self.assertRegex(text, r"n2 +up, leaving .*\nn3 +up, standby")
        status = self.run_json("status")
        self.assertEqual((status["transition"], status["members"][0]["incoming_partitions"], status["members"][1]["member_state"]),
                         ("copying", 9, "leaving"))
        self.assertIn("\nswitching: the new owners have the data", self.run_tool("status")[0].decode())
        self.assertIn("\n1 leaving: done once", self.run_tool("status")[0].decode())


class InitTest(ToolTest):
    formed = False

    def init(self, *arguments, **options):
        return self.run_tool("cluster", "init", *arguments, *(n.address for n in self.cluster.nodes), **options)

    def test_init_hands_on_what_the_nodes_described(self):
        self.cluster.install_delay = 3
        out, _ = self.init("-n", "3", "-q", "64")
        self.assertIn(b"cluster 0123456789abcdef of 3 nodes, epoch 1", out)
        request = self.cluster.init_request
        self.assertEqual([member.name for member in request.members], ["n1", "n2", "n3"])
        self.assertEqual([member.rack for member in request.members], ["r1", "r2", "r3"])
        self.assertEqual((request.replica_count, request.partition_count), (3, 64))
        self.assertTrue(all(node.describes_until_known == 0 for node in self.cluster.nodes))

    def test_a_node_in_a_cluster_is_refused(self):
        self.cluster.cluster_id = 0xABC
        self.assertIn("in cluster 0000000000000abc already", self.init(expect=3)[1])
        self.assertNotIn("InitCluster", self.methods())

    def test_a_node_that_joins_another_cluster_meanwhile_is_told(self):
        self.cluster.strays = {1: 0xABC}
        _, err = self.init(expect=3)
        self.assertIn(self.cluster.nodes[1].address + " joined another cluster", err)

    def test_the_same_node_twice_is_told(self):
        """One node that is reached under two addresses."""
        first, second = self.cluster.nodes[:2]
        self.cluster.hook = lambda node, method, body: reply(self.cluster.describe(first)) if node is second else None
        _, err = self.run_tool("cluster", "init", first.address, second.address, expect=2)
        self.assertIn("%s and %s are the same node, n1" % (first.address, second.address), err)
        _, err = self.run_tool("cluster", "init", first.address, first.address, expect=2)
        self.assertIn("are the same node, n1", err)

    def test_a_node_that_is_down_is_named(self):
        self.cluster.nodes[1].close()
        _, err = self.init("--timeout", "500ms", expect=5)
        self.assertIn(self.cluster.nodes[1].address, err)
        self.assertNotIn("InitCluster", self.methods())

    def test_fewer_nodes_than_replicas_is_noted(self):
        _, err = self.run_tool("cluster", "init", self.cluster.nodes[0].address)
        self.assertIn("3 replicas need 3 nodes", err)


class TransferTest(ToolTest):
    def stored(self, key):
        siblings = self.cluster.objects[(b"default", key)].siblings
        self.assertEqual(len(siblings), 1)
        return siblings[0][2]

    def jsonl(self, count, value="value %d"):
        return "".join(json.dumps({"key": "key-%04d" % i, "value": value % i}) + "\n" for i in range(count))

    def test_import_json_lines(self):
        lines = self.jsonl(500) + '{"key_b64": "AP8", "value_b64": "_wA"}\n'
        result = self.run_json("import", self.path("in", lines))
        self.assertEqual((result["records"], result["refused"]), (501, 0))
        self.assertEqual(self.stored(b"key-0499"), b"value 499")
        self.assertEqual(self.stored(b"\x00\xff"), b"\xff\x00")

    def test_import_debian_from_stdin(self):
        stanzas = "Package: a\nVersion: 1\n\nPackage: b\nDescription: x\n y\n"
        out, err = self.run_tool("import", "-f", "debian", "-", stdin=stanzas.encode())
        self.assertIn(b"2 records acknowledged", out)
        self.assertIn("2 records", err)
        self.assertEqual(self.stored(b"a"), b"Package: a\nVersion: 1\n")
        self.assertEqual(self.stored(b"b"), b"Package: b\nDescription: x\n y\n")

    def test_importing_again_replaces(self):
        self.run_tool("import", self.path("in", self.jsonl(300)))
        self.run_tool("import", "--verify", self.path("in", self.jsonl(300, "other %d")))
        self.assertEqual(self.stored(b"key-0000"), b"other 0")

    def test_blind_does_not_read(self):
        self.run_tool("import", "--blind", self.path("in", self.jsonl(300)))
        self.assertNotIn("BatchGet", self.methods())

    def test_of_a_repeated_key_the_last_record_counts(self):
        lines = self.jsonl(5, "first %d") + self.jsonl(5, "second %d") + self.jsonl(2, "third %d")
        out, _ = self.run_tool("import", "--verify", self.path("in", lines))
        self.assertEqual(self.stored(b"key-0001"), b"third 1")
        self.assertEqual(self.stored(b"key-0004"), b"second 4")
        self.assertIn(b"5 of 5 records are equal", out)

    def test_what_is_in_doubt_is_repeated_with_the_same_id(self):
        ids = []

        def doubt_at_first(node, method, body):
            if not method.endswith("/BatchPut"):
                return None
            batch = m.BatchPutRequest.FromString(body)
            ids.append([put.operation_id for put in batch.puts])
            if len(ids) > 1:
                return None
            results = [self.cluster.put(put, put.operation_id, False) for put in batch.puts]
            for result in results[::2]:
                result.outcome = m.IN_DOUBT  # it did apply, but nobody said so
            return reply(m.BatchPutResponse(results=results))

        self.cluster.hook = doubt_at_first
        result = self.run_json("import", self.path("in", self.jsonl(10)))
        self.assertEqual(result["repeated"], 5)
        self.assertEqual(ids[1], ids[0][::2])
        for i in range(10):
            self.assertEqual(self.stored(b"key-%04d" % i), b"value %d" % i)

    def test_a_node_lost_on_the_way_loses_nothing(self):
        def close_first_node(node, method, body):
            if len(self.cluster.requests) == 6 and not self.cluster.nodes[0].closed:
                self.cluster.nodes[0].close()
            return None

        self.cluster.hook = close_first_node
        self.run_tool("import", "--batch", "20", "--outstanding", "4", self.path("in", self.jsonl(600)))
        self.assertTrue(self.cluster.nodes[0].closed)
        self.cluster.hook = None
        out, _ = self.run_tool("compare", self.path("in"))
        self.assertIn(b"600 of 600 records are equal", out)

    def test_import_goes_on_where_it_was_stopped(self):
        def break_off(node, method, body):
            if method.endswith("/BatchPut") and len(self.cluster.applied) >= 200:
                return m.Response(code=m.PERMISSION_DENIED, message="enough")
            return None

        self.cluster.hook = break_off
        arguments = ("import", "--batch", "50", "--outstanding", "2", "--state", self.path("state"), self.path("in", self.jsonl(500)))
        _, err = self.run_tool(*arguments, expect=3)
        self.assertIn("stopped after 200 records: ", err)
        self.assertIn("enough", err)
        self.assertIn("resume from there", err)
        self.cluster.hook = None
        result = self.run_json(*arguments)
        self.assertEqual(result["records"], 300)
        self.assertIn(b"500 of 500", self.run_tool("compare", self.path("in"))[0])
        self.assertEqual(self.run_json(*arguments)["records"], 0)

    def test_a_killed_import_repeats_its_last_window_under_the_same_ids(self):
        def stall(node, method, body):
            if method.endswith("/BatchPut"):
                batch = m.BatchPutRequest.FromString(body)
                for put in batch.puts:
                    self.cluster.put(put, put.operation_id, False)
                process.kill()
                return "drop"
            return None

        self.path("in", self.jsonl(50))
        arguments = ("import", "--state", self.path("state"), self.path("in"))
        self.cluster.hook = stall
        process = self.start_tool(*arguments)
        process.communicate(timeout=60)
        self.cluster.hook = None
        first = set(self.cluster.applied)
        # the state was written before anything was sent, or nothing could be repeated under the same ids
        self.run_tool(*arguments)
        self.assertEqual(set(self.cluster.applied), first)

    def test_a_refused_record_stops_or_is_skipped(self):
        lines = self.jsonl(3) + json.dumps({"key": "k" * 5000, "value": "v"}) + "\n" + '{"key": "last", "value": "v"}\n'
        _, err = self.run_tool("import", self.path("in", lines), expect=2)
        self.assertIn(":4: 'kkk", err)
        self.assertIn("5000 bytes", err)
        out, _ = self.run_tool("import", "--keep-going", self.path("in"), expect=3)
        self.assertIn(b"1 record was refused and skipped", out)
        self.assertEqual(self.stored(b"last"), b"v")

    def test_keep_going_skips_whatever_is_wrong_with_a_record(self):
        lines = [
            '{"key": "first", "value": "v"}',
            "{oops",
            '{"key": "without"}',
            '{"key": "more", "value": "v", "ttl": 5}',
            '{"value": "v"}',
            '{"key_b64": "a*b", "value": "v"}',
            json.dumps({"key": "over", "value": "v" * ((8 << 20) + 1)}),
            json.dumps({"key": "far over", "value": "v" * (20 << 20)}),
            json.dumps({"key": "k" * (20 << 20), "value": "v"}),
            '{"key": "last", "value": "v"}',
        ]
        arguments = ("import", "--keep-going", "--state", self.path("state"), self.path("in", "\n".join(lines) + "\n"))
        out, err = self.run_tool(*arguments, expect=3)
        for number in range(2, 10):
            self.assertIn("in:%d: " % number, err)
        self.assertIn('in:4: there is no field "ttl"', err)
        self.assertIn("in:3: 'without': no value", err)
        self.assertIn(b"2 records acknowledged", out)
        self.assertIn(b"8 records were refused and skipped", out)
        self.assertEqual(sorted(key for _, key in self.cluster.objects), [b"first", b"last"])

    def test_what_cannot_be_read_before_it_is_replaced_is_not_written_blindly(self):
        self.run_tool("import", self.path("in", self.jsonl(3)))

        def damaged(node, method, body):
            if not method.endswith("/BatchGet"):
                return None
            answer = m.BatchGetResponse(results=[self.cluster.get(get) for get in m.BatchGetRequest.FromString(body).gets])
            answer.results[1].CopyFrom(m.GetResponse(outcome=m.REFUSED, code=m.DATA_LOSS, message="damaged"))
            return reply(answer)

        self.cluster.hook = damaged
        out, _ = self.run_tool("import", "--keep-going", self.path("in", self.jsonl(3, "new %d")), expect=3)
        self.assertIn(b"2 records acknowledged", out)
        self.assertEqual([self.stored(b"key-%04d" % i) for i in range(3)], [b"new 0", b"value 1", b"new 2"])

    def test_an_unknown_field_is_named(self):
        line = '{"key": "k", "value": "v", "expires": 5}\n'
        _, err = self.run_tool("import", self.path("in", line), expect=2)
        self.assertIn('in:1: there is no field "expires": a record has key or key_b64, and value or value_b64', err)
        self.assertEqual(self.cluster.objects, {})
        _, err = self.run_tool("import", self.path("in", '{"key": "k", "siblings": [], "context": ""}\n'), expect=2)
        self.assertIn("resolve them", err)

    def test_wrong_input_names_the_line(self):
        self.assertIn("in:2: no JSON", self.run_tool("import", self.path("in", self.jsonl(1) + "{oops\n"), expect=2)[1])
        self.assertIn("in:1: 'k': no value", self.run_tool("import", self.path("in", '{"key":"k"}\n'), expect=2)[1])
        self.assertIn("--state needs an input that is a file", self.run_tool("import", "--state", self.path("s"), "-", expect=2)[1])

    def test_a_line_without_an_end_is_not_read_for_ever(self):
        for form in ("jsonl", "debian", "keys"):
            command = ("import", "-f", form, "/dev/zero") if form != "keys" else ("export", "/dev/zero")
            self.assertIn("after line 0: the next one has more than 64 MiB", self.run_tool(*command, expect=2)[1])

    def test_export_does_not_destroy_its_list(self):
        self.run_tool("put", "k", "v")
        self.path("keys", "k\n")
        os.link(self.path("keys"), self.path("same"))
        os.symlink(self.path("keys"), self.path("link"))
        for name in ("keys", "same", "link"):
            _, err = self.run_tool("export", "--out", self.path(name), self.path("keys"), expect=2)
            self.assertIn("is the file of the keys, which would be lost", err)
        self.assertEqual(self.read("keys"), b"k\n")
        arguments = ("export", "--state", self.path("new"), "--out", self.path("new"), self.path("keys"))
        self.assertIn("is the file of the state", self.run_tool(*arguments, expect=2)[1])

    def test_patience_ends(self):
        arguments = ("-t", "300ms", "import", "--patience", "300ms", self.path("in", self.jsonl(3)))
        self.cluster.hook = lambda node, method, body: m.Response(code=m.UNAVAILABLE, message="no quorum today") if "BatchPut" in method else None
        _, err = self.run_tool(*arguments, expect=4)
        self.assertIn("stopped after 0 records", err)
        self.cluster.hook = lambda node, method, body: m.Response(code=m.UNAVAILABLE, message="no quorum today")
        for command in (arguments, ("export", *arguments[3:], "-f", "jsonl"), ("compare", *arguments[3:])):  # nothing was written
            self.assertIn("stopped after 0 records", self.run_tool(*command, expect=5)[1])

    def test_compare_tells_what_differs(self):
        self.run_tool("import", self.path("in", self.jsonl(20)))
        self.cluster.objects[(b"default", b"key-0003")].siblings[0] = (1, b"x", b"valve 3")
        del self.cluster.objects[(b"default", b"key-0007")]
        self.cluster.objects[(b"default", b"key-0009")].siblings.append((9, b"y", b"another"))
        out, err = self.run_tool("compare", self.path("in"), expect=1)
        self.assertIn("in:4: 'key-0003': differs at byte 3; 7 bytes in the input, 7 stored", err)
        self.assertIn("in:8: 'key-0007': not found", err)
        self.assertIn("in:10: 'key-0009': 2 concurrent values", err)
        self.assertIn(b"17 of 20 records are equal", out)
        self.assertIn(b"1 differ, 1 are missing, 1 have concurrent values", out)

    def test_compare_takes_a_sample(self):
        self.run_tool("import", self.path("in", self.jsonl(100)))
        self.assertEqual(self.run_json("compare", "--sample", "10", "--r", "3", self.path("in"))["equal"], 10)

    def test_answers_that_are_too_large_are_asked_for_in_halves(self):
        self.run_tool("import", "--batch", "8", self.path("in", self.jsonl(16, "%d" + "x" * 100)))

        def too_large(node, method, body):
            if method.endswith("/BatchGet") and len(m.BatchGetRequest.FromString(body).gets) > 3:
                return m.Response(code=m.RESOURCE_EXHAUSTED, message="the answer would be larger than 17 MiB")
            return None

        self.cluster.hook = too_large
        self.assertIn(b"16 of 16", self.run_tool("compare", "--batch", "8", self.path("in"))[0])

    def test_export_writes_what_import_takes(self):
        self.run_tool("import", self.path("in", self.jsonl(300) + '{"key_b64": "AP8", "value_b64": "_wA"}\n'))
        self.run_tool("export", "-f", "jsonl", "--out", self.path("out"), self.path("in"))
        exported = [json.loads(line) for line in self.read("out").splitlines()]
        self.assertEqual(len(exported), 301)
        self.assertEqual(exported[299], {"key": "key-0299", "value": "value 299"})
        self.assertEqual(exported[300], {"key_b64": "AP8", "value_b64": "_wA"})
        self.assertIn(b"301 of 301", self.run_tool("compare", self.path("out"))[0])

    def test_export_of_a_key_list_to_stdout(self):
        self.run_tool("put", "a", "1")
        self.run_tool("put", "b", "2")
        out, err = self.run_tool("export", "-", stdin=b"b\nnothing\na\n", expect=1)
        self.assertEqual(out, b'{"key":"b","value":"2"}\n{"key":"a","value":"1"}\n')
        self.assertIn("stdin:2: 'nothing': not found", err)

    def test_export_stanzas(self):
        stanzas = b"Package: a\nVersion: 1\n\nPackage: b\nVersion: 2\n\n"
        self.run_tool("import", "-f", "debian", self.path("in", stanzas))
        self.run_tool("export", "-f", "debian", "--as", "debian", "--out", self.path("out"), self.path("in"))
        self.assertEqual(self.read("out"), stanzas)

    def test_empty_values_go_in_and_out(self):
        line = '{"key":"empty","value":""}\n'
        self.run_tool("import", "--verify", self.path("in", line))
        self.assertEqual(self.run_tool("export", "-", stdin=b"empty\n")[0].decode(), line)
        self.run_tool("export", "--as", "debian", "-", stdin=b"empty\n")
        self.run_tool("put", "--blind", "empty", "full")
        self.assertIn(b"value 1 of 2, 0 bytes", self.run_tool("get", "empty")[0])

    def test_export_shows_siblings(self):
        self.run_tool("put", "--blind", "k", "1")
        self.run_tool("put", "--blind", "k", "2")
        out, err = self.run_tool("export", "-", stdin=b"k\n")
        self.assertEqual([s["value"] for s in json.loads(out)["siblings"]], ["1", "2"])
        self.assertIn("2 concurrent values", err)
        self.assertEqual(self.run_tool("export", "--as", "debian", "-", stdin=b"k\n")[0], b"")

    def test_export_goes_on_where_it_was_stopped(self):
        self.run_tool("import", self.path("in", self.jsonl(400)))
        keys = "".join("key-%04d\n" % i for i in range(400))
        arguments = ("export", "--batch", "20", "--outstanding", "2", "--state", self.path("state"), "--out", self.path("out"),
                     self.path("keys", keys))
        served = []

        def break_off(node, method, body):
            served.append(method)
            return m.Response(code=m.PERMISSION_DENIED, message="enough") if len(served) > 9 else None

        self.cluster.hook = break_off
        self.assertIn("enough", self.run_tool(*arguments, expect=3)[1])
        with open(self.path("out"), "ab") as out:
            out.write(b"half a line that a crash left behi")
        self.cluster.hook = None
        elsewhere = [self.path("elsewhere") if argument == self.path("out") else argument for argument in arguments]
        self.assertIn("elsewhere is not there, and the state file records", self.run_tool(*elsewhere, expect=2)[1])
        self.run_tool(*arguments)
        self.assertEqual([json.loads(line)["key"] for line in self.read("out").splitlines()], keys.split())


if __name__ == "__main__":
    unittest.main()
