/* SPDX-License-Identifier: Apache-2.0 */
/* Changes of the ring while all else goes on: operators say in which racks machines stand, often several at once. Of each epoch all
 * machines install one document, and in the end they have the same one. */
#include <stdio.h>
#include <string.h>
#include "tests/sim/world.h"

enum { MINUTE_US = 60 * 1000 * 1000, DEADLINE_MIN_US = 500 * 1000, DEADLINE_MAX_US = 8 * 1000 * 1000 };

static uint64_t draw(struct world *world, uint64_t bound)
{
	return sim_random_below(&world->fault_random, bound);
}

static void ask_for_change(struct world *world, struct machine *machine)
{
	struct arena *arena = rpc_arena_create(1024, SIZE_MAX);
	struct message *message = message_create(arena, MESSAGE_SET_RACK);
	const struct machine *moved = &world->machines[draw(world, world->settings.nodes)];

	snprintf(message->set_rack.node, sizeof message->set_rack.node, "%s", moved->name);
	snprintf(message->set_rack.rack, sizeof message->set_rack.rack, "x%u", (unsigned)draw(world, 1000));
	message->to = (struct address){machine->id, ACTOR_GOSSIP, 0};
	message->deadline_us = machine_now_us(machine) + DEADLINE_MIN_US + draw(world, DEADLINE_MAX_US);
	message->call = world; /* an operator's */
	message->correlation = 1;
	rpc_arena_unref(arena);
	world->totals.changes_asked++;
	world_line(world, "%s is asked for a change of the ring", machine->name);
	machine_post(machine, message, 1);
}

static void next_change(void *world_arg, void *arg, uint64_t number)
{
	struct world *world = world_arg;
	uint32_t count = 1 + (uint32_t)draw(world, 3);

	(void)arg;
	(void)number;
	if (!world->faults_on)
		return;
	for (uint32_t i = 0; i < count; i++) {
		struct machine *machine = &world->machines[draw(world, world->settings.nodes)];

		if (machine->node != NULL)
			ask_for_change(world, machine);
	}
	change_begin(world);
}

void change_begin(struct world *world)
{
	if (world->settings.change_rate > 0)
		schedule_in(&world->schedule, 1 + draw(world, 2 * (uint64_t)MINUTE_US / world->settings.change_rate),
			    next_change, NULL, 0, NULL);
}

void change_answered(struct world *world, const struct message *answer)
{
	world->totals.changes_done += answer->cluster_inited.code == RPC_CODE_OK;
}

void change_watch(struct world *world, const struct machine *machine, const struct note *notes)
{
	for (const struct note *note = notes; note != NULL; note = note->next) {
		uint64_t epoch = note->count;

		if (note->kind != NOTE_RING_INSTALLED || epoch >= SIM_EPOCHS_MAX)
			continue;
		if (world->ring_of_epoch[epoch] == 0)
			world->ring_of_epoch[epoch] = note->hash;
		if (world->ring_of_epoch[epoch] != note->hash)
			world_break(world, ORACLE_NONE,
				    "%s installed another ring document of epoch %u than others did", machine->name,
				    (unsigned)epoch);
		if (epoch > world->last_epoch)
			world->last_epoch = epoch;
	}
}

uint64_t change_epoch(const struct machine *machine)
{
	const struct ring_view *view;
	uint64_t epoch;

	if (machine->node == NULL)
		return 0;
	view = ring_view_acquire(machine->node->ring);
	epoch = view->document != NULL ? ring_epoch(view->document) : 0;
	ring_view_release(machine->node->ring, view);
	return epoch;
}

/* Whether that is the last word: no step is to follow. */
static bool is_over(const struct machine *machine)
{
	const struct ring_view *view = ring_view_acquire(machine->node->ring);
	bool over = view->document != NULL && ring_transition(view->document) == RING_STABLE;

	for (uint32_t i = 0; over && i < ring_member_count(view->document); i++)
		over = ring_member(view->document, i)->state != RING_MEMBER_LEAVING;
	ring_view_release(machine->node->ring, view);
	return over;
}

bool change_is_member(struct world *world, const struct machine *machine)
{
	for (uint32_t i = 0; i < world->settings.nodes; i++) {
		const struct machine *other = &world->machines[i];

		if (change_epoch(other) != world->last_epoch)
			continue;
		const struct ring_view *view = ring_view_acquire(other->node->ring);
		bool is = ring_member_find(view->document, machine->id) >= 0;
		ring_view_release(other->node->ring, view);
		return is;
	}
	return true;
}

bool change_is_everywhere(struct world *world)
{
	for (uint32_t i = 0; i < world->settings.nodes; i++) {
		const struct machine *machine = &world->machines[i];

		if (machine->node == NULL)
			return false;
		if (change_is_member(world, machine) &&
		    (change_epoch(machine) != world->last_epoch || !is_over(machine)))
			return false;
	}
	return true;
}
