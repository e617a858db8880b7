/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * A persistence template controls the connections that were made from it, and
 * outlives them. Its timer is started by each of them; if it ends while there
 * is one, the template gets another minute, again and again (ip_vs_conn.c:
 * ip_vs_conn_expire()).
 *
 * There are no timers here. Whoever looks at a template takes one that is over,
 * but still controls connections, as living on. A connection's end, which is
 * noted late but with the tick at which it came, says until when the template
 * certainly lived on, and so when its timer ends next.
 */
#ifndef LVSX_CONTROL_H
#define LVSX_CONTROL_H

#include "load.h"
#include "maps.h"
#include "packet.h"
#include "table.h"
#include "types.h"

static __always_inline int is_template(const struct conn *conn)
{
	return conn->proto & PROTO_TEMPLATE;
}

/* is_controlling tells whether an entry's end must wait for the end of others. */
static __always_inline int is_controlling(const struct conn *conn)
{
	return is_template(conn) && READ_ONCE(conn->control);
}

/* restart_template starts the timer: a connection is being made from the template. */
static __always_inline void restart_template(struct conn *template, __u32 now)
{
	/* It ended meanwhile. The kernel never goes back from a minute to what was configured. */
	if ((__s32)(template->expires - now) <= 0)
		template->rest.persistence.timeout = settings.postponement;
	template->expires = now + template->rest.persistence.timeout;
}

/* postpone moves the end of a timer, minute by minute, behind a tick at which it could not end. */
static __always_inline void postpone(struct conn *template, __u32 until)
{
	__u32 late = until - template->expires, minute = settings.postponement;

	if ((__s32)late <= 0)
		return;
	template->rest.persistence.timeout = minute;
	template->expires += (late + minute - 1) / minute *minute;
}

/* release_template lets go of a connection's template: it ended at a tick that may be past. */
__noinline int release_template(__u32 control, __u32 ended)
{
	struct conn *template = conn_at(control);

	if (!template || !is_template(template))
		return 0;
	postpone(template, ended);
	__sync_fetch_and_add(&template->control, -1);
	return 1;
}

/* assure_template notes that a server answered. */
__noinline int assure_template(__u32 control)
{
	struct conn *template = conn_at(control);
	__u32 *at = life_of(control), life;

	if (!template || !at || !is_template(template))
		return 0;
	template->flags |= CONN_CONFIRMED;
	life = READ_ONCE(*at);
	if (!(life & LIFE_CONFIRMED))
		__sync_val_compare_and_swap(at, life, life | LIFE_CONFIRMED);
	return 0;
}

/* What must be known of an entry when it is over; read before it may be another's. */
struct remains {
	__u32 dest;
	__u32 control;
	__u32 expires;
	int is_template;
};

static __always_inline struct remains remains_of(const struct conn *conn)
{
	struct remains remains = {
		.dest = conn->dest,
		.control = conn->control,
		.expires = conn->expires,
		.is_template = is_template(conn),
	};

	return remains;
}

/* account_gone takes an entry that is over out of the counts that it was in. */
static __always_inline void account_gone(const struct remains *gone, int active, __u32 now)
{
	if (unlikely(gone->is_template)) {
		account_template(gone->dest, -1);
		return;
	}
	account_end(gone->dest, active);
	if (unlikely(gone->control))
		release_template(gone->control,
				 (__s32)(gone->expires - now) < 0 ? gone->expires : now);
}

#endif
