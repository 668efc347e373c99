/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h2server [-c FILE] CPU BODY_BYTES NAME PORT [NAME PORT]...: HTTP/2 with prior knowledge on 127.0.0.1, one thread; x-backend tells by which
 * name. A request gets a 200 with a body of BODY_BYTES, or, where its content-type is application/grpc, one message of that size and
 * grpc-status 0. What comes to a path that ends in /Echo is sent back as it comes. x-client has the x-forwarded-client-cert of a request
 * whose path begins with /proof-. With -c FILE before all else it keeps how many
 * requests it has answered, and how many messages it has echoed, in that file: one unsigned 64-bit number as the machine has it.
 */
#include "http2.h"
#include "serve.h"
#include <fcntl.h>
#include <sys/mman.h>

#define NAMES_MAX 16
#define FILES_MAX 65536
#define BODY_BYTES_MAX (1 << 20)

struct stream {
	size_t sent, echo_from, echo_to, echo_size;
	uint8_t *echo;
	struct messages messages;
	int is_grpc, is_echo, is_ended, is_proof;
	char *client;
};
struct connection {
	nghttp2_session *session;
	const char *name;
};

static struct connection *connections[FILES_MAX];
static struct {
	int listener;
	const char *name;
} servers[NAMES_MAX];
static int names;
static size_t body;
static uint8_t *message;
static char length[32];
static uint64_t uncounted, *answered = &uncounted;
static nghttp2_session_callbacks *callbacks;

static void end_with_trailers(nghttp2_session *session, int32_t id)
{
	nghttp2_nv trailers[] = {field("grpc-status", "0")};
	nghttp2_submit_trailer(session, id, trailers, 1);
}

static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *into, size_t room, uint32_t *flags, nghttp2_data_source *source,
			 void *user)
{
	(void)user;
	struct stream *stream = source->ptr;
	const uint8_t *from = stream->is_grpc ? message : message + GRPC_PREFIX_BYTES;
	size_t left = body + (stream->is_grpc ? GRPC_PREFIX_BYTES : 0) - stream->sent, now = left < room ? left : room;
	memcpy(into, from + stream->sent, now);
	stream->sent += now;
	if (now < left)
		return (ssize_t)now;
	*flags |= NGHTTP2_DATA_FLAG_EOF;
	(*answered)++;
	if (stream->is_grpc) {
		*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
		end_with_trailers(session, id);
	}
	return (ssize_t)now;
}

static ssize_t read_echo(nghttp2_session *session, int32_t id, uint8_t *into, size_t room, uint32_t *flags, nghttp2_data_source *source,
			 void *user)
{
	(void)user;
	struct stream *stream = source->ptr;
	size_t have = stream->echo_to - stream->echo_from, now = have < room ? have : room;
	if (!have && !stream->is_ended)
		return NGHTTP2_ERR_DEFERRED;
	memcpy(into, stream->echo + stream->echo_from, now);
	stream->echo_from += now;
	if (stream->echo_from == stream->echo_to) {
		stream->echo_from = stream->echo_to = 0;
		if (stream->is_ended) {
			*flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
			end_with_trailers(session, id);
		}
	}
	return (ssize_t)now;
}

static void respond(nghttp2_session *session, int32_t id, struct stream *stream, const char *name)
{
	nghttp2_nv fields[5] = {
		field(":status", "200"),
		field("content-type", stream->is_grpc ? "application/grpc" : "text/plain"),
		field("x-backend", name),
	};
	size_t count = 3;
	if (!stream->is_grpc)
		fields[count++] = field("content-length", length);
	if (stream->is_proof && stream->client)
		fields[count++] = field("x-client", stream->client);
	nghttp2_data_provider from = {.source.ptr = stream, .read_callback = stream->is_echo ? read_echo : read_body};
	nghttp2_submit_response(session, id, fields, count, &from);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	(void)user;
	if (frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	struct stream *stream = calloc(1, sizeof(*stream));
	return !stream || nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, stream) ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_size, const uint8_t *value,
		     size_t value_size, uint8_t flags, void *user)
{
	(void)flags, (void)user;
	struct stream *stream = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	if (!stream)
		return 0;
	if (is(name, name_size, "content-type"))
		stream->is_grpc = value_size >= 16 && !memcmp(value, "application/grpc", 16);
	if (is(name, name_size, ":path"))
		stream->is_echo = value_size >= 5 && !memcmp(value + value_size - 5, "/Echo", 5);
	if (is(name, name_size, ":path"))
		stream->is_proof = value_size >= 7 && !memcmp(value, "/proof-", 7);
	if (stream->is_proof && is(name, name_size, "x-forwarded-client-cert") && !stream->client)
		stream->client = strndup((const char *)value, value_size);
	return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct connection *connection = user;
	struct stream *stream = frame->hd.stream_id ? nghttp2_session_get_stream_user_data(session, frame->hd.stream_id) : NULL;
	if (!stream || (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA))
		return 0;
	if (stream->is_echo && frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
		respond(session, frame->hd.stream_id, stream, connection->name);
	if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) {
		stream->is_ended = 1;
		if (stream->is_echo)
			nghttp2_session_resume_data(session, frame->hd.stream_id);
		else
			respond(session, frame->hd.stream_id, stream, connection->name);
	}
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes, size_t size, void *user)
{
	(void)flags, (void)user;
	struct stream *stream = nghttp2_session_get_stream_user_data(session, id);
	if (!stream || !stream->is_echo)
		return 0;
	if (stream->echo_to + size > stream->echo_size) {
		stream->echo_size = (stream->echo_to + size) * 2;
		stream->echo = realloc(stream->echo, stream->echo_size);
		if (!stream->echo)
			return NGHTTP2_ERR_CALLBACK_FAILURE;
	}
	memcpy(stream->echo + stream->echo_to, bytes, size);
	stream->echo_to += size;
	*answered += messages_in(&stream->messages, bytes, size);
	nghttp2_session_resume_data(session, id);
	return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
	(void)code, (void)user;
	struct stream *stream = nghttp2_session_get_stream_user_data(session, id);
	if (stream) {
		free(stream->echo);
		free(stream->client);
	}
	free(stream);
	return 0;
}

static void count_in(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, sizeof(*answered)))
		die("%s", path);
	answered = mmap(NULL, sizeof(*answered), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (answered == MAP_FAILED)
		die("mmap");
	close(fd);
}

static int listen_here(const char *port)
{
	struct sockaddr_storage at;
	socklen_t at_length = numeric("127.0.0.1", port, &at);
	int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (listener < 0 || bind(listener, (struct sockaddr *)&at, at_length) || listen(listener, 4096))
		die("listen on port %s", port);
	return listener;
}

static const char *accepting;
static void accepted(int fd)
{
	no_delay(fd);
	struct connection *connection = calloc(1, sizeof(*connection));
	if (fd >= FILES_MAX || !connection || nghttp2_session_server_new(&connection->session, callbacks, connection))
		die("memory for a connection");
	connection->name = accepting;
	connections[fd] = connection;
	begin_session(connection->session);
}

static int readable(int fd)
{
	static uint8_t bytes[1 << 18];
	struct connection *connection = connections[fd];
	ssize_t got = recv(fd, bytes, sizeof(bytes), 0);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return 1;
	if (got > 0 && nghttp2_session_mem_recv(connection->session, bytes, (size_t)got) == got && !flush(connection->session, fd))
		return 1;
	nghttp2_session_del(connection->session);
	free(connection);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc > 2 && !strcmp(argv[1], "-c")) {
		count_in(argv[2]);
		argv += 2;
		argc -= 2;
	}
	if (argc < 5 || argc % 2 == 0 || argc > 3 + 2 * NAMES_MAX) {
		fprintf(stderr, "usage: h2server [-c FILE] CPU BODY_BYTES NAME PORT [NAME PORT]...\n");
		return 2;
	}
	pin(number(argv[1], -1, 1023, "CPU"));
	body = (size_t)number(argv[2], 0, BODY_BYTES_MAX, "BODY_BYTES");
	snprintf(length, sizeof(length), "%zu", body);
	message = malloc(body + GRPC_PREFIX_BYTES);
	if (!message || nghttp2_session_callbacks_new(&callbacks))
		die("memory");
	put_message(message, body);
	nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
	signal(SIGPIPE, SIG_IGN);
	int poll = epoll_create1(EPOLL_CLOEXEC);
	if (poll < 0)
		die("epoll");
	struct epoll_event event = {.events = EPOLLIN}, ready[EVENTS_MAX];
	for (int i = 3; i < argc; i += 2) {
		servers[names].name = argv[i];
		event.data.fd = servers[names++].listener = listen_here(argv[i + 1]);
		if (epoll_ctl(poll, EPOLL_CTL_ADD, event.data.fd, &event))
			die("epoll");
	}
	for (;;) {
		int count = epoll_wait(poll, ready, EVENTS_MAX, -1);
		for (int i = 0; i < count; i++) {
			int fd = ready[i].data.fd, which = 0;
			while (which < names && servers[which].listener != fd)
				which++;
			if (which < names) {
				accepting = servers[which].name;
				accept_all(poll, fd, accepted);
			} else if (!readable(fd)) {
				close(fd);
			}
		}
	}
}
