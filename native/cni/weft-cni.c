/*
 * A chained CNI plugin (CNI specification 1.1). Before a pod's first process runs, the plugin asks the node's agent over a Unix socket
 * to enroll the pod, and passes on the result of the previous plugins. The agent decides which pods are enrolled. If no agent responds,
 * pods of namespaces that were in the mesh wait (or start, if so configured); other pods start.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define CONFIG_BYTES_MAX (1 << 20)
#define ANSWER_BYTES_MAX (64 << 10)
/* The kubelet allows two minutes per sandbox; the agent responds within ten seconds. */
#define ANSWER_SECONDS_MAX 30

/* CNI specification, error codes. */
enum { BAD_ENVIRONMENT = 4, IO_FAILED = 5, NOT_DECODED = 6, BAD_CONFIG = 7, TRY_AGAIN = 11 };

static const char *version = "1.0.0";

__attribute__((noreturn, format(printf, 2, 3))) static void fail(int code, const char *format, ...)
{
	char text[2048];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	struct json_object *error = json_object_new_object();
	json_object_object_add(error, "cniVersion", json_object_new_string(version));
	json_object_object_add(error, "code", json_object_new_int(code));
	json_object_object_add(error, "msg", json_object_new_string(text));
	puts(json_object_to_json_string_ext(error, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
	exit(1);
}

static const char *text_of(struct json_object *object, const char *key, const char *otherwise)
{
	struct json_object *value;
	if (!json_object_object_get_ex(object, key, &value) || !json_object_is_type(value, json_type_string))
		return otherwise;
	return json_object_get_string(value);
}

static struct json_object *read_config(void)
{
	char *text = malloc(CONFIG_BYTES_MAX + 1);
	size_t size = 0;
	for (;;) {
		ssize_t got = read(0, text + size, CONFIG_BYTES_MAX - size);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			fail(IO_FAILED, "weft: the configuration could not be read: %s", strerror(errno));
		if (got == 0)
			break;
		size += got;
		if (size == CONFIG_BYTES_MAX)
			fail(NOT_DECODED, "weft: the configuration is longer than %d bytes", CONFIG_BYTES_MAX);
	}
	text[size] = 0;
	struct json_object *config = json_tokener_parse(text);
	free(text);
	if (!json_object_is_type(config, json_type_object))
		fail(NOT_DECODED, "weft: the configuration is not a JSON object");
	return config;
}

/* A value of CNI_ARGS (`K=V;K2=V2`), which the caller frees; NULL if the key is absent. */
static char *argument(const char *key)
{
	const char *args = getenv("CNI_ARGS");
	size_t length = strlen(key);
	for (const char *at = args; at && *at; at = strchr(at, ';'), at = at ? at + 1 : 0) {
		if (strncmp(at, key, length) == 0 && at[length] == '=')
			return strndup(at + length + 1, strcspn(at + length + 1, ";"));
	}
	return 0;
}

static __attribute__((noreturn)) void pass_on(struct json_object *result)
{
	puts(json_object_to_json_string_ext(result, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
	exit(0);
}

/*
 * Whether the namespace is a line of the file that the agent maintains; the file survives the agent and a reboot. -1: unknown, the file
 * exists and cannot be read.
 */
static int is_enrolled(const char *file, const char *namespace)
{
	FILE *names = fopen(file, "re");
	if (!names)
		return errno == ENOENT ? 0 : -1;
	char line[512];
	int found = 0;
	while (!found && fgets(line, sizeof line, names)) {
		line[strcspn(line, "\n")] = 0;
		found = strcmp(line, namespace) == 0;
	}
	if (!found && ferror(names))
		found = -1;
	fclose(names);
	return found;
}

static __attribute__((noreturn)) void without_agent(struct json_object *config, struct json_object *result,
						    const char *namespace, const char *why)
{
	const char *names = text_of(config, "namespaces", "/var/lib/weft/cni/namespaces");
	int waits = strcmp(text_of(config, "whenAgentIsAway", "wait"), "start") != 0;
	int enrolled = waits ? is_enrolled(names, namespace) : 0;
	if (enrolled < 0)
		fail(TRY_AGAIN,
		     "weft: the agent of this node does not answer (%s), and whether pods of namespace %s are in the mesh is "
		     "unknown: %s cannot be read; the kubelet tries again, check the weft-agent pod of this node",
		     why, namespace, names);
	if (enrolled)
		fail(TRY_AGAIN,
		     "weft: the agent of this node does not answer (%s), and pods of namespace %s do not start outside of "
		     "the mesh; the kubelet tries again, check the weft-agent pod of this node",
		     why, namespace);
	pass_on(result);
}

static struct json_object *addresses_of(struct json_object *result)
{
	struct json_object *list = json_object_new_array(), *ips;
	if (!json_object_object_get_ex(result, "ips", &ips) || !json_object_is_type(ips, json_type_array))
		return list;
	for (size_t i = 0; i < json_object_array_length(ips); i++) {
		const char *address = text_of(json_object_array_get_idx(ips, i), "address", 0);
		if (!address)
			continue;
		json_object_array_add(list, json_object_new_string_len(address, strcspn(address, "/")));
	}
	return list;
}

/* Sends the request to the agent; returns the response's text, or NULL and the reason in `why`. */
static char *ask(const char *path, const char *question, const char **why)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	struct timeval limit = { .tv_sec = ANSWER_SECONDS_MAX };
	if (strlen(path) >= sizeof to.sun_path) {
		*why = "the socket's path is too long";
		return 0;
	}
	strcpy(to.sun_path, path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
	if (connect(fd, (struct sockaddr *)&to, sizeof to)) {
		*why = strerror(errno);
		return 0;
	}
	for (size_t sent = 0, size = strlen(question); sent < size;) {
		ssize_t more = send(fd, question + sent, size - sent, MSG_NOSIGNAL);
		if (more < 0 && errno == EINTR)
			continue;
		if (more <= 0) {
			*why = strerror(errno);
			return 0;
		}
		sent += more;
	}
	char *answer = malloc(ANSWER_BYTES_MAX + 1);
	for (size_t size = 0; size < ANSWER_BYTES_MAX;) {
		ssize_t got = recv(fd, answer + size, ANSWER_BYTES_MAX - size, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			*why = got < 0 ? strerror(errno) : "the agent closed the connection";
			return 0;
		}
		size += got;
		answer[size] = 0;
		if (strchr(answer, '\n'))
			return answer;
	}
	*why = "its response is too long";
	return 0;
}

static void add(struct json_object *config)
{
	struct json_object *result;
	if (!json_object_object_get_ex(config, "prevResult", &result) || !json_object_is_type(result, json_type_object))
		fail(BAD_CONFIG, "weft: prevResult is missing: put weft after another plugin in the configuration list");
	char *namespace = argument("K8S_POD_NAMESPACE"), *name = argument("K8S_POD_NAME"), *uid = argument("K8S_POD_UID");
	/* Not a Kubernetes pod. */
	if (!namespace || !name)
		pass_on(result);
	const char *netns = getenv("CNI_NETNS");
	if (!netns || !*netns)
		fail(BAD_ENVIRONMENT, "weft: CNI_NETNS is missing");
	/* The agent opens the namespace through this process's descriptor: the path may not exist in the agent's container. */
	int fd = open(netns, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fail(IO_FAILED, "weft: cannot open network namespace %s: %s", netns, strerror(errno));
	struct json_object *question = json_object_new_object();
	json_object_object_add(question, "command", json_object_new_string("ADD"));
	json_object_object_add(question, "namespace", json_object_new_string(namespace));
	json_object_object_add(question, "name", json_object_new_string(name));
	json_object_object_add(question, "podUid", json_object_new_string(uid ? uid : ""));
	json_object_object_add(question, "pid", json_object_new_int(getpid()));
	json_object_object_add(question, "fd", json_object_new_int(fd));
	json_object_object_add(question, "addresses", addresses_of(result));
	char *line;
	if (asprintf(&line, "%s\n", json_object_to_json_string_ext(question, JSON_C_TO_STRING_PLAIN)) < 0)
		fail(IO_FAILED, "weft: out of memory");
	const char *why = 0;
	char *text = ask(text_of(config, "socket", "/run/weft/agent/cni/socket"), line, &why);
	if (!text)
		without_agent(config, result, namespace, why);
	struct json_object *answer = json_tokener_parse(text), *ok;
	if (!json_object_object_get_ex(answer, "ok", &ok))
		without_agent(config, result, namespace, "its response cannot be parsed");
	if (!json_object_get_boolean(ok))
		fail(TRY_AGAIN, "weft: %s", text_of(answer, "message", "the agent gave no reason"));
	pass_on(result);
}

int main(void)
{
	const char *command = getenv("CNI_COMMAND");
	if (!command)
		fail(BAD_ENVIRONMENT, "weft: CNI_COMMAND is missing; a container runtime runs this program");
	struct json_object *config = read_config();
	version = text_of(config, "cniVersion", version);
	if (strcmp(command, "VERSION") == 0)
		puts("{\"cniVersion\":\"1.1.0\",\"supportedVersions\":[\"0.3.0\",\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]}");
	else if (strcmp(command, "ADD") == 0)
		add(config);
	/* DEL, CHECK, GC, STATUS: nothing to do. The agent notices deleted pods itself, and the plugin keeps no state. */
	return 0;
}
