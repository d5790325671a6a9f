/* SPDX-License-Identifier: Apache-2.0 */
#include "node/membership/standing.h"

#include <stddef.h>

const char *standing_refusal(const struct ring_view *view)
{
	if (view->document == NULL)
		return "this node is in no cluster: ask another node. Is its data directory mounted? "
		       "A new cluster is made by `kvctl cluster init`";
	if (view->self < 0)
		return "this node is no member of the cluster any more: others own its data, so it can be stopped; ask "
		       "another node";
	if (view->status[view->self].displaced)
		return "another process goes by this node's id, so this one has stopped: ask another node. One of "
		       "their data "
		       "directories is a copy or was restored: stop that one for good, then start the other again";
	if (view->status[view->self].held)
		return "another process may go by this node's id, which shows within seconds: ask another node. If "
		       "this node's "
		       "data directory is a copy or was restored, that is why";
	return NULL;
}
