/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/network.h"

#include <string.h>

/* Of the second copies: they come when all is long over. */
enum { STALE_PERMILLE = 250, STALE_MAX_US = 4 * 1000 * 1000 };

void network_init(struct network *network, uint32_t machine_count, const struct network_weather *weather,
		  struct sim_random random)
{
	memset(network, 0, sizeof *network);
	network->random = random;
	network->weather = *weather;
	network->machine_count = machine_count;
}

void network_cut(struct network *network, uint32_t from, uint32_t to, uint64_t now_us)
{
	struct network_link *link = &network->links[from][to];

	if (link->cut)
		return;
	link->cut = true;
	link->known_us = now_us + sim_random_below(&network->random, network->weather.detect_us + 1);
	network->cuts++;
}

void network_heal(struct network *network)
{
	memset(network->links, 0, sizeof network->links);
}

void network_calm(struct network *network)
{
	network_heal(network);
	network->weather.loss_permille = network->weather.duplicate_permille = network->weather.slow_permille = 0;
}

static bool direction_known_cut(const struct network_link *link, uint64_t now_us)
{
	return link->cut && now_us >= link->known_us;
}

bool network_is_known_cut(const struct network *network, uint32_t from, uint32_t to, uint64_t now_us)
{
	return direction_known_cut(&network->links[from][to], now_us) ||
	       direction_known_cut(&network->links[to][from], now_us);
}

uint64_t network_delay(struct network *network)
{
	const struct network_weather *weather = &network->weather;

	if (sim_random_permille(&network->random, weather->slow_permille))
		return sim_random_below(&network->random, weather->slow_us + 1);
	return 1 + sim_random_below(&network->random, 2 * weather->delay_us + 1);
}

static struct network_fate draw(struct network *network)
{
	struct network_fate fate = {.copies = 1};

	network->sent++;
	if (sim_random_permille(&network->random, network->weather.loss_permille))
		fate.copies = 0;
	else if (sim_random_permille(&network->random, network->weather.duplicate_permille))
		fate.copies = 2;
	for (uint32_t i = 0; i < fate.copies; i++)
		fate.delay_us[i] = network_delay(network);
	if (fate.copies == 2 && sim_random_permille(&network->random, STALE_PERMILLE))
		fate.delay_us[1] += sim_random_below(&network->random, STALE_MAX_US);
	return fate;
}

static void count(struct network *network, const struct network_fate *fate)
{
	network->lost += fate->copies == 0;
	network->duplicated += fate->copies == 2;
}

struct network_fate network_send(struct network *network, uint32_t from, uint32_t to)
{
	struct network_fate fate = draw(network);

	if (network->links[from][to].cut)
		fate.copies = 0;
	count(network, &fate);
	return fate;
}

struct network_fate network_send_client(struct network *network)
{
	struct network_fate fate = draw(network);

	if (fate.copies > 1)
		fate.copies = 1; /* a client's connection does not repeat */
	count(network, &fate);
	return fate;
}
