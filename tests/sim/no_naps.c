/* SPDX-License-Identifier: Apache-2.0 */
/* liburcu's reclaimer naps 10 ms after each batch, by a poll of nothing, and whoever destroys a ring table waits for
 * it: thousands of simulated restarts would be one long nap. Linked into the simulator's programs, where nothing else
 * polls. */
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

int poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
	return (int)syscall(SYS_poll, fds, count, count ? timeout_ms : 0);
}
