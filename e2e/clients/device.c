#include "device.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct options options_from(int argc, char **argv)
{
	enum { HOST, PORT, NAME, NO_SNI, CA, FINGERPRINT, TIME, ECDSA, IN, OUT, MAX_FRAGMENT, NO_TICKETS, ALPN, AGAIN,
	       ID, USER, PASSWORD, TOPIC, TIMEOUT, NO_FRAGMENTS, SOURCE, GET };
	static const struct option words[] = {
		{"host", required_argument, 0, HOST}, {"port", required_argument, 0, PORT},
		{"name", required_argument, 0, NAME}, {"no-sni", no_argument, 0, NO_SNI},
		{"ca", required_argument, 0, CA}, {"fingerprint", required_argument, 0, FINGERPRINT},
		{"time", required_argument, 0, TIME}, {"ecdsa", no_argument, 0, ECDSA},
		{"in", required_argument, 0, IN}, {"out", required_argument, 0, OUT},
		{"max-fragment", required_argument, 0, MAX_FRAGMENT}, {"no-tickets", no_argument, 0, NO_TICKETS},
		{"alpn", required_argument, 0, ALPN}, {"again", no_argument, 0, AGAIN},
		{"id", required_argument, 0, ID}, {"user", required_argument, 0, USER},
		{"password", required_argument, 0, PASSWORD}, {"topic", required_argument, 0, TOPIC},
		{"timeout", required_argument, 0, TIMEOUT}, {"no-fragments", no_argument, 0, NO_FRAGMENTS},
		{"source", required_argument, 0, SOURCE}, {"get", required_argument, 0, GET}, {0, 0, 0, 0},
	};
	struct options options = {
		.host = "127.0.0.1", .name = "localhost", .sni = true, .time = -1, .in = 1024, .out = 1024, .tickets = true,
		.fragments = true,
		.rounds = 1, .id = "device", .timeout = 5000,
	};
	for (int word; (word = getopt_long(argc, argv, "", words, NULL)) != -1;) {
		switch (word) {
		case HOST: options.host = optarg; break;
		case PORT: options.port = atoi(optarg); break;
		case NAME: options.name = optarg; break;
		case NO_SNI: options.sni = false; break;
		case CA: options.ca = optarg; break;
		case FINGERPRINT: options.fingerprint = optarg; break;
		case TIME: options.time = atoll(optarg); break;
		case ECDSA: options.ecdsa = true; break;
		case IN: options.in = atoi(optarg); break;
		case OUT: options.out = atoi(optarg); break;
		case MAX_FRAGMENT: options.max_fragment = atoi(optarg); break;
		case NO_TICKETS: options.tickets = false; break;
		case ALPN:
			if (options.protocol_count < MOST_PROTOCOLS)
				options.protocols[options.protocol_count++] = optarg;
			break;
		case AGAIN: options.rounds = 2; break;
		case ID: options.id = optarg; break;
		case USER: options.user = optarg; break;
		case PASSWORD: options.password = optarg; break;
		case TOPIC: options.topic = optarg; break;
		case GET: options.get = optarg; break;
		case SOURCE: options.source = optarg; break;
		case NO_FRAGMENTS: options.fragments = false; break;
		case TIMEOUT: options.timeout = atoi(optarg); break;
		default: exit(64);
		}
	}
	if (optind != argc || options.port == 0) {
		fprintf(stderr, "usage: %s --port PORT (--ca FILE | --fingerprint HEX) [--topic TOPIC] ...; see device.h\n", argv[0]);
		exit(64);
	}
	return options;
}

int wait_for(int fd, bool readable, int milliseconds)
{
	struct pollfd one = {.fd = fd, .events = readable ? POLLIN : POLLOUT};
	int ready;
	do
		ready = poll(&one, 1, milliseconds);
	while (ready < 0 && errno == EINTR);
	return ready > 0;
}

int dial(const struct options *options)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options->port)};
	struct sockaddr_in from = {.sin_family = AF_INET};
	if (inet_pton(AF_INET, options->host, &to.sin_addr) != 1
	    || (options->source && inet_pton(AF_INET, options->source, &from.sin_addr) != 1))
		return -1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
	if (fd < 0)
		return -1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	int failed = 0;
	socklen_t length = sizeof failed;
	if (bind(fd, (struct sockaddr *)&from, sizeof from) < 0
	    || (connect(fd, (struct sockaddr *)&to, sizeof to) < 0
	    && (errno != EINPROGRESS || !wait_for(fd, false, options->timeout)
		|| getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &length) < 0 || failed))) {
		close(fd);
		return -1;
	}
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
	return fd;
}

static void put(struct exchange *exchange, const void *bytes, size_t count)
{
	if (exchange->out_length + count > sizeof exchange->out)
		abort();
	memcpy(exchange->out + exchange->out_length, bytes, count);
	exchange->out_length += count;
}

static void put_text(struct exchange *exchange, const char *text)
{
	size_t length = strlen(text);
	put(exchange, (unsigned char[]){(unsigned char)(length >> 8), (unsigned char)length}, 2);
	put(exchange, text, length);
}

/* Fixed header of a packet whose body is shorter than 16 KiB. */
static void put_header(struct exchange *exchange, unsigned char first, size_t body)
{
	if (body < 128)
		put(exchange, (unsigned char[]){first, (unsigned char)body}, 2);
	else
		put(exchange, (unsigned char[]){first, (unsigned char)(body | 128), (unsigned char)(body >> 7)}, 3);
}

void exchange_begin(struct exchange *exchange, const struct options *options)
{
	memset(exchange, 0, sizeof *exchange);
	exchange->options = options;
	exchange->connack = -1;
	exchange->crc = 0xffffffff;
	if (options->get) {
		exchange->out_length = (size_t)snprintf((char *)exchange->out, sizeof exchange->out,
			"GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", options->get, options->name);
		return;
	}
	unsigned char flags = 2;
	size_t body = 10 + 2 + strlen(options->id);
	if (options->user) {
		flags |= 0x80;
		body += 2 + strlen(options->user);
	}
	if (options->password) {
		flags |= 0x40;
		body += 2 + strlen(options->password);
	}
	put_header(exchange, 0x10, body);
	put_text(exchange, "MQTT");
	put(exchange, (unsigned char[]){4, flags, 0, 30}, 4);
	put_text(exchange, options->id);
	if (options->user)
		put_text(exchange, options->user);
	if (options->password)
		put_text(exchange, options->password);
}

void exchange_sent(struct exchange *exchange, size_t count)
{
	exchange->out_length -= count;
	memmove(exchange->out, exchange->out + count, exchange->out_length);
}

static void finish(struct exchange *exchange)
{
	exchange->done = true;
	if (exchange->options->get)
		return;
	put(exchange, (unsigned char[]){0xe0, 0}, 2);
}

static void checked(struct exchange *exchange, const unsigned char *bytes, size_t count)
{
	for (size_t at = 0; at < count; at++) {
		exchange->crc ^= bytes[at];
		for (int bit = 0; bit < 8; bit++)
			exchange->crc = exchange->crc >> 1 ^ (0xedb88320 & -(exchange->crc & 1));
	}
	exchange->payload_received += count;
	exchange->payload_left -= count;
	if (exchange->payload_left == 0) {
		exchange->in_payload = false;
		exchange->received = true;
		finish(exchange);
	}
}

/* Judges `head` of an answer to --get: its length, or 0 while more is needed. */
static size_t answer(struct exchange *exchange)
{
	char *head = (char *)exchange->head;
	if (exchange->head_length < 4 || memcmp(head + exchange->head_length - 4, "\r\n\r\n", 4) != 0)
		return 0;
	head[exchange->head_length - 1] = 0;
	const char *length = strcasestr(head, "\ncontent-length:");
	if (sscanf(head, "HTTP/1.1 %d", &exchange->connack) != 1 || !length) {
		exchange->broken = true;
		return exchange->head_length;
	}
	exchange->payload_left = strtoul(length + strlen("\ncontent-length:"), NULL, 10);
	exchange->in_payload = exchange->payload_left > 0;
	if (!exchange->in_payload)
		finish(exchange);
	return exchange->head_length;
}

/* Judges `head`: bytes of it that are used up, or 0 while more are needed. */
static size_t packet(struct exchange *exchange)
{
	if (exchange->options->get)
		return answer(exchange);
	const unsigned char *head = exchange->head;
	size_t have = exchange->head_length, length = 0, at = 1;
	for (int shift = 0;; shift += 7, at++) {
		if (at >= have)
			return 0;
		length |= (size_t)(head[at] & 127) << shift;
		if (!(head[at] & 128))
			break;
	}
	at++;
	switch (head[0] >> 4) {
	case 2: /* CONNACK */
		if (have < at + length)
			return 0;
		exchange->connack = head[at + 1];
		if (exchange->connack != 0) {
			exchange->broken = true;
		} else if (exchange->options->topic) {
			put_header(exchange, 0x82, 2 + 2 + strlen(exchange->options->topic) + 1);
			put(exchange, (unsigned char[]){0, 1}, 2);
			put_text(exchange, exchange->options->topic);
			put(exchange, (unsigned char[]){0}, 1);
		} else {
			finish(exchange);
		}
		return at + length;
	case 9: /* SUBACK */
		if (have < at + length)
			return 0;
		if (head[at + 2] >= 0x80)
			exchange->broken = true;
		return at + length;
	case 3: { /* PUBLISH with QoS 0: its payload is checked as it comes */
		if (have < at + 2)
			return 0;
		size_t topic = 2 + ((size_t)head[at] << 8 | head[at + 1]);
		if (have < at + topic)
			return 0;
		exchange->in_payload = true;
		exchange->payload_left = length - topic;
		return at + topic;
	}
	default:
		exchange->broken = true;
		return have;
	}
}

void exchange_feed(struct exchange *exchange, const unsigned char *bytes, size_t count)
{
	while (count > 0 && !exchange->done && !exchange->broken) {
		if (exchange->in_payload) {
			size_t now = count < exchange->payload_left ? count : exchange->payload_left;
			checked(exchange, bytes, now);
			bytes += now;
			count -= now;
			continue;
		}
		if (exchange->head_length == sizeof exchange->head) {
			exchange->broken = true;
			return;
		}
		exchange->head[exchange->head_length++] = *bytes++;
		count--;
		if (packet(exchange) > 0)
			exchange->head_length = 0;
	}
}

void exchange_report(const struct exchange *exchange)
{
	if (exchange->connack >= 0)
		printf("%s %d\n", exchange->options->get ? "status" : "connack", exchange->connack);
	if (exchange->payload_received > 0 || exchange->received)
		printf("received %zu\n", exchange->payload_received);
	if (exchange->received)
		printf("crc32 %08x\n", exchange->crc ^ 0xffffffff);
}
