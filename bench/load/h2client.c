/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h2client IP PORT CPU KIND CONNECTIONS STREAMS MESSAGE_BYTES PER_SECOND MILLISECONDS WARM_MILLISECONDS: HTTP/2 with prior knowledge, at most
 * STREAMS requests at a time on each of CONNECTIONS. KIND http: GET. KIND grpc: unary calls that send one message. KIND echo: each of the
 * streams is one gRPC call to a path that ends in /Echo, and its next message is sent once the one before has come back; each counts as a
 * request. KIND hold: the same, but each stays open after its first message.
 * PER_SECOND 0: a closed loop, each stream's next request follows the response. Else requests (KIND http, grpc) are sent at times that stand
 * before the run begins (exponential gaps, always the same ones), whatever the responses do; what is due while all streams wait is sent by
 * the first that is free, and its clock runs from when it was due. Prints {"requests":N,"us":..,"mean_us":..,"p50_us":..,"p90_us":..,
 * "p99_us":..,"p999_us":..,"max_us":..,"waited":N} (waited: found no free stream). What was sent during the warm-up is not counted.
 * Ends with an error on any response that is not what h2server sends.
 */
#include "http2.h"
#include "times.h"
#include <sys/epoll.h>
#include <sys/prctl.h>

#define SLOTS_MAX 16384
#define KINDS 20
#define FIELDS_MAX 10
#define STUCK_NS 10000000000ull

enum kind { KIND_HTTP, KIND_GRPC, KIND_ECHO, KIND_HOLD };
static const char *const kinds[] = {"http", "grpc", "echo", "hold"};

static struct connection {
	nghttp2_session *session;
	int fd, is_waiting;
} * connections;
/* One of the requests that may be under way at a time. */
static struct slot {
	struct connection *connection;
	uint64_t due, free_since;
	size_t sent;
	int32_t id;
	int status, grpc_status;
	struct messages messages;
	size_t received, messages_received;
} * slots;
static size_t *idle, idle_from, idle_count, slot_count, connection_count;
static enum kind kind = KIND_HTTP;
static int is_both_ways;
static uint8_t message[GRPC_PREFIX_BYTES + MESSAGE_BYTES_MAX];
static size_t message_bytes;
static nghttp2_nv fields[KINDS][FIELDS_MAX];
static size_t field_count[KINDS];
static uint64_t count_from, end;
static size_t sent, answered, waited;

__attribute__((noreturn)) static void give_up(const char *why)
{
	fprintf(stderr, "%s\n", why);
	exit(1);
}

static void put_idle(size_t at)
{
	idle[(idle_from + idle_count++) % slot_count] = at;
}

static void finish(struct slot *slot)
{
	slot->free_since = now_ns();
	answered++;
	if (slot->due >= count_from && slot->due < end)
		keep_time(slot->free_since - slot->due);
}

static ssize_t read_message(nghttp2_session *session, int32_t id, uint8_t *into, size_t room, uint32_t *flags, nghttp2_data_source *source,
			    void *user)
{
	(void)session, (void)id, (void)user;
	struct slot *slot = source->ptr;
	size_t left = message_bytes - slot->sent, now = left < room ? left : room;
	if (!left && is_both_ways)
		return NGHTTP2_ERR_DEFERRED;
	memcpy(into, message + slot->sent, now);
	slot->sent += now;
	if (now == left && kind == KIND_GRPC)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)now;
}

static void wants_flush(struct connection *connection)
{
	connection->is_waiting = 1;
}

static void send_request(size_t at, uint64_t due)
{
	struct slot *slot = &slots[at];
	size_t which = sent++ % KINDS;
	waited += slot->free_since > due && due >= count_from;
	slot->due = due;
	slot->sent = slot->received = slot->messages_received = 0;
	slot->status = 0;
	slot->grpc_status = -1;
	memset(&slot->messages, 0, sizeof(slot->messages));
	nghttp2_data_provider from = {.source.ptr = slot, .read_callback = read_message};
	slot->id = nghttp2_submit_request(slot->connection->session, NULL, fields[which], field_count[which],
					  kind == KIND_HTTP ? NULL : &from, slot);
	if (slot->id < 0)
		give_up(nghttp2_strerror(slot->id));
	wants_flush(slot->connection);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_size, const uint8_t *value,
		     size_t value_size, uint8_t flags, void *user)
{
	(void)flags, (void)user;
	struct slot *slot = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	if (slot && is(name, name_size, ":status"))
		slot->status = is(value, value_size, "200") ? 200 : -1;
	if (slot && is(name, name_size, "grpc-status"))
		slot->grpc_status = is(value, value_size, "0") ? 0 : 1;
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes, size_t size, void *user)
{
	(void)flags, (void)user;
	struct slot *slot = nghttp2_session_get_stream_user_data(session, id);
	if (!slot)
		return 0;
	slot->received += size;
	if (kind == KIND_HTTP)
		return 0;
	size_t ended = messages_in(&slot->messages, bytes, size);
	slot->messages_received += ended;
	if (is_both_ways && ended) {
		finish(slot);
		slot->due = slot->free_since;
		if (kind == KIND_ECHO && slot->due < end) {
			slot->sent = 0;
			sent++;
			nghttp2_session_resume_data(session, id);
		}
	}
	return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
	(void)user;
	struct slot *slot = nghttp2_session_get_stream_user_data(session, id);
	char why[160];
	snprintf(why, sizeof(why), "a request ended with error code %u, status %d, grpc-status %d, %zu bytes, %zu messages", code,
		 slot ? slot->status : 0, slot ? slot->grpc_status : 0, slot ? slot->received : 0, slot ? slot->messages_received : 0);
	if (!slot || code || slot->status != 200 || is_both_ways ||
	    (kind == KIND_GRPC && (slot->grpc_status != 0 || slot->messages_received != 1)) || !slot->received)
		give_up(why);
	finish(slot);
	put_idle((size_t)(slot - slots));
	return 0;
}

/* As bench/waypoint/load.lua has them: one of ten is the canary's, half of the paths are those of routes where there are thousands. */
static void make_requests(void)
{
	static char paths[KINDS][64];
	for (size_t i = 0; i < KINDS; i++) {
		if (kind == KIND_HTTP)
			snprintf(paths[i], sizeof(paths[i]), i % 2 ? "/p%zu/item?page=%zu" : "/item/%zu?page=%zu", i % 2 ? i * 263 : i, i);
		else
			snprintf(paths[i], sizeof(paths[i]), "/bench.Echo/%s", kind == KIND_GRPC ? "Call" : "Echo");
		nghttp2_nv *to = fields[i];
		size_t n = 0;
		to[n++] = field(":method", kind == KIND_HTTP ? "GET" : "POST");
		to[n++] = field(":scheme", "http");
		to[n++] = field(":authority", "main.d.svc");
		to[n++] = field(":path", paths[i]);
		to[n++] = field("user-agent", kind == KIND_HTTP ? "bench" : "grpc-c/1.0");
		if (kind == KIND_HTTP) {
			to[n++] = field("accept", "*/*");
		} else {
			to[n++] = field("content-type", "application/grpc");
			to[n++] = field("te", "trailers");
			to[n++] = field("grpc-accept-encoding", "identity, gzip");
		}
		if (i % 10 == 0)
			to[n++] = field("x-canary", "yes");
		field_count[i] = n;
	}
}

static void connect_all(const char *ip, const char *port, int poll)
{
	struct sockaddr_storage to;
	socklen_t to_length = numeric(ip, port, &to);
	nghttp2_session_callbacks *callbacks;
	if (nghttp2_session_callbacks_new(&callbacks))
		die("memory");
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
	for (size_t i = 0; i < connection_count; i++) {
		struct connection *connection = &connections[i];
		connection->fd = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (connection->fd < 0 || connect(connection->fd, (struct sockaddr *)&to, to_length))
			die("connection %zu to %s port %s", i, ip, port);
		no_delay(connection->fd);
		if (nghttp2_session_client_new(&connection->session, callbacks, connection))
			die("memory");
		begin_session(connection->session);
		connection->is_waiting = 1;
		struct epoll_event event = {.events = EPOLLIN, .data.u64 = i};
		if (epoll_ctl(poll, EPOLL_CTL_ADD, connection->fd, &event))
			die("epoll");
	}
}

static void receive(struct connection *connection)
{
	static uint8_t bytes[1 << 18];
	ssize_t got = recv(connection->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0)
		give_up("a connection was ended by the other side");
	if (nghttp2_session_mem_recv(connection->session, bytes, (size_t)got) != got)
		give_up("the other side violates the protocol");
	wants_flush(connection);
}

static void flush_all(void)
{
	for (size_t i = 0; i < connection_count; i++)
		if (connections[i].is_waiting) {
			connections[i].is_waiting = 0;
			if (flush(connections[i].session, connections[i].fd))
				die("send");
		}
}

int main(int argc, char **argv)
{
	if (argc != 11) {
		fprintf(stderr, "usage: h2client IP PORT CPU KIND CONNECTIONS STREAMS MESSAGE_BYTES PER_SECOND MILLISECONDS WARM_MILLISECONDS\n");
		return 2;
	}
	pin(number(argv[3], -1, 1023, "CPU"));
	while (strcmp(argv[4], kinds[kind]))
		if (++kind > KIND_HOLD)
			give_up("KIND must be http, grpc, echo or hold");
	is_both_ways = kind == KIND_ECHO || kind == KIND_HOLD;
	connection_count = (size_t)number(argv[5], 1, SLOTS_MAX, "CONNECTIONS");
	size_t streams = (size_t)number(argv[6], 1, (long)(SLOTS_MAX / connection_count), "STREAMS");
	message_bytes = (size_t)number(argv[7], 0, MESSAGE_BYTES_MAX, "MESSAGE_BYTES");
	put_message(message, message_bytes);
	message_bytes += GRPC_PREFIX_BYTES;
	long per_second = number(argv[8], 0, is_both_ways ? 0 : 1000000, "PER_SECOND");
	uint64_t for_ns = (uint64_t)number(argv[9], 1, 600000, "MILLISECONDS") * 1000000ull;
	uint64_t warm_ns = (uint64_t)number(argv[10], 0, 600000, "WARM_MILLISECONDS") * 1000000ull;
	/* The default slack of 50 us would be half the latency that is measured. */
	prctl(PR_SET_TIMERSLACK, 1);
	slot_count = connection_count * streams;
	connections = calloc(connection_count, sizeof(*connections));
	slots = calloc(slot_count, sizeof(*slots));
	idle = calloc(slot_count, sizeof(*idle));
	int poll = epoll_create1(EPOLL_CLOEXEC);
	if (!connections || !slots || !idle || poll < 0)
		die("memory");
	make_requests();
	connect_all(argv[1], argv[2], poll);
	for (size_t i = 0; i < slot_count; i++) {
		slots[i].connection = &connections[i % connection_count];
		put_idle(i);
	}
	static struct epoll_event ready[512];
	uint64_t began = now_ns(), now = began, last = began;
	count_from = began + warm_ns;
	end = count_from + for_ns;
	double gap_ns = per_second ? 1e9 / (double)per_second : 0, due = (double)began;
	while ((per_second ? due : (double)now) < (double)end || answered < sent) {
		while (idle_count && (per_second ? due <= (double)now && due < (double)end : now < end)) {
			size_t at = idle[idle_from];
			idle_from = (idle_from + 1) % slot_count;
			idle_count--;
			send_request(at, per_second ? (uint64_t)due : now_ns());
			due += gap_ns ? gap_ns * exponential() : 0;
		}
		flush_all();
		struct timespec wait = {.tv_sec = 1};
		if (per_second && due < (double)end && idle_count) {
			now = now_ns();
			uint64_t left = due > (double)now ? (uint64_t)(due - (double)now) : 0;
			wait = (struct timespec){.tv_sec = (time_t)(left / 1000000000ull), .tv_nsec = (long)(left % 1000000000ull)};
		}
		int count = epoll_pwait2(poll, ready, 512, &wait, NULL);
		now = now_ns();
		if (count > 0)
			last = now;
		else if (sent > answered && now - last > STUCK_NS)
			give_up("no response for 10 s");
		for (int i = 0; i < count; i++)
			receive(&connections[ready[i].data.u64]);
		now = now_ns();
	}
	if (times_count == 0)
		give_up("no request ended in time");
	printf("{\"requests\":%zu,\"us\":%.0f,", times_count, (double)for_ns / 1000);
	print_times();
	printf(",\"waited\":%zu}\n", waited);
	return 0;
}
