/* SPDX-License-Identifier: Apache-2.0 */
/* Figures of node/README.md: how fast gossip finds a crash, how often it is wrong, what it costs. The real gossip and detector
 * over a network in virtual time. Prints a table; fails only when it cannot run.
 *
 * Arguments: counts of nodes. Default: 3 10 100. 1000 takes some minutes. */
#include <stdlib.h>
#include "tests/node/membership/net.h"

enum {
	STRANGER_ROUNDS = 5, /* before there is a cluster */
	WARM_ROUNDS = 20,
	ASKED_EACH_ROUND = 8, /* GOSSIP_ASK_MAX: after a start all members are asked what they keep of it */
	CALM_ROUNDS = 50,     /* in which nobody has failed: of these the bytes, and the false alarms */
	CRASH_ROUNDS_MAX = 400,
	NODE_TRIALS = 400, /* crashes are tried so often, divided by the nodes, 2 times at least and 20 at most */
};

struct figures {
	uint32_t trials, rounds_max, rounds_sum, first_sum;
	uint64_t false_down, false_unreachable; /* nodes that were found so, times rounds that it lasted */
	uint64_t calm_rounds;
	struct sent sent[SENT_KIND_COUNT]; /* in them */
};

static void count_false(struct figures *figures)
{
	for (uint32_t i = 0; i < net->node_count; i++) {
		struct glance glance = look(i);

		figures->false_down += glance.down;
		figures->false_unreachable += glance.unreachable;
	}
}

static void be_calm(struct figures *figures)
{
	net->weigh = net->busy = true;
	for (uint32_t round = 0; round < CALM_ROUNDS; round++) {
		run_for(ROUND_US);
		count_false(figures);
	}
	net->weigh = false;
	memcpy(figures->sent, net->sent, sizeof figures->sent);
	figures->calm_rounds += CALM_ROUNDS;
}

static uint32_t count_who_knows(uint32_t crashed)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < net->node_count; i++)
		count += i != crashed && sees(i, crashed) == RING_DOWN;
	return count;
}

static void crash(uint32_t crashed, struct figures *figures)
{
	uint32_t rounds = 0, known = 0, first = 0;

	stop_node(crashed);
	while (known < net->node_count - 1) {
		assert_true(++rounds <= CRASH_ROUNDS_MAX);
		run_for(ROUND_US);
		known = count_who_knows(crashed);
		if (first == 0 && known > 0)
			first = rounds;
	}
	figures->trials++;
	figures->first_sum += first;
	figures->rounds_sum += rounds;
	figures->rounds_max = rounds > figures->rounds_max ? rounds : figures->rounds_max;
	start_node(crashed);
	run_for(WARM_ROUNDS * ROUND_US);
}

static void print_line(const struct figures *figures, uint32_t nodes, uint32_t loss_percent)
{
	double seconds = (double)figures->calm_rounds * ROUND_US / 1e6, scale = 1 / (nodes * seconds * 1000), all = 0;

	for (uint32_t i = 0; i < SENT_KIND_COUNT; i++)
		all += (double)(figures->sent[i].rows + figures->sent[i].beats) * scale;
	printf("%6u %5u %% %6.1f %6.1f %5u %8.2f %8.2f %8.1f", nodes, loss_percent,
	       (double)figures->first_sum / figures->trials, (double)figures->rounds_sum / figures->trials,
	       figures->rounds_max, (double)figures->false_down * ROUND_US / 1e6 / seconds,
	       (double)figures->false_unreachable * ROUND_US / 1e6 / seconds, all);
	for (uint32_t i = 0; i < SENT_KIND_COUNT; i++)
		printf(" %6.1f + %5.1f", (double)figures->sent[i].rows * scale, (double)figures->sent[i].beats * scale);
	putchar('\n');
}

static void measure(uint32_t nodes, uint32_t loss_percent)
{
	struct figures figures = {0};
	uint32_t trials = NODE_TRIALS / nodes < 2 ? 2 : NODE_TRIALS / nodes > 20 ? 20 : NODE_TRIALS / nodes;

	open_net(nodes, 77 + loss_percent);
	run_for(STRANGER_ROUNDS * ROUND_US);
	assert_int_equal(init_cluster(0, 0, nodes), KVRING__V1__CODE__OK);
	run_for((WARM_ROUNDS + nodes / ASKED_EACH_ROUND) * ROUND_US);
	net->loss_percent = loss_percent;
	be_calm(&figures);
	for (uint32_t i = 0; i < trials; i++)
		crash((uint32_t)prng_below(&net->prng, nodes), &figures);
	print_line(&figures, nodes, loss_percent);
	close_net();
}

static void print_table(void **state)
{
	const uint32_t *counts = *state;

	printf("rounds of %u ms, timeout %u ms; false: nodes wrongly seen so, over all observers, at any moment\n"
	       "kB/s sent by each node: all, and of it rows + beats by the bus, in pulls, in brief questions, in "
	       "answers\n\n"
	       "%6s %7s %6s %6s %5s %8s %8s %8s %14s %14s %14s %14s\n",
	       ROUND_US / 1000, TIMEOUT_US / 1000, "nodes", "loss", "first", "all", "max", "down", "unreach.", "kB/s",
	       "bus", "pulls", "brief", "answers");
	for (; *counts > 0; counts++)
		for (uint32_t loss = 0; loss <= 30; loss += loss == 0 ? 10 : 20)
			if (*counts > 2)
				measure(*counts, loss);
}

int main(int argc, char **argv)
{
	uint32_t counts[16] = {3, 10, 100};

	for (int i = 1; i < argc && i < 15; i++) {
		counts[i - 1] = (uint32_t)strtoul(argv[i], NULL, 10);
		counts[i] = 0;
		if (counts[i - 1] > NODES_MAX)
			return fprintf(stderr, "bench_gossip: at most %d nodes\n", NODES_MAX), 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	const struct CMUnitTest tests[] = {cmocka_unit_test_prestate(print_table, counts)};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
