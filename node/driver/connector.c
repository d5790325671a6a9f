/* SPDX-License-Identifier: Apache-2.0 */
#include "node/driver/connector.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "node/observe/log.h"

enum { LINK_INTERVAL_US = 10 * 1000 * 1000 };

struct connector_link {
	struct contact contact;
	bool is_told_up; /* connected, as the log has it */
	struct log_limit limit;
};

int connector_init(struct connector *self, struct peers *peers, struct rpc_bus *bus)
{
	*self = (struct connector){.peers = peers, .bus = bus};
	lock_init(&self->lock);
	self->control = eventfd(0, EFD_CLOEXEC);
	return self->control < 0 ? -errno : 0;
}

NOT_CHECKED void connector_fini(struct connector *self)
{
	if (self->peers == NULL)
		return; /* was never opened */
	if (self->control >= 0)
		close(self->control);
	free(self->wanted);
	free(self->dialled);
	lock_fini(&self->lock);
}

/* Without memory nothing changes until gossip wants something else; links that are there stay. */
void connector_want(struct connector *self, const struct contacts *contacts)
{
	struct contact *wanted = malloc((contacts->count + 1) * sizeof *wanted);
	if (wanted == NULL)
		return;
	if (contacts->count > 0)
		memcpy(wanted, contacts->list, contacts->count * sizeof *wanted);
	lock_take(&self->lock);
	free(self->wanted);
	self->wanted = wanted;
	self->wanted_count = contacts->count;
	lock_release(&self->lock);
	(void)!eventfd_write(self->control, 1);
}

/* NULL: nothing new. */
static struct contact *take_wanted(struct connector *self, uint32_t *count_out)
{
	eventfd_t ignored;
	(void)!eventfd_read(self->control, &ignored);
	lock_take(&self->lock);
	struct contact *wanted = self->wanted;
	*count_out = self->wanted_count;
	self->wanted = NULL;
	self->wanted_count = 0;
	lock_release(&self->lock);
	return wanted;
}

/* ---- dialling ----------------------------------------------------------------------------------------------- */

static const struct connector_link *find(const struct connector *self, uint64_t node_id)
{
	for (uint32_t i = 0; i < self->dialled_count; i++)
		if (self->dialled[i].contact.node_id == node_id)
			return &self->dialled[i];
	return NULL;
}

static bool has_bus_address(const struct contact *contacts, uint32_t count, const char *address)
{
	for (uint32_t i = 0; i < count; i++)
		if (contacts[i].bus && strcmp(contacts[i].bus_address, address) == 0)
			return true;
	return false;
}

static void hang_up_others(const struct connector *self, const struct contact *wanted, uint32_t count)
{
	for (uint32_t i = 0; i < self->dialled_count; i++) {
		const struct contact *contact = &self->dialled[i].contact;
		if (contact->bus && !has_bus_address(wanted, count, contact->bus_address))
			rpc_bus_hang_up(self->bus, contact->bus_address);
	}
}

static void dial(const struct connector *self, const struct contact *contact, const struct connector_link *old)
{
	struct rpc_error why = {""};
	bool is_known = old != NULL && strcmp(old->contact.peer_address, contact->peer_address) == 0;
	bool on_bus = old != NULL && old->contact.bus && strcmp(old->contact.bus_address, contact->bus_address) == 0;
	if (!is_known)
		log_debug("peers: dialling peer=%s id=%016" PRIx64 " address=%s", contact->name, contact->node_id,
			  contact->peer_address);
	if (peers_set(self->peers, contact->node_id, contact->peer_address, &why) < 0)
		log_warn("peers: cannot dial peer=%016" PRIx64 " address=%s: %s", contact->node_id,
			 contact->peer_address, why.text);
	if (contact->bus && !on_bus && rpc_bus_dial(self->bus, contact->bus_address) < 0)
		log_warn("peers: cannot dial the bus of peer=%016" PRIx64 " address=%s", contact->node_id,
			 contact->bus_address);
}

void connector_dial(struct connector *self)
{
	uint32_t count;
	struct contact *wanted = take_wanted(self, &count);
	struct connector_link *links = wanted == NULL ? NULL : calloc(count + 1, sizeof *links);
	if (links == NULL) {
		free(wanted);
		return;
	}
	hang_up_others(self, wanted, count);
	for (uint32_t i = 0; i < count; i++) {
		const struct connector_link *old = find(self, wanted[i].node_id);
		dial(self, &wanted[i], old);
		if (old != NULL)
			links[i] = *old;
		links[i].contact = wanted[i];
	}
	free(wanted);
	free(self->dialled);
	self->dialled = links;
	self->dialled_count = count;
}

/* ---- telling ------------------------------------------------------------------------------------------------ */

/* Looked at now and then rather than told by NNG's threads, which only enqueue. A link that flaps is told at most so
 * often, and its last state is always told. */
void connector_tell(struct connector *self, uint64_t now_us)
{
	for (uint32_t i = 0; i < self->dialled_count; i++) {
		struct connector_link *told = &self->dialled[i];
		const struct rpc_link *link = peers_link(self->peers, told->contact.node_id);
		bool connected = link != NULL && rpc_link_connected(link);
		uint32_t suppressed;
		if (!told->contact.is_member || connected == told->is_told_up ||
		    !log_limit_pass(&told->limit, now_us, LINK_INTERVAL_US, &suppressed))
			continue;
		told->is_told_up = connected;
		if (connected)
			log_info("peers: link connected peer=%s id=%016" PRIx64, told->contact.name,
				 told->contact.node_id);
		else
			log_warn("peers: link lost peer=%s id=%016" PRIx64 "; it is dialled again", told->contact.name,
				 told->contact.node_id);
	}
}
