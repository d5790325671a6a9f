/* SPDX-License-Identifier: Apache-2.0 */
/* Moves: operators who let machines join and leave, replace and remove those that are away, change weights, and abort what they began,
 * while clients work and all else goes wrong. As kvctl does it: a plan first, then the plan that was shown is committed, maybe by
 * another machine. What no cluster can do is refused, and costs nothing. */
#include <string.h>
#include "node/membership/ring_change.h"
#include "tests/sim/world.h"

enum {
	MINUTE_US = 60 * 1000 * 1000,
	DEADLINE_MIN_US = 500 * 1000,
	DEADLINE_MAX_US = 8 * 1000 * 1000,
	PLAN_DEADLINE_US = 2 * 1000 * 1000,
	THINK_MAX_US = 2 * 1000 * 1000, /* between plan and commit */
	PICKS = 8,                      /* draws for a machine that suits */
	ABORT_PERMILLE = 150,
	MORE_PERMILLE = 300, /* one more change in the same plan */
	WEIGHT_MAX = 400,
};

static uint64_t draw(struct world *world, uint64_t bound)
{
	return sim_random_below(&world->fault_random, bound);
}

/* ---- what is wanted ---- */

enum wanted { WANTED_MEMBER, WANTED_MEMBER_AWAY, WANTED_STRANGER };

static bool suits(struct world *world, const struct machine *machine, enum wanted wanted)
{
	bool is_member = change_is_member(world, machine);

	switch (wanted) {
	case WANTED_MEMBER:
		return is_member;
	case WANTED_MEMBER_AWAY:
		return is_member && (machine->node == NULL || machine->stopped);
	case WANTED_STRANGER:
		return !is_member && machine->node != NULL;
	}
	return false;
}

/* The last one drawn when none suits: that is refused. */
static void draw_name(struct world *world, enum wanted wanted, char out[RING_NAME_MAX])
{
	const struct machine *machine = NULL;

	for (int i = 0; i < PICKS; i++) {
		machine = &world->machines[draw(world, world->settings.nodes)];
		if (suits(world, machine, wanted))
			break;
	}
	memset(out, 0, RING_NAME_MAX);
	memcpy(out, machine->name, sizeof machine->name);
}

static void draw_change(struct world *world, struct member_change *out)
{
	static const struct {
		enum change_kind kind;
		enum wanted node;
		uint32_t share;
	} kinds[] = {
		{CHANGE_JOIN, WANTED_STRANGER, 40},       {CHANGE_LEAVE, WANTED_MEMBER, 20},
		{CHANGE_REWEIGHT, WANTED_MEMBER, 15},     {CHANGE_DRAIN, WANTED_MEMBER, 5},
		{CHANGE_REPLACE, WANTED_MEMBER_AWAY, 10}, {CHANGE_REMOVE, WANTED_MEMBER_AWAY, 10},
	};
	uint64_t drawn = draw(world, 100);
	uint32_t i = 0;

	while (drawn >= kinds[i].share)
		drawn -= kinds[i++].share;
	*out = (struct member_change){.kind = kinds[i].kind};
	draw_name(world, kinds[i].node, out->node);
	if (out->kind == CHANGE_REPLACE)
		draw_name(world, WANTED_STRANGER, out->replacement);
	if (out->kind == CHANGE_REWEIGHT)
		out->weight = 1 + (uint32_t)draw(world, WEIGHT_MAX);
}

/* ---- asking ---- */

static void ask(struct world *world, enum message_type type, uint32_t number, uint64_t parent_hash, uint64_t plan_hash)
{
	struct machine *machine = &world->machines[draw(world, world->settings.nodes)];
	const struct move *move = &world->moves[number % MOVES_MAX];
	uint64_t wait_us =
		type == MESSAGE_PLAN_CHANGE ? PLAN_DEADLINE_US : DEADLINE_MIN_US + draw(world, DEADLINE_MAX_US);

	if (machine->node == NULL)
		return;
	struct arena *arena = rpc_arena_create(1024, SIZE_MAX);
	struct message *message = message_create(arena, type);

	if (type == MESSAGE_ABORT_CHANGE)
		message->abort_change = (struct abort_body){0};
	else
		message->change = (struct change_body){
			.changes = rpc_arena_copy(arena, move->changes, sizeof move->changes),
			.change_count = move->count,
			.parent_hash = parent_hash,
			.plan_hash = plan_hash,
			.allow_violations = draw(world, 2) == 0,
		};
	message->to = (struct address){machine->id, ACTOR_GOSSIP, 0};
	message->deadline_us = machine_now_us(machine) + wait_us;
	message->call = world; /* an operator's */
	message->correlation = number;
	rpc_arena_unref(arena);
	world_line(world, "%s is asked to %s", machine->name, message_type_name(type));
	machine_post(machine, message, 1);
}

static void plan_move(struct world *world)
{
	struct move *move = &world->moves[++world->move_number % MOVES_MAX];

	*move = (struct move){0};
	do
		draw_change(world, &move->changes[move->count++]);
	while (move->count < MOVE_CHANGES_MAX && draw(world, 1000) < MORE_PERMILLE);
	world->totals.moves_asked++;
	ask(world, MESSAGE_PLAN_CHANGE, world->move_number, 0, 0);
}

/* Who was a member comes back as a new node, with an empty disk: its own data is of another time. The operator waits until the
 * others know that it is none. */
static void wipe_leavers(struct world *world)
{
	if (!change_is_everywhere(world))
		return;
	for (uint32_t i = 0; i < world->settings.nodes; i++) {
		struct machine *machine = &world->machines[i];

		if (machine->node == NULL || machine->stopped || change_epoch(machine) == 0 ||
		    change_is_member(world, machine) || draw(world, 2) == 0)
			continue;
		machine_stop(machine);
		machine_wipe(machine);
		world->totals.wipes++;
	}
}

static void next_move(void *world_arg, void *arg, uint64_t number)
{
	struct world *world = world_arg;

	(void)arg;
	(void)number;
	if (!world->faults_on)
		return;
	wipe_leavers(world);
	if (draw(world, 1000) < ABORT_PERMILLE)
		ask(world, MESSAGE_ABORT_CHANGE, ++world->move_number, 0, 0);
	else
		plan_move(world);
	moves_begin(world);
}

void moves_begin(struct world *world)
{
	if (world->settings.move_rate > 0)
		schedule_in(&world->schedule, 1 + draw(world, 2 * (uint64_t)MINUTE_US / world->settings.move_rate),
			    next_move, NULL, 0, NULL);
}

/* ---- answers ---- */

static void commit_move(void *world_arg, void *arg, uint64_t number)
{
	struct world *world = world_arg;
	const struct move *move = &world->moves[number % MOVES_MAX];

	(void)arg;
	if (world->faults_on)
		ask(world, MESSAGE_COMMIT_CHANGE, (uint32_t)number, move->parent_hash, move->plan_hash);
}

void moves_answered(struct world *world, const struct message *answer)
{
	uint32_t number = (uint32_t)answer->correlation;
	struct move *move = &world->moves[number % MOVES_MAX];
	const struct change_plan_body *body = &answer->change_plan;

	if (body->code != RPC_CODE_OK) {
		world_line(world, "a change is refused: %s", body->text != NULL ? body->text : "");
	} else if (move->plan_hash == 0) {
		move->parent_hash = body->plan->parent_hash;
		move->plan_hash = body->plan->plan_hash;
		schedule_in(&world->schedule, 1 + draw(world, THINK_MAX_US), commit_move, NULL, number, NULL);
	} else {
		world->totals.moves_done++;
	}
}
