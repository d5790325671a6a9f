/* The bus: one BUS socket that listens and dials. One hop, best effort: a peer whose queue is full misses a message. */
#include "internal.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <nng/protocol/bus0/bus.h>

/* NNG's own: 16 messages to send per connection, 1 received. */
enum { BUS_QUEUE_MESSAGES = 256 };

struct bus_dialer {
	nng_dialer nng;
	struct bus_dialer *next;
	char address[];
};

struct rpc_bus {
	struct rpc_bus_options options;
	nng_socket socket;
	nng_aio *receive_aio;
	uint16_t port;
	struct bus_dialer *dialers; /* owned by the main thread */
};

static void on_received(void *arg)
{
	struct rpc_bus *bus = arg;
	int code = nng_aio_result(bus->receive_aio);
	if (code == NNG_ECLOSED || code == NNG_ECANCELED)
		return;
	if (code == 0) {
		nng_msg *nng = nng_aio_get_msg(bus->receive_aio);
		nng_aio_set_msg(bus->receive_aio, NULL);
		struct rpc_message *message = rpc_message_create(nng_msg_len(nng));
		if (message != NULL) {
			memcpy(message->bytes, nng_msg_body(nng), message->size);
			bus->options.on_message(bus->options.arg, message);
		}
		nng_msg_free(nng);
	}
	nng_recv_aio(bus->socket, bus->receive_aio);
}

/* Options are inherited by listeners and dialers: they are set before either. */
static int socket_set_options(nng_socket socket, size_t message_max)
{
	/* NNG's default is no limit: 16 bytes from anyone made it reserve 16 GiB. */
	int code = nng_socket_set_size(socket, NNG_OPT_RECVMAXSZ, message_max);
	if (code == 0)
		code = nng_socket_set_int(socket, NNG_OPT_RECVBUF, BUS_QUEUE_MESSAGES);
	if (code == 0)
		code = nng_socket_set_int(socket, NNG_OPT_SENDBUF, BUS_QUEUE_MESSAGES);
	if (code == 0)
		code = nng_socket_set_bool(socket, NNG_OPT_TCP_NODELAY, true);
	if (code == 0)
		code = nng_socket_set_bool(socket, NNG_OPT_TCP_KEEPALIVE, true);
	if (code == 0)
		code = nng_socket_set_ms(socket, NNG_OPT_RECONNMINT, RPC_RECONNECT_MIN_MS);
	if (code == 0)
		code = nng_socket_set_ms(socket, NNG_OPT_RECONNMAXT, RPC_RECONNECT_MAX_MS);
	return code;
}

static int bus_listen(struct rpc_bus *bus, struct rpc_error *error_out)
{
	char url[RPC_URL_MAX];
	int port, status = address_to_url(bus->options.address, true, url, error_out);
	if (status < 0)
		return status;
	nng_listener listener;
	int code = nng_listen(bus->socket, url, &listener, 0);
	if (code == 0)
		code = nng_listener_get_int(listener, NNG_OPT_TCP_BOUND_PORT, &port);
	if (code != 0)
		return address_listen_failed(code, bus->options.address, error_out);
	bus->port = (uint16_t)port;
	return 0;
}

static int bus_start(struct rpc_bus *bus, struct rpc_error *error_out)
{
	int code = socket_set_options(bus->socket, bus->options.message_max);
	if (code == 0)
		code = nng_aio_alloc(&bus->receive_aio, on_received, bus);
	if (code != 0)
		return error_set(error_out, error_from_nng(code), "cannot set up the bus: %s", nng_strerror(code));
	int status = bus->options.address == NULL ? 0 : bus_listen(bus, error_out);
	if (status == 0)
		nng_recv_aio(bus->socket, bus->receive_aio);
	return status;
}

int rpc_bus_open(const struct rpc_bus_options *options, struct rpc_bus **out, struct rpc_error *error_out)
{
	assert(options->on_message != NULL && options->message_max > 0);
	struct rpc_bus *bus = calloc(1, sizeof(*bus));
	if (bus == NULL)
		return error_set(error_out, -ENOMEM, "out of memory");
	bus->options = *options;
	int code = nng_bus0_open(&bus->socket);
	if (code != 0) {
		free(bus);
		return error_set(error_out, error_from_nng(code), "cannot open a socket: %s", nng_strerror(code));
	}
	int status = bus_start(bus, error_out);
	if (status < 0) {
		rpc_bus_close(&bus);
		return status;
	}
	*out = bus;
	return 0;
}

uint16_t rpc_bus_port(const struct rpc_bus *bus)
{
	return bus->port;
}

void rpc_bus_close(struct rpc_bus **pointer)
{
	struct rpc_bus *bus = *pointer;
	if (bus == NULL)
		return;
	*pointer = NULL;
	nng_close(bus->socket);
	if (bus->receive_aio != NULL)
		nng_aio_free(bus->receive_aio); /* waits for on_message */
	while (bus->dialers != NULL) {
		struct bus_dialer *next = bus->dialers->next;
		free(bus->dialers);
		bus->dialers = next;
	}
	free(bus);
}

static struct bus_dialer **dialer_find(struct rpc_bus *bus, const char *address)
{
	struct bus_dialer **at = &bus->dialers;
	while (*at != NULL && strcmp((*at)->address, address) != 0)
		at = &(*at)->next;
	return at;
}

int rpc_bus_dial(struct rpc_bus *bus, const char *address)
{
	char url[RPC_URL_MAX];
	int status = address_to_url(address, false, url, NULL);
	if (status < 0 || *dialer_find(bus, address) != NULL)
		return status;
	struct bus_dialer *dialer = malloc(sizeof(*dialer) + strlen(address) + 1);
	if (dialer == NULL)
		return -ENOMEM;
	strcpy(dialer->address, address);
	int code = nng_dial(bus->socket, url, &dialer->nng, NNG_FLAG_NONBLOCK);
	if (code != 0) {
		free(dialer);
		return error_from_nng(code);
	}
	dialer->next = bus->dialers;
	bus->dialers = dialer;
	return 0;
}

void rpc_bus_hang_up(struct rpc_bus *bus, const char *address)
{
	struct bus_dialer **at = dialer_find(bus, address);
	struct bus_dialer *dialer = *at;
	if (dialer == NULL)
		return;
	*at = dialer->next;
	nng_dialer_close(dialer->nng);
	free(dialer);
}

void rpc_bus_send(struct rpc_bus *bus, struct rpc_message *message)
{
	nng_msg *nng;
	if (nng_msg_alloc(&nng, message->size) == 0) {
		memcpy(nng_msg_body(nng), message->bytes, message->size);
		/* Never waits: the queue of a connection has room, or the message is lost, as on a bus. */
		if (nng_sendmsg(bus->socket, nng, NNG_FLAG_NONBLOCK) != 0)
			nng_msg_free(nng);
	}
	rpc_message_free(message);
}
