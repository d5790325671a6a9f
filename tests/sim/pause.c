/* SPDX-License-Identifier: Apache-2.0 */
/* Pauses: a machine whose process is stopped for a while (SIGSTOP, a frozen container), and then goes on. Its clock does
 * not stop. What it would have done meanwhile it does afterwards; what was sent to it waits in its sockets, and is read
 * when it goes on. */
#include <stdlib.h>
#include "tests/sim/world.h"

bool machine_holds(struct machine *machine, void (*run)(void *world, void *arg, uint64_t number), void *arg,
		   uint64_t number, void (*drop)(void *arg))
{
	if (!machine->stopped)
		return false;
	struct postponed *held = world_alloc(sizeof *held), **last = &machine->held;

	*held = (struct postponed){NULL, run, arg, number, drop};
	while (*last != NULL)
		last = &(*last)->next;
	*last = held;
	return true;
}

static struct postponed *take_held(struct machine *machine)
{
	struct postponed *held = machine->held;

	if (held != NULL)
		machine->held = held->next;
	return held;
}

void machine_forget_held(struct machine *machine)
{
	for (struct postponed *held; (held = take_held(machine)) != NULL; free(held))
		if (held->drop != NULL)
			held->drop(held->arg);
	machine->stopped = false;
	machine->pause_number++;
	machine->stall = (struct rpc_stall){0};
}

static void resume(void *world_arg, void *arg, uint64_t number)
{
	struct world *world = world_arg;
	struct machine *machine = arg;

	if (!machine->stopped || number != machine->pause_number)
		return;
	machine->stopped = false;
	machine->stall.end_us = world->schedule.now_us;
	world_line(world, "%s goes on", machine->name);
	for (struct postponed *held; (held = take_held(machine)) != NULL; free(held))
		schedule_in(&world->schedule, 0, held->run, held->arg, held->number, held->drop);
}

void machine_pause(struct machine *machine, uint64_t length_us)
{
	struct world *world = machine->world;

	if (machine->stopped)
		return;
	machine->stopped = true;
	machine->stall.begin_us = world->schedule.now_us;
	machine->stall.end_us = 0;
	world->totals.pauses++;
	world_line(world, "%s is stopped for %.3f ms", machine->name, (double)length_us / 1000);
	schedule_in(&world->schedule, length_us, resume, machine, ++machine->pause_number, NULL);
}

void machine_resume(struct machine *machine)
{
	if (machine->stopped)
		resume(machine->world, machine, machine->pause_number);
}

/* The connection of a sender's present life: what came fastest by it shows how far its clock is apart. */
uint64_t machine_sent_us(struct machine *machine, struct connection_age *connection, uint32_t sender_boot,
			 uint64_t sent_us)
{
	uint64_t age_us, now_us = machine_now_us(machine), virtual_us = machine->world->schedule.now_us;

	if (connection->sender_boot != sender_boot || connection->receiver_boot != machine->boot)
		*connection = (struct connection_age){.sender_boot = sender_boot, .receiver_boot = machine->boot};
	if (!rpc_age_take(&connection->age, sent_us, virtual_us, &age_us))
		age_us = rpc_stall_age(&machine->stall, 0, virtual_us);
	return age_us < now_us ? now_us - age_us : 0;
}
