/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/node/support.h"

#include <errno.h>
#include <unistd.h>
#include "node/observe/notes.h"
#include "node/wire/codec.h"
#include "proto/event.pb-c.h"

enum { SECOND_US = 1000 * 1000 };

static int pipe_fds[2];
static char line[LOG_LINE_MAX + 1];

/* The line that the note made, without time, level and name; empty when it was left out. */
static const char *tell(struct notes *notes, const struct note *note, uint64_t now_us, bool *is_event_out,
			struct node_event *event_out)
{
	*is_event_out = notes_tell(notes, note, now_us, event_out);
	assert_int_equal(write(pipe_fds[1], "\n", 1), 1); /* an end also for no line */
	ssize_t size = read(pipe_fds[0], line, sizeof line - 1);
	assert_true(size >= 1);
	line[size - 1] = 0;
	const char *start = strstr(line, " t ");
	return start == NULL ? "" : start + 3;
}

static int set_up(void **state)
{
	(void)state;
	if (pipe(pipe_fds) != 0)
		return -1;
	log_open("t", LOG_LEVEL_DEBUG);
	log_to(pipe_fds[1]);
	return 0;
}

static void test_each_change_of_a_member_is_told(void **state)
{
	struct notes notes = {0};
	struct note note = {.kind = NOTE_MEMBER_UP, .id = 0xab, .count = 3, .name = "n2"};
	struct node_event event;
	bool is_event;
	(void)state;
	for (int i = 0; i < 2; i++) {
		assert_string_equal(tell(&notes, &note, SECOND_US, &is_event, &event),
				    "gossip: member up peer=n2 id=00000000000000ab incarnation=3\n");
		assert_true(is_event);
		assert_int_equal(event.type, NODE_EVENT_MEMBER_CHANGED);
		assert_int_equal(event.id, 0xab);
		assert_string_equal(event.name, "n2");
		assert_string_equal(event.state, "up");
	}
	note = (struct note){.kind = NOTE_MEMBER_UNREACHABLE, .id = 0xab, .name = "n2"};
	assert_non_null(strstr(tell(&notes, &note, SECOND_US, &is_event, &event), "not heard of since"));
	assert_string_equal(event.state, "unreachable");
}

static void test_a_refused_ring_names_its_sender(void **state)
{
	struct notes notes = {0};
	struct note note = {.kind = NOTE_RING_REFUSED, .id = 0xab, .count = 1, .name = "n2", .text = "one was forced"};
	struct node_event event;
	bool is_event;
	(void)state;
	assert_string_equal(
		tell(&notes, &note, SECOND_US, &is_event, &event),
		"gossip: refused a ring document from=n2 id=00000000000000ab why=\"one was forced\" count=1\n");
	assert_string_equal(tell(&notes, &note, 2 * SECOND_US, &is_event, &event), "");
	note.name = note.text = NULL; /* without memory */
	assert_non_null(strstr(tell(&notes, &note, 62 * SECOND_US, &is_event, &event), "from=unknown id="));
}

static void test_autoscale_says_why(void **state)
{
	struct notes notes = {0};
	struct note note = {
		.kind = NOTE_AUTOSCALE_PROPOSES, .id = 0xab, .count = 7, .name = "join n4", .text = "it is hot"};
	struct node_event event;
	struct rpc_message *message;
	bool is_event;

	(void)state;
	assert_string_equal(
		tell(&notes, &note, SECOND_US, &is_event, &event),
		"autoscale: proposes change=\"join n4\" epoch=7 why=\"it is hot\"; `kvctl cluster` makes it, "
		"nothing else does\n");
	assert_true(is_event);
	assert_int_equal(event.type, NODE_EVENT_AUTOSCALE);
	assert_int_equal(event.id, 0xab);
	assert_string_equal(event.name, "join n4");
	assert_string_equal(event.text, "it is hot");
	assert_string_equal(event.state, "proposed");
	event.node_id = 1;
	assert_int_equal(codec_event_encode(&event, &message), 0);
	Kvring__V1__Event *read =
		kvring__v1__event__unpack(NULL, rpc_message_bytes(message).size, rpc_message_bytes(message).data);
	assert_int_equal(read->what_case, KVRING__V1__EVENT__WHAT_AUTOSCALE);
	assert_string_equal(read->autoscale->change, "join n4");
	assert_string_equal(read->autoscale->why, "it is hot");
	assert_string_equal(read->autoscale->state, "proposed");
	assert_int_equal(read->autoscale->member, 0xab);
	kvring__v1__event__free_unpacked(read, NULL);
	rpc_message_free(message);
	note.kind = NOTE_AUTOSCALE_APPLIES;
	assert_non_null(strstr(tell(&notes, &note, SECOND_US, &is_event, &event), "changes the members change="));
	assert_string_equal(event.state, "applied");
	note.kind = NOTE_AUTOSCALE_CANNOT;
	assert_non_null(strstr(tell(&notes, &note, SECOND_US, &is_event, &event), "cannot change the members"));
	assert_string_equal(event.state, "impossible");
}

/* What comes often is told once per interval, and counted in with the next line. */
static void test_what_comes_often_is_held_back(void **state)
{
	struct notes notes = {0};
	struct note note = {.kind = NOTE_FOREIGN, .count = 2}, other = {.kind = NOTE_CONFLICT, .count = 1};
	struct node_event event;
	bool is_event;
	(void)state;
	assert_non_null(strstr(tell(&notes, &note, SECOND_US, &is_event, &event), "count=2\n"));
	assert_false(is_event);
	assert_string_equal(tell(&notes, &note, 2 * SECOND_US, &is_event, &event), "");
	assert_string_equal(tell(&notes, &note, 3 * SECOND_US, &is_event, &event), "");
	assert_non_null(
		strstr(tell(&notes, &other, 4 * SECOND_US, &is_event, &event), "count=1\n")); /* kinds stand alone */
	assert_non_null(strstr(tell(&notes, &note, 62 * SECOND_US, &is_event, &event), "count=6\n"));
	assert_string_equal(tell(&notes, &note, 63 * SECOND_US, &is_event, &event), "");
}

static void test_requests(void **state)
{
	struct notes notes = {0};
	struct note slow = {.kind = NOTE_SLOW_REQUEST, .count = 700000, .id = 0xabc, .method = METHOD_PUT};
	struct note overload = {.kind = NOTE_OVERLOAD, .count = 5, .text = "no room"};
	struct note large = {.kind = NOTE_LARGE_VALUE, .count = 300000, .key = {(const uint8_t *)"a\"\x01z", 4}};
	struct node_event event;
	bool is_event;
	(void)state;
	assert_string_equal(
		tell(&notes, &slow, SECOND_US, &is_event, &event),
		"coordinator: slow request method=kvring.v1.Kv/Put ms=700 trace=0000000000000abc suppressed=0\n");
	assert_true(is_event);
	assert_string_equal(event.name, "kvring.v1.Kv/Put");
	assert_int_equal(event.count, 700000);
	assert_string_equal(tell(&notes, &overload, SECOND_US, &is_event, &event),
			    "coordinator: overload refused=5 suppressed=0 why=\"no room\"\n");
	assert_string_equal(event.name, "no room");
	assert_int_equal(event.count, 5);
	assert_non_null(
		strstr(tell(&notes, &large, SECOND_US, &is_event, &event), "key=\"a\\x22\\x01z\" bytes=300000"));
	assert_false(is_event);
}

static void test_the_disk(void **state)
{
	struct notes notes = {0};
	struct note full = {.kind = NOTE_LOG_FULL, .shard = 3, .error = -ENOSPC};
	struct note dead = {.kind = NOTE_LOG_FAILED, .shard = 3, .error = -EIO, .text = "sync failed"};
	struct note damage = {.kind = NOTE_QUARANTINED, .shard = 1, .count = 2, .text = "checksum"};
	struct node_event event;
	bool is_event;
	(void)state;
	assert_non_null(strstr(tell(&notes, &full, SECOND_US, &is_event, &event), "no space for the log shard=3"));
	assert_string_equal(tell(&notes, &full, 2 * SECOND_US, &is_event, &event), "");
	assert_non_null(strstr(tell(&notes, &dead, 3 * SECOND_US, &is_event, &event), "why=\"sync failed\""));
	assert_non_null(strstr(tell(&notes, &damage, SECOND_US, &is_event, &event), "quarantined_partitions=2"));
	damage.count = 0;
	assert_non_null(strstr(tell(&notes, &damage, SECOND_US, &is_event, &event), "no partition is quarantined"));
}

static void test_every_kind_has_its_words(void **state)
{
	(void)state;
	for (enum note_kind kind = 0; kind < NOTE_KIND_COUNT; kind++) {
		struct notes notes = {0};
		struct note note = {.kind = kind, .name = "n2", .error = -EIO};
		struct node_event event;
		bool is_event;
		const char *text = tell(&notes, &note, SECOND_US, &is_event, &event);
		assert_true(strlen(text) > 10);
		assert_null(strstr(text, "(null)"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_change_of_a_member_is_told),
		cmocka_unit_test(test_a_refused_ring_names_its_sender),
		cmocka_unit_test(test_autoscale_says_why),
		cmocka_unit_test(test_what_comes_often_is_held_back),
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_the_disk),
		cmocka_unit_test(test_every_kind_has_its_words),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
